"""Every excuse of the table is still needed: without it the law fails."""

import importlib
from itertools import product
from pathlib import Path

import pytest
import torch
from contract import laws

for file in sorted(Path(__file__).parent.glob("test_*.py")):
    if file.stem not in ("test_surface", "test_excuses"):
        importlib.import_module(f"contract.{file.stem}")

DEAR = (
    *("compiles_whole", "exports", "compiles_whole_as_well", "vmap_is_the_loop"),
    *("runs_on_fake_cuda", "sends_nothing_to_a_device", "updates_on_fake_cuda"),
)
ON_A_GPU = ("waits_for_no_device", "cuda_equals_the_cpu", "gives_the_same_twice_on_a_gpu")


def marks(law: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] * (law in DEAR) + [pytest.mark.gpu] * (law in ON_A_GPU)


CASES = [
    pytest.param(law, entry, marks=marks(law), id=f"{law}-{entry.name}")
    for law, entries in laws.WITHOUT.items()
    for entry in entries
]


def ways(law: str) -> list[dict[str, object]]:
    """Arguments of a law beside the entry: each of its own parametrizations with each other."""
    own = [
        mark.args
        for mark in laws.TESTS[law].pytestmark
        if mark.name == "parametrize" and mark.args[0] != "entry"
    ]
    names = [name for name, _ in own]
    return [dict(zip(names, values, strict=True)) for values in product(*(x for _, x in own))]


@pytest.mark.parametrize(("law", "entry"), CASES)
def test_an_excuse_is_needed(law, entry):
    torch.compiler.reset()
    for way in ways(law):
        try:
            laws.TESTS[law](entry, **way)
        except (Exception, pytest.fail.Exception):  # in whatever way it fails
            return
    pytest.fail(f"{entry.name} keeps {law}: take away its excuse")

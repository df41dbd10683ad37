"""Every law of losses and metrics is tested or excused. (That no name is missing: test_api.py.)"""

import ast
import importlib
from pathlib import Path

import pytest
from contract import laws
from contract.laws import PROMISED
from contract.surface import (
    EXCUSED,
    SURFACE,
    excuse,
    methods_with_cells,
    methods_without_cells,
)
from public import methods

TESTS = Path(__file__).parents[1]
NOT_CALLED = {"transforms", "Predictions"}  # a room, and what load_predictions gives
KEPT = [  # by every loss and metric, unless an entry says why not
    *("function_equals_module", "reductions_agree", "a_batch_is_its_singles"),
    *("a_permutation_permutes", "leading_dimensions_are_free"),
    *("an_empty_batch_gives_an_empty_answer", "derivatives", "second_derivatives"),
    *("keeps_no_graph", "saturated_values_stay_finite", "any_type_gives_at_least_float32"),
    *("autocast_changes_nothing", "compiles_whole"),
    *("vmap_is_the_loop", "grad_of_func", "exports", "copies_and_pickles_give_the_same"),
    *("runs_on_fake_cuda", "gives_the_same_twice", "waits_for_no_device", "cuda_equals_the_cpu"),
]
for file in sorted(Path(__file__).parent.glob("test_*.py")):
    if file.stem != "test_surface":
        importlib.import_module(f"contract.{file.stem}")


def test_names_of_entries_differ_within_a_kind():
    names = [(entry.kind == "metric", entry.kind == "loss", entry.name) for entry in SURFACE]
    assert len(set(names)) == len(names)


def test_every_public_method_has_a_cell_or_a_word():
    assert methods() - methods_with_cells() == methods_without_cells()


@pytest.mark.parametrize("law", KEPT)
def test_a_law_is_tested_or_excused(law):
    tested = laws.LAWS[law]
    for entry in SURFACE:
        if entry.kind in PROMISED:
            assert (entry in tested) != bool(excuse(entry, law)), f"{law} of {entry.name}"


def test_every_excuse_is_from_a_law():
    excuses = {law for of_kind in EXCUSED.values() for law in of_kind}
    excuses |= {law for entry in SURFACE for law in entry.excused}
    assert excuses <= set(laws.LAWS)


def test_every_class_names_a_function():
    names = {entry.name for entry in SURFACE if entry.kind in ("score", "statistic")}
    for entry in SURFACE:
        if entry.kind == "metric":
            assert entry.of in names or entry.function is not None, entry.name


def mentioned(node: ast.AST) -> set[str]:
    """Names, attributes and arguments in a piece of code."""
    nodes = list(ast.walk(node))
    found = {x.id for x in nodes if isinstance(x, ast.Name)}
    found |= {x.attr for x in nodes if isinstance(x, ast.Attribute)}
    return found | {x.arg for x in nodes if isinstance(x, ast.arg)}  # fixtures


def used_by_tests(text: str) -> set[str]:
    """Names in test functions, in their parametrizations, and in what of the file these name."""
    defines: dict[str, set[str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defines[node.name] = mentioned(node)
        elif isinstance(node, ast.Assign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in mentioned(target):
                    defines[name] = defines.get(name, set()) | mentioned(node)
    found, new = set(), {name for name in defines if name.startswith("test_")}
    while new:
        found |= new
        new = set().union(*(defines.get(name, set()) for name in new)) - found
    return found


def test_an_entry_says_how_it_is_called_or_where_it_is_tested():
    for entry in SURFACE:
        assert (entry.tested is None) == (entry.kind in laws.COMPUTES), entry.name
        if entry.tested is None:
            assert entry.inputs
            assert entry.function is not None or entry.build is not None
            continue
        names = {name.rpartition(".")[2] for name in entry.public.split()}
        unused = names - used_by_tests((TESTS / entry.tested).read_text())
        assert unused <= NOT_CALLED, entry.name


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("from room import thing", False),
        ("# thing", False),
        ("def helper():\n    thing()", False),
        ("def test_it():\n    'thing'", False),
        ("def test_it():\n    thing()", True),
        ("def test_it():\n    room.thing()", True),
        ("def helper():\n    thing()\ndef test_it():\n    helper()", True),
        ("TABLE = [thing]\n@parametrize('x', TABLE)\ndef test_it(x):\n    x()", True),
        ("def made():\n    return thing()\ndef test_it(made):\n    made", True),
    ],
)
def test_a_name_that_no_test_uses_is_no_test_of_it(text, used):
    assert ("thing" in used_by_tests(text)) == used

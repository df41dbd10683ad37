"""The published survivors of mutation are changes of the code that is there."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MATHEMATICS = {"bins.py", *(f"losses/{name}.py" for name in ("cde", "crps", "flux"))}
MATHEMATICS |= {"metrics/pit.py", "photometry/residual.py"}
FOUND = json.loads((ROOT / "benchmarks/results/mutants.json").read_text())


def stripped(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("module", FOUND["rows"])
def test_each_survivor_is_a_change_of_what_stands_in_its_module(module):
    """Otherwise the module's row is of other code: ``python benchmarks/mutants.py MODULE``."""
    code = stripped((ROOT / "src/photoz_losses" / module).read_text())
    survivors = [row for row in FOUND["survivors"] if row["module"] == module]
    assert [row for row in survivors if stripped(row["removed"]) not in code] == []


def test_of_each_module_nine_in_ten_are_killed():
    assert FOUND["rows"].keys() == MATHEMATICS
    assert [name for name, row in FOUND["rows"].items() if row["share_killed"] < 0.9] == []


def test_each_survivor_has_its_reason():
    assert [row for row in FOUND["survivors"] if row["why"] == "unexplained"] == []
    assert {
        name: row["unexplained"] for name, row in FOUND["rows"].items() if row["unexplained"]
    } == {}

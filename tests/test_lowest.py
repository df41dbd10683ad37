"""The lower bounds: what pyproject.toml admits is what `.ci/run oldest` installs."""

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
NOT_TESTED = {"docs", "dev"}  # tools, which run on their newest releases


def floors() -> dict[str, str]:
    """Each package that the library, an extra or the examples need: its lower bound."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    wanted = [*project["dependencies"], *(w for e, ws in extras if e not in NOT_TESTED for w in ws)]
    split = [re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(?:>=([\w.]+))?", each) for each in wanted]
    assert all(split), wanted
    return {match[1]: match[2] for match in split if match[1] != project["name"]}


def lines() -> list[str]:
    """Lines of the file of lowest releases that name a package."""
    every = (CHECKOUT / "requirements" / "lowest.txt").read_text().splitlines()
    return [line for line in every if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    """Each package of that file that is held at one release."""
    return dict(line.split("==") for line in lines() if "==" in line)


@pytest.mark.parametrize("package", floors())
def test_each_floor_is_pinned(package):
    assert floors()[package], f"{package} has no lower bound in pyproject.toml"
    assert pins().get(package) == floors()[package]


def test_nothing_else_is_pinned():
    assert pins().keys() == floors().keys()


def test_what_is_not_pinned_is_capped_with_a_reason():
    for line in (line for line in lines() if "==" not in line):
        cap = re.fullmatch(r"([\w.-]+)<[\w.]+ # \w.*", line)
        assert cap, line
        assert cap[1] not in floors()

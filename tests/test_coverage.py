"""What `.ci/coverage.py` says of the counts of coverage: branches do not hide behind lines."""

import json
import runpy
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "coverage.py"
PASSED = {"covered_lines": 98, "num_statements": 100, "covered_branches": 49, "num_branches": 50}


@pytest.mark.parametrize(
    ("changes", "tests", "code"),
    [
        ({}, 0, 0),
        ({"covered_lines": 97}, 0, 1),
        ({"covered_lines": 100, "covered_branches": 48}, 0, 1),
        ({}, 3, 3),  # the tests themselves failed
    ],
)
def test_lines_and_branches_are_held_each(monkeypatch, changes, tests, code):
    def run(command, cwd):
        (report,) = (word for word in command if word.startswith("--cov-report=json:"))
        Path(report.partition(":")[2]).write_text(json.dumps({"totals": PASSED | changes}))
        return subprocess.CompletedProcess(command, tests)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert int(end.value.code) == code

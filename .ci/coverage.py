"""Run the default suite; it must pass, and run enough of the package's lines and of its branches.

`fail_under` of coverage itself knows only the two together, where many lines hide a few branches.

Run in the environment of `pip install -e '.[dev]'`, from anywhere: python .ci/coverage.py
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST = 98.0  # percent, of each
PYTEST = (sys.executable, "-m", "pytest", "-q", "-n", "2")
KINDS = {
    "lines": ("covered_lines", "num_statements"),
    "branches": ("covered_branches", "num_branches"),
}


def shares(totals: Mapping[str, int]) -> dict[str, float]:
    """Percent that was run, of each kind."""
    return {kind: 100 * totals[run] / totals[whole] for kind, (run, whole) in KINDS.items()}


def main() -> None:
    """End with 0 only where the tests pass and both shares are large enough."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        reports = ("--cov-report=term-missing:skip-covered", f"--cov-report=json:{file}")
        tests = subprocess.run([*PYTEST, "--cov", *reports], cwd=ROOT)
        if tests.returncode:
            sys.exit(tests.returncode)
        found = shares(json.loads(file.read_text())["totals"])
    for kind, share in found.items():
        print(f"{kind}: {share:.2f} % run, at least {LEAST:g} %")
    sys.exit(any(share < LEAST for share in found.values()))


if __name__ == "__main__":
    main()

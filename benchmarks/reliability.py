"""Runs the checks that docs/reliability.md counts, and keeps their counts.

    python benchmarks/reliability.py                    # all: two hours of two cores
    python benchmarks/reliability.py contract errors    # some; the counts of the others stay

Each writes its row of results/reliability.json, with the commit, the command and the seconds. A
check that fails is written as what it is: the page shows failures beside the rest.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from measure import RESULTS

ROOT = Path(__file__).parents[1]
NAME = "reliability.json"
Row = dict[str, Any]


def run(*command: str, **environment: str) -> str:
    """What a command prints, whether tests fail, which are counted, or pass; others end this."""
    known = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, cwd=ROOT, env=known, text=True, stdout=subprocess.PIPE)
    if done.returncode not in (0, 1):  # a file that cannot be read, say: nothing was counted
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def outcomes_of(*arguments: str, count: Callable[[str], bool] = bool, **environment: str) -> Row:
    """Outcomes of a run of pytest, over the cases whose file and name `count` takes."""
    pytest = (sys.executable, "-m", "pytest", "-q", *arguments)
    return {"arguments": list(arguments)} | reported(*pytest, count=count, **environment)


def reported(*command: str, count: Callable[[str], bool] = bool, **environment: str) -> Row:
    """Outcomes that pytest, run by a command, reports."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        printed = run(*command, PYTEST_ADDOPTS=f"--junitxml={report}", **environment)
        if not report.exists():
            sys.exit(f"{' '.join(command)} reported no tests:\n{printed[-2000:]}")
        suites = ElementTree.parse(report)
    cases = [
        case
        for case in suites.iter("testcase")
        if count(f"{case.get('classname')}.{case.get('name')}")
    ]
    outcomes = Counter(map(outcome, cases))
    skips = Counter(str(tag.get("message")) for case in cases for tag in case.iter("skipped"))
    took = sum(float(suite.get("time", 0)) for suite in suites.iter("testsuite"))
    counted: Row = {name: outcomes[name] for name in OUTCOMES}
    return counted | {"skips": dict(skips.most_common()), "seconds": took}


OUTCOMES = ("passed", "failed", "skipped")


def outcome(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def contract() -> Row:
    """Cells: a law times an entry of the public surface, slow ones among them."""
    return outcomes_of("tests/contract", "-n2", "-m", "cell")


def errors() -> Row:
    """Cases of bad input, each with its whole message."""
    return outcomes_of(
        "tests/errors", "-n2", count=lambda name: "test_errors" in name and "[" in name
    )


def fuzz() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "count.json"
        row = outcomes_of(
            "tests/fuzz", HYPOTHESIS_PROFILE="nightly", PHOTOZ_LOSSES_FUZZ_COUNT=str(file)
        )
        counted = json.loads(file.read_text())
    return row | {"examples": counted["examples"], "targets": len(counted["targets"])}


def kills() -> Row:
    """Writers killed at random moments; what they leave must be whole, or resume."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "examples"))
    with tempfile.TemporaryDirectory() as folder:
        printed = run(sys.executable, "tests/files/kill_writers.py", folder, PYTHONPATH=paths)
    found = json.loads(printed.splitlines()[-1])
    return {"survived": found["survived"], "lost": found["lost"], "failed": len(found["lost"])}


def suite() -> Row:
    """The default suite as a user runs it; its seconds mean something only with nothing beside."""
    return outcomes_of("-n2")


def oldest() -> Row:
    """The default suite on the oldest releases, in an environment of its own."""
    return reported(".ci/run", "oldest")


def coverage() -> Row:
    """The default suite, with the lines and branches of the package that it runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "coverage.json"
        measured = ("--cov=photoz_losses", "--cov-branch", f"--cov-report=json:{file}")
        row = outcomes_of("-n2", *measured)
        totals = json.loads(file.read_text())["totals"]
    return row | {
        "arguments": row["arguments"][:-1],
        "lines": totals["num_statements"],
        "lines_run": totals["covered_lines"],
        "branches": totals["num_branches"],
        "branches_run": totals["covered_branches"],
        "percent": totals["percent_covered"],
    }


def slow() -> Row:
    """The profile that takes minutes a test."""
    return outcomes_of("-n2", "-m", "slow and not gpu")


CHECKS = {
    check.__name__: check
    for check in (suite, oldest, coverage, contract, errors, fuzz, kills, slow)
}


def described() -> str:
    """The commit, and whether more than kept results differs from it."""
    commit = run("git", "describe", "--always", "--exclude=*").strip()  # no tag, which hides it
    changed = run("git", "status", "--porcelain", "--", ".", ":!benchmarks/results")
    return f"{commit}-dirty" if changed.strip() else commit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checks", nargs="*", metavar="check", help=", ".join(CHECKS))
    names = parser.parse_args().checks or list(CHECKS)
    if unknown := set(names) - set(CHECKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    commit = described()
    for name in names:
        began = time.perf_counter()
        row = CHECKS[name]()
        rows = json.loads(file.read_text()) if (file := RESULTS / NAME).exists() else {}
        rows[name] = (
            {"seconds": time.perf_counter() - began}
            | row
            | {
                "command": f"python benchmarks/reliability.py {name}",
                "commit": commit,
                "date": datetime.now(UTC).date().isoformat(),
            }
        )
        file.write_text(json.dumps(rows, indent=2) + "\n")
        print(name, json.dumps(row))


if __name__ == "__main__":
    main()

"""The tables of docs/reliability.md, from the kept counts alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from draw_mistakes import markdown

Row = Mapping[str, Any]
CHECKS = {  # check: what its row of the first table says
    "suite": "the default suite",
    "oldest": "the default suite on the oldest releases",
    "coverage": "the default suite, its lines counted",
    "contract": "cells of the contract",
    "errors": "bad inputs, each with its whole message",
    "fuzz": "examples of fuzz",
    "kills": "writers killed",
    "slow": "the slow profile",
}


def build(results: Path, target: Path) -> None:
    """Write every table as Markdown."""
    target.mkdir(parents=True, exist_ok=True)
    counts = json.loads((results / "reliability.json").read_text())
    mutants = json.loads((results / "mutants.json").read_text())
    (target / "counts.md").write_text(markdown(count_cells(counts)))
    skips = skip_cells(counts)
    (target / "skips.md").write_text(markdown(skips) if len(skips) > 1 else "")
    (target / "mutants.md").write_text(markdown(mutant_cells(mutants["rows"])))
    (target / "survivors.md").write_text(markdown(survivor_cells(mutants["survivors"])))


def substitutions(results: Path) -> dict[str, str]:
    """What the page's text says of the counts."""
    counts = json.loads((results / "reliability.json").read_text())
    suite, coverage = counts["suite"], counts["coverage"]
    return {
        "lines_run": share(coverage["lines_run"], coverage["lines"]),
        "branches_run": share(coverage["branches_run"], coverage["branches"]),
        "suite_minutes": f"{suite['seconds'] / 60:.1f}",
    }


def share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.2f} %)"


def count_cells(counts: Mapping[str, Row]) -> list[list[str]]:
    cells = [["check", "passed", "failed", "skipped", "minutes", "commit", "command"]]
    for name, title in CHECKS.items():
        if row := counts.get(name):
            passed, failed, skipped = outcomes(name, row)
            minutes = f"{row['seconds'] / 60:.1f}"
            command = f"`{row['command']}`"
            cells.append([title, passed, failed, skipped, minutes, row["commit"], command])
        else:
            command = f"`python benchmarks/reliability.py {name}`"
            cells.append([title, "not run", *["–"] * 4, command])
    return cells


def skip_cells(counts: Mapping[str, Row]) -> list[list[str]]:
    """Why cases were skipped, check by check, of the runs that kept it."""
    cells = [["check", "skipped", "why"]]
    for name, title in CHECKS.items():
        for reason, number in counts.get(name, {}).get("skips", {}).items():
            cells.append([title, f"{number:,}", reason])
    return cells


def outcomes(name: str, row: Row) -> tuple[str, str, str]:
    """Passed, failed and skipped: cases, but for what counts something else."""
    if name == "kills":
        return f"{row['survived']['total']:,}", f"{row['failed']}", "–"
    failed, skipped = f"{row['failed']:,}", f"{row['skipped']:,}"
    if name == "fuzz":
        return f"{row['examples']:,} in {row['targets']} targets", failed, skipped
    return f"{row['passed']:,}", failed, skipped


def mutant_cells(rows: Mapping[str, Row]) -> list[list[str]]:
    cells = [["module", "mutants", "killed", "survived", "share killed", "commit"]]
    for module, row in rows.items():
        counted = [f"{row[key]:,}" for key in ("mutants", "killed", "survived")]
        cells.append([f"`{module}`", *counted, f"{100 * row['share_killed']:.1f} %", row["commit"]])
    return cells


def survivor_cells(survivors: Sequence[Row]) -> list[list[str]]:
    cells = [["where", "as it is", "changed", "why it survives"]]
    for row in survivors:
        where = f"`{row['module']}` {row['line']}"
        cells.append([where, code(row["removed"]), code(row["added"]), row["why"]])
    return cells


def code(text: str) -> str:
    """Of one line, in a cell of a table."""
    return "`" + " ".join(text.split()).replace("|", "\\|").replace("`", "'") + "`"

"""The tables of docs/reliability.md, from the kept counts alone."""

import ast
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

from draw_mistakes import markdown

ROOT = Path(__file__).parents[1]
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
    """Why cases were skipped, and in which of the checks whose runs kept it, equal rows as one."""
    checks: dict[tuple[int, str], list[str]] = {}
    for name, title in CHECKS.items():
        for reason, number in counts.get(name, {}).get("skips", {}).items():
            checks.setdefault((number, reason), []).append(title)
    rows = [[f"{number:,}", why, "; ".join(titles)] for (number, why), titles in checks.items()]
    return [["skipped", "why", "check"], *rows]


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
        commit = row["commit"]
        if code_changed(ROOT, commit, f"src/photoz_losses/{module}"):
            commit += ", code changed since"
        cells.append([f"`{module}`", *counted, f"{100 * row['share_killed']:.1f} %", commit])
    return cells


def code_changed(root: Path, commit: str, path: str) -> bool:
    """Whether a file does something else than at a commit; no, where git cannot tell."""
    git = which("git")
    if git is None:
        return False
    command = [git, "-C", str(root), "show", f"{commit}:./{path}"]
    then = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    now = (root / path).read_text(encoding="utf-8")
    return then.returncode == 0 and without_docstrings(then.stdout) != without_docstrings(now)


def without_docstrings(source: str) -> str:
    """The code alone: comments and layout are not in its tree."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)


def survivor_cells(survivors: Sequence[Row]) -> list[list[str]]:
    cells = [["where", "as it is", "changed", "why it survives"]]
    for row in survivors:
        where = f"`{row['module']}` {row['line']}"
        cells.append([where, code(row["removed"]), code(row["added"]), row["why"]])
    return cells


def code(text: str) -> str:
    """Of one line, in a cell of a table."""
    return "`" + " ".join(text.split()).replace("|", "\\|").replace("`", "'") + "`"

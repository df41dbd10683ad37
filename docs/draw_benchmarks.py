"""The tables of docs/benchmarks.md: every row of the kept results, faster or slower, by itself."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from draw_mistakes import markdown, number

Column = tuple[str, str, str]  # title, path in the row, format
SCORES: list[Column] = [
    ("MAD", "mad", ".4f"),
    ("bias", "bias", "+.4f"),
    ("CDE loss", "cde_loss", ".2f"),
    ("CRPS", "crps", ".4f"),
    ("PIT KS", "pit_ks", ".3f"),
]
TURNS: list[Column] = [
    ("ms", "median_s", "ms"),
    ("first quartile", "quartile_1_s", "ms"),
    ("third quartile", "quartile_3_s", "ms"),
]
RATIO: list[Column] = [
    ("times the first of its kind", "ratio", ".2f"),
    ("first quartile", "ratio_quartile_1", ".2f"),
    ("third quartile", "ratio_quartile_3", ".2f"),
]
KINDS = ("smooth, covered", "smooth, partly", "noisy, covered", "noisy, partly")
TABLES: dict[str, list[list[Column]]] = {  # file: the columns of each of its tables
    "terms": [[*TURNS, ("share of the network's time", "share", ".3%")]],
    "step": [[*TURNS, *RATIO]],
    "flux": [
        [
            ("galaxies at once", "galaxies", "d"),
            ("ms a galaxy", "ms_a_galaxy", "3"),
            ("times as fast", "times_faster", "3"),
            *((f"largest error, {kind}", f"errors/{kind}/largest", ".0e") for kind in KINDS),
            ("of the loss or gradient", "errors/all/largest", ".0e"),
            ("version", "version", ""),
        ]
    ],
    "flux_memory": [
        [
            ("peak, MB", "peak_mb", ",.1f"),
            ("results alone, MB", "results_mb", ".1f"),
            ("ms a galaxy", "ms_a_galaxy", ".2f"),
        ]
    ],
    "table": [
        [
            ("galaxies a second", "galaxies_a_second", ",.0f"),
            ("peak, MB", "peak_mb", ",.0f"),
            ("before, MB", "before_mb", ",.0f"),
            ("peak of a worker, MB", "peak_of_a_worker_mb", ",.0f"),
            ("on disk, MB", "disk_mb", ",.0f"),
        ],
        [*TURNS, ("times as fast", "times_faster", "3")],
    ],
    "loader": [[*TURNS, *RATIO, ("stamps a second", "stamps_a_second", ",.0f")]],
    "metrics": [
        [
            ("s by the clock", "wall_s", "3"),
            ("s of the processor", "processor_s", "3"),
            ("least of the rounds", "least_processor_s", "3"),
        ]
    ],
    "train_resnet50": [
        [*SCORES, ("s a step", "seconds_a_step", ".2f"), ("s in all", "training_seconds", ".0f")]
    ],
    "invariance": [
        [
            *SCORES,
            ("CRPS of 8 views", "crps_eight_views", ".4f"),
            ("distance when turned", "cramer_rotation", ".1e"),
            ("under another sky", "cramer_background", ".1e"),
            ("s a step", "seconds_a_step", ".2f"),
        ]
    ],
    "gradient_surgery": [
        [*SCORES],
        [
            (f"{what}: {name}", f"{what}_{name}", "3")
            for what in ("weight", "gradient")
            for name in ("ce", "crps", "flux", "cde")
        ],
    ],
    "cal_pit": [
        [
            ("PIT KS", "ks", ".3f"),
            ("narrow half", "ks_narrow_half", ".3f"),
            ("high half", "ks_high_half", ".3f"),
            ("CRPS", "crps", ".4f"),
            ("s", "seconds", "3"),
        ]
    ],
    "sdss_coverage": [
        [
            (f"covered {share}", share, ".1%")
            for share in ("none", "below 0.01", "at least 0.5", "at least 0.9", "at least 0.99")
        ],
        [
            ("galaxies with the band", "galaxies with the band", ".0%"),
            ("cells with a residual", "cells with a residual", ".0%"),
            ("median size", "median |r|", ".3f"),
            ("largest", "largest |r|", ".3f"),
        ],
        [
            (title, path, ".3f")
            for title, path in (
                ("loss 0.05 below", "z -0.05"),
                ("at the true redshift", "z +0.00"),
                ("0.05 above", "z +0.05"),
                ("flat", "flat"),
            )
        ],
    ],
    "filling": [
        [
            *((f"*{band}*", f"{band}_median", "+.3f") for band in "ugriz"),
            *((f"MAD of *{band}*", f"{band}_mad", ".3f") for band in "ugriz"),
        ],
        [*((f"*{band}*", band, ".1%") for band in "ugriz"), ("all five", "all_five", ".1%")],
        [
            (f"{span} Å, {statistic}", f"{span}_{statistic}", ".3f")
            for span in ("3850-4000", "4000-4200", "8400-8800", "8800-9170")
            for statistic in ("median", "max")
        ],
    ],
}
ELSEWHERE = {  # kept results that a page of their own shows
    "conventions": "conventions",
    "mistakes": "mistakes",
    "mutants": "reliability",
    "padding": "mistakes",
    "reliability": "reliability",
}


def build(results: Path, target: Path) -> None:
    """Write, for each file of results, its table and a line on what made it."""
    target.mkdir(parents=True, exist_ok=True)
    for name, tables in TABLES.items():
        content = read(results, name)
        rows = rows_of(content)
        text = "\n".join([made_by(content) + "\n", *(markdown(table(rows, c)) for c in tables)])
        if "bounds" in content:
            text += f"\nBounds that were set before, and what became of them:\n\n{bounds(content)}"
        (target / f"{name}.md").write_text(text)


def read(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
    return content


def rows_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    rows: Mapping[str, Any] = content["rows"] if "rows" in content else content["results"]
    return rows


def made_by(content: Mapping[str, Any]) -> str:
    """Command, machine and versions, as far as the file says them."""
    command = content["command"]
    commands = [command] if isinstance(command, str) else command
    versions = {"torch": content["torch"]} if "torch" in content else content["versions"]
    facts = [f"{package} {version}" for package, version in versions.items()]
    facts.append(content.get("machine") or content["platform"])
    facts.append(f"{content['threads']} thread{'s' * (content['threads'] != 1)}")
    facts += [f"commit {v[:10]}" for k, v in content.items() if k.startswith("git_revision")]
    return "".join(f"`{one}`<br>\n" for one in commands) + ", ".join(facts) + "."


def table(rows: Mapping[str, Any], columns: Sequence[Column]) -> list[list[str]]:
    """All rows that have one of the columns; "–" where a row has not another."""
    cells = [["", *(title for title, _, _ in columns)]]
    for name, row in rows.items():
        shown = [cell(row, path, form) for _, path, form in columns]
        if any(shown):
            cells.append([name, *(text or "–" for text in shown)])
    return cells


def cell(row: Any, path: str, form: str) -> str:
    """What stands at the path, or nothing."""
    for key in path.split("/"):
        if key not in row:
            return ""
        row = row[key]
    if row == 0:
        return "0"
    if form in ("3", "ms"):
        return digits(1e3 * row if form == "ms" else row)
    return number(row, form) if form else str(row)


def digits(value: float) -> str:
    """Three of them, without an exponent."""
    rounded = float(f"{value:.2e}")
    places = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def bounds(content: Mapping[str, Any]) -> str:
    rows = [["", "bound", "measured", "met"]]
    for one in content["bounds"]:
        bound = one["bound"].replace(">=", "≥").replace("<=", "≤")
        rows.append([one["what"], bound, digits(one["value"]), "yes" if one["met"] else "no"])
    return markdown(rows)

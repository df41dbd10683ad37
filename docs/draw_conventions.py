"""The figures of docs/conventions.md, from the kept results: what its {{ names }} stand for."""

import json
from pathlib import Path
from typing import Any

from draw_mistakes import markdown, number

PAIRS = {  # name on the page: row of the results, format
    "pasquet_bias": ("Pasquet et al.'s code: bias", "+.5f"),
    "pasquet_mad": ("Pasquet et al.'s code: MAD", ".5f"),
    "rail_cde": ("RAIL CDELossMetric, default grid", ".2f"),
    "rail_brier": ("RAIL BrierMetric, default grid", ".4g"),
    "cdetools_cde": ("cdetools cde_loss, 180 bins", ".2f"),
    "cdetools_cde_45": ("cdetools cde_loss, 45 bins", ".2f"),
    "euclid_mad": ("Euclid's step of 0.01: MAD of the median", ".5f"),
}
LARGEST = {
    "cdetools_cdf": "cdetools cdf_coverage, 180 bins",
    "cdetools_cdf_45": "cdetools cdf_coverage, 45 bins",
    "cdetools_hpd": "cdetools hpd_coverage, 180 bins",
    "cdetools_hpd_45": "cdetools hpd_coverage, 45 bins",
}


def kept(results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / "conventions.json").read_text())
    return content


def substitutions(results: Path) -> dict[str, str]:
    """Text for every name in the page's table: ours → theirs, or the largest difference."""
    content = kept(results)
    rows = content["rows"]
    texts = {
        "held_out": f"{content['settings']['held out']:,}",
        "qp_mean": number(rows["qp mean over ours, log(1 + z) bins"]["theirs"], ".2f"),
    }
    for name, (row, form) in PAIRS.items():
        ours, theirs = (number(rows[row][whose], form) for whose in ("ours", "theirs"))
        texts[name] = f"{ours} → {theirs}"
    for name, row in LARGEST.items():
        largest = next(value for key, value in rows[row].items() if key.startswith("largest"))
        texts[name] = number(largest, ".2f")
    return texts


def build(results: Path, target: Path) -> None:
    """Write the table of the presets."""
    target.mkdir(parents=True, exist_ok=True)
    cells = [["preset", "MAD", "bias", "outliers"]]
    for name, row in kept(results)["rows"].items():
        if name.startswith("preset "):
            shown = [number(row["mad"], ".5f"), number(row["bias"], "+.5f")]
            outliers = number(row["outlier_rate"], ".2%")
            cells.append([f"`{name.removeprefix('preset ')}`", *shown, outliers])
    (target / "presets.md").write_text(markdown(cells))

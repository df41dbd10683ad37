"""The tables and pictures of docs/mistakes.md, from the kept results alone."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure
from study.page import markdown

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"
FORMATS = {
    "MAD": ".4f",
    "bias": "+.5f",
    "CRPS": ".4f",
    "CDE loss": ".2f",
    "log score": "+.2f",
    "PIT KS": ".3f",
    "mean PIT": ".3f",
    "largest change": ".2f",
    "middle two": ".5f",
    "torch.median": ".5f",
    "deviation of the predictions": ".4f",
    "largest error": ".5f",
    "in another bin": ".1%",
    "magnitudes off": "+.2f",
    "in use": ".0%",
    "error of the residual": ".3f",
}
LOSS = ".3f"  # of the columns that are shifts
OF_BANDS = {"magnitudes off": "flux", "error of the residual": "residual", "in use": "cells"}
Rows = Mapping[str, Mapping[str, float]]
SIZES = (  # mistake, what it is seen in, (table, row, column) as it should be and as made
    ("lower edges for centres", "bias", "left edges", "centres, 180 bins", "lower edges, 180 bins"),
    (
        "masses for densities", "CDE loss", "masses for densities",
        "density, 180 bins", "masses, 180 bins",
    ),
    ("softmax twice in the loss", "CRPS", "softmax", "once", "twice in the loss"),
    ("softmax twice before the metrics", "MAD", "softmax", "once", "twice before the metrics"),
    ("medians of batches of 8", "torch.median", "medians", "all at once", "batches of 8"),
    (
        "all of the true bin in the PIT", "PIT KS", "PIT",
        "linear within the bin, 180 bins", "all of the bin, 180 bins",
    ),
    ("zeros where nothing was measured", "at ẑ − 0.05", "padding", "whole", "zeros"),
    ("targets [N, 1]", "MAD", "columns", "trained with [N]", "trained with [N, 1]"),
    ("redshifts in bfloat16", "in another bin", "half precision", "", "bfloat16"),
)  # fmt: skip
NO_NUMBER = ["redshifts outside the bins", "the last bin", "–", "depends on the catalogue"]
SEEN_IN = {
    "in another bin": "redshifts in another bin",
    "torch.median": "MAD",
    "at ẑ − 0.05": "flux loss at ẑ − 0.05",
}


def build(results: Path, target: Path) -> None:
    """Write every table as Markdown and every picture as PNG."""
    target.mkdir(parents=True, exist_ok=True)
    mistakes, padding, filling = (
        json.loads((results / f"{name}.json").read_text())
        for name in ("mistakes", "padding", "filling")
    )
    rows = mistakes["rows"] | {"padding": padding["rows"]["losses"]}
    tables = {name.replace(" ", "_"): table(rows[name]) for name in rows}
    tables["bands"] = by_band(padding["rows"]["bands"])
    tables["images"] = catalogue(filling["rows"])
    tables["sizes"] = sizes(rows)
    for name, cells in tables.items():
        (target / f"{name}.md").write_text(markdown(cells))
    for name, figure in (("pit", pits(mistakes["pit_curves"])), ("padding", losses(padding))):
        figure.savefig(target / f"{name}.png", dpi=120)
        pyplot.close(figure)


def number(value: float, form: str) -> str:
    """`value` with the minus of typesetting, and without the sign of a zero."""
    text = re.sub(r"e([+-])0", r"e\1", format(value, form))  # 9e-05
    if not text.strip("+-0.%"):
        text = text.lstrip("+-")
    return text.replace("-", "−").replace("%", " %")


def table(rows: Rows) -> list[list[str]]:
    """One row a reading, one column a quantity; "–" where there is none."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [["", *columns]]
    for name, row in rows.items():
        shown = [number(row[c], FORMATS.get(c, LOSS)) if c in row else "–" for c in columns]
        cells.append([name, *shown])
    return cells


def by_band(rows: Mapping[str, Rows]) -> list[list[str]]:
    """Readings of cut spectra, three rows each, a column a band."""
    cells = [["", "", *(f"*{band}*" for band in "ugriz")]]
    for reading, bands in rows.items():
        if reading == "whole":
            continue
        for quantity, title in OF_BANDS.items():
            shown = [
                number(row[quantity], FORMATS[quantity]) if quantity in row else "–"
                for row in bands.values()
            ]
            cells.append([reading if title == "flux" else "", title, *shown])
    return cells


def catalogue(rows: Rows) -> list[list[str]]:
    """Synthetic minus catalogue magnitudes of the real spectra padded with zeros."""
    padded = rows["zero padding - CALIBFLUX"]
    head = ["", *(f"*{band}*" for band in "ugriz")]
    return [head, ["median", *(number(padded[f"{band}_median"], "+.2f") for band in "ugriz")]]


def sizes(rows: Mapping[str, Rows]) -> list[list[str]]:
    """One line a mistake: as it should be (where nothing is kept of that, none), as made."""
    cells = [["mistake", "seen in", "should be", "becomes"]]
    for title, column, name, right, made in SIZES:
        form = FORMATS.get(column, LOSS)
        values = [number(rows[name][row][column], form) if row else "0" for row in (right, made)]
        cells.append([title, SEEN_IN.get(column, column), *values])
    return [*cells, NO_NUMBER]


def pits(curves: Mapping[str, Sequence[float]]) -> Figure:
    """How the CDF of the PIT departs from the straight line, for both sets of bins."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    level = [k / 100 for k in range(101)]
    styles = {"linear within the bin": GREEN, "all of the bin": VERMILLION, "none of it": BLUE}
    for ax, bins in zip(axes, (180, 45), strict=True):
        for name, colour in styles.items():
            ax.plot(level, curves[f"{name}, {bins} bins"], color=colour, lw=2, label=name)
        ax.set(xlabel="level $u$", title=f"{bins} bins", xlim=(0, 1))
    axes[0].set_ylabel("share with PIT ≤ $u$, less $u$")
    axes[0].legend(frameon=False, loc="lower right")
    return figure


def losses(padding: Mapping[str, Any]) -> Figure:
    """The flux loss of densities about the true redshift plus a shift."""
    figure, ax = pyplot.subplots(figsize=(7, 3.8), layout="constrained")
    styles: dict[str, dict[str, Any]] = {
        "whole": {"color": GREY, "lw": 5, "label": "the whole spectrum"},
        "zeros": {"color": VERMILLION, "lw": 2, "label": "zeros outside, as if measured"},
        "marked, min_coverage=0": {
            "color": BLUE, "lw": 2, "ls": "--", "label": "marked, min_coverage=0",
        },
        "marked": {"color": GREEN, "lw": 2, "label": "marked: valid="},
    }  # fmt: skip
    for name, style in styles.items():
        ax.plot(padding["shifts"], padding["curves"][name], **style)
    ax.axvline(0, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel=r"peak of the density, less $\hat z$", ylabel="flux loss, mean of the galaxies")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, loc="upper center")
    return figure

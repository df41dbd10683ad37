"""The pictures of the report, each a PNG as text."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from photoz_losses import metrics, plots
from photoz_losses.bins import RedshiftBins
from photoz_losses.plots.redshifts import draw_redshifts
from photoz_losses.report.numbers import Numbers, names_of


class Picture(NamedTuple):
    """What one shows, in words, and its PNG as base64."""

    words: str
    png: str


def draw_pictures(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, numbers: Numbers
) -> dict[str, list[Picture]]:
    """Pictures by heading, one Axes each, so that a narrow page can put them in a column."""
    pit = metrics.pit(probs, z_spec, bins)
    headings = {
        "Probability integral transform": [
            plots.plot_pit(pit, ax=_axes()),
            plots.plot_pp(pit, ax=_axes()),
        ],
        "Predicted against true redshift, some with their 5–95 % interval": [
            _redshifts(probs, z_spec, bins, numbers)
        ],
        "Redshift distribution, and coverage": [
            plots.plot_nz(probs, z_spec, bins, ax=_axes()),
            _coverage(len(probs), numbers["coverage"]),
        ],
    }
    for name, table in numbers["by"].items():
        headings[f"Metrics against {name}"] = _binned(name, table, numbers["preset"])
    best_to_worst = "Densities of single galaxies, from the best to the worst"
    headings[best_to_worst] = _gallery(probs, z_spec, bins)
    return {heading: _pictures(axes) for heading, axes in headings.items()}


def _redshifts(probs: Tensor, z_spec: Tensor, bins: RedshiftBins, numbers: Numbers) -> Axes:
    preset = metrics.PRESETS[numbers["preset"]]
    threshold = preset.threshold
    if isinstance(threshold, str):
        threshold = max(0.06, 3 * numbers["metrics"]["sigma_iqr"]["value"])
    z_phot = getattr(bins, preset.estimate)(probs)
    low, high = (bins.quantile(probs, q) for q in (0.05, 0.95))
    return draw_redshifts(
        z_phot, z_spec.double(), threshold, low=low, high=high, ax=_axes(5.4, 5.6)
    )


def _coverage(galaxies: int, curve: Numbers) -> Axes:
    ax = _axes()
    for kind, count in (("central", galaxies), ("highest_density", None)):
        name = f"{kind.replace('_', ' ')} intervals"
        plots.plot_coverage(curve["level"], curve[kind], galaxies=count, label=name, ax=ax)
    return ax


def _gallery(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> list[Axes]:
    """Six galaxies, or all where there are fewer, from the lowest CRPS to the highest."""
    order = metrics.crps(probs, z_spec, bins, reduction="none").argsort()
    drawn = []
    for rank in _spread(len(probs), 6):
        galaxy = order[rank]
        ax = _axes(4.4, 3)
        plots.plot_densities(probs[galaxy : galaxy + 1], bins, z_spec=z_spec[galaxy], ax=ax)
        ax.set_title(f"{rank + 1:,} of {len(probs):,} in order of CRPS", fontsize="medium")
        drawn.append(ax)
    drawn[0].legend(frameon=False)
    return drawn


def _binned(name: str, table: Numbers, preset: str) -> list[Axes]:
    plain = name.replace("$", r"\$")  # of a column, no mathematics
    label = "spectroscopic redshift" if name == "redshift" else plain
    drawn = []
    for metric in ("mad", "bias", "outlier_rate", "crps"):
        values, errors = (_drawable(table["metrics"][metric][key]) for key in ("value", "error"))
        ax = plots.plot_binned(
            table["edges"], values, errors=errors,
            xlabel=label, ylabel=names_of(preset)[metric], ax=_axes(5, 3.2),
        )  # fmt: skip
        drawn.append(ax)
    return drawn


def _drawable(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _axes(width: float = 4.8, height: float = 4.2) -> Axes:
    """Axes of a figure of their own, without the window that pyplot may open."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def _spread(of: int, number: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most `number` of the indices 0 ... of - 1, evenly from first to last."""
    return np.unique(np.linspace(0, of - 1, number).round().astype(np.intp))


def _pictures(drawn: Iterable[Axes]) -> list[Picture]:
    pictures = []
    for ax in drawn:
        words = f"{ax.get_ylabel()} against {ax.get_xlabel()}".replace(r"\$", "$")
        if ax.get_title():
            words = f"{ax.get_title()}: {words}"
        buffer = io.BytesIO()
        ax.figure.canvas.print_figure(buffer, format="png", dpi=110)
        pictures.append(Picture(words, base64.b64encode(buffer.getvalue()).decode()))
    return pictures

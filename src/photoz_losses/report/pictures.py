"""The pictures of the report, each a PNG as text."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from photoz_losses import metrics, plots
from photoz_losses.bins import RedshiftBins
from photoz_losses.report.numbers import NAMES, Numbers


def draw_pictures(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, numbers: Numbers
) -> dict[str, str]:
    """Title and PNG, as base64, of every picture."""
    preset = metrics.PRESETS[numbers["preset"]]
    threshold = preset.threshold
    if isinstance(threshold, str):
        threshold = max(0.06, 3 * numbers["metrics"]["sigma_iqr"]["value"])
    pit = metrics.pit(probs, z_spec, bins)
    z_phot = getattr(bins, preset.estimate)(probs)
    low, high = (bins.quantile(probs, q) for q in (0.05, 0.95))
    pictures = {}

    figure, (left, right) = _figure(1, 2, (9.4, 4.2))
    plots.plot_pit(pit, ax=left)
    plots.plot_pp(pit, ax=right)
    pictures["Probability integral transform"] = _png(figure)

    figure, ax = _figure(1, 1, (6, 5.6))
    plots.plot_redshifts(z_phot, z_spec.double(), threshold=threshold, low=low, high=high, ax=ax)
    pictures["Predicted against true redshift, some with their 5–95 % interval"] = _png(figure)

    figure, (left, right) = _figure(1, 2, (9.8, 4.2))
    plots.plot_nz(probs, z_spec, bins, ax=left)
    curve = numbers["coverage"]
    for kind, count in (("central", len(probs)), ("highest_density", None)):
        name = f"{kind.replace('_', ' ')} intervals"
        plots.plot_coverage(curve["level"], curve[kind], galaxies=count, label=name, ax=right)
    pictures["Redshift distribution, and coverage"] = _png(figure)

    for name, table in numbers["by"].items():
        pictures[f"Metrics against {name}"] = _png(_binned_figure(name, table))

    figure = gallery(probs, z_spec, bins)
    pictures["Densities of single galaxies, from the best to the worst"] = _png(figure)
    return pictures


def gallery(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> Figure:
    """Six galaxies, or all where there are fewer, from the lowest CRPS to the highest."""
    figure, axes = _figure(2, 3, (10, 5.4))
    order = metrics.crps(probs, z_spec, bins, reduction="none").argsort()
    for ax, rank in zip(axes.flat, _spread(len(probs), 6), strict=False):
        galaxy = order[rank]
        plots.plot_densities(probs[galaxy : galaxy + 1], bins, z_spec=z_spec[galaxy], ax=ax)
        ax.set_title(f"{rank + 1:,} of {len(probs):,} in order of CRPS", fontsize="small")
    for ax in axes.flat[len(probs) :]:
        ax.set_axis_off()
    return figure


def _binned_figure(name: str, table: Numbers) -> Figure:
    label = "spectroscopic redshift" if name == "redshift" else name
    figure, axes = _figure(2, 2, (10, 6.4))
    for ax, metric in zip(axes.flat, ("mad", "bias", "outlier_rate", "crps"), strict=True):
        values, errors = (table["metrics"][metric][key] for key in ("value", "error"))
        plots.plot_binned(
            table["edges"], values, errors=_drawable(errors),
            xlabel=label, ylabel=NAMES[metric], ax=ax,
        )  # fmt: skip
    return figure


def _drawable(errors: Sequence[float | None]) -> list[float]:
    return [math.nan if error is None else error for error in errors]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure of its own, without the window that pyplot may open."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def _spread(of: int, number: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most `number` of the indices 0 ... of - 1, evenly from first to last."""
    return np.unique(np.linspace(0, of - 1, number).round().astype(np.intp))


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()

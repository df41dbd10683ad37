"""What both examples show at the end: one table of metrics, one JSON file, and pictures."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot
from scipy import stats
from torch import Tensor
from torchmetrics import MetricCollection

import photoz_losses
from photoz_losses import RedshiftBins
from photoz_losses.metrics import CRPS, MAD, PIT, Bias, CDELoss, OutlierRate
from photoz_losses.plots import plot_densities, plot_pit, plot_redshifts

Row = dict[str, float]
COLUMNS = {  # key: heading, format
    "mad": ("MAD", ".4f"),
    "bias": ("bias", "+.4f"),
    "outliers_005": ("out>0.05", ".1%"),
    "outliers_015": ("out>0.15", ".2%"),
    "cde_loss": ("CDE loss", ".2f"),
    "crps": ("CRPS", ".4f"),
    "pit_ks": ("PIT KS", ".3f"),
    "seconds_a_step": ("s/step", ".3f"),
    "training_seconds": ("train s", ".0f"),
}


def evaluate(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> tuple[Row, Tensor]:
    """The metrics of the paper's table 1 and more, and the PIT of every galaxy."""
    point = MetricCollection(
        {
            "mad": MAD(),
            "bias": Bias(),
            "outliers_005": OutlierRate(0.05),
            "outliers_015": OutlierRate(0.15),
        }
    )
    density = MetricCollection({"cde_loss": CDELoss(bins), "crps": CRPS(bins), "pit": PIT(bins)})
    for part, z in zip(probs.split(4096), z_spec.split(4096), strict=True):
        point.update(z_phot=bins.mean(part), z_spec=z)
        density.update(probs=part, z_spec=z)
    results = point.compute() | density.compute()
    pit = results.pop("pit")
    row = {name: float(value) for name, value in results.items()}
    return row | {"pit_ks": float(stats.kstest(pit, "uniform").statistic)}, pit


def constant_prediction(z_train: Tensor, n_galaxies: int, bins: RedshiftBins) -> Tensor:
    """Predict the training set's own redshift distribution for everyone: what to beat."""
    counts = torch.bincount(bins.index(z_train), minlength=len(bins)).double()
    return (counts / counts.sum()).expand(n_galaxies, -1)


def table(rows: Mapping[str, Row]) -> str:
    """Rows as text, one line each; what a row does not have stays empty."""
    width = max(map(len, rows))
    lines = ["  ".join([" " * width, *(f"{heading:>9}" for heading, _ in COLUMNS.values())])]
    for name, row in rows.items():
        cells = [
            f"{format(row[key], form) if key in row else '-':>9}"
            for key, (_, form) in COLUMNS.items()
        ]
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)


def save_results(folder: Path, rows: Mapping[str, Row], settings: Mapping[str, Any]) -> None:
    """Write ``results.json``: every row, with the settings, versions and revision that made it."""
    content = {"results": rows, "settings": settings} | provenance()
    text = json.dumps(content, indent=2, default=str, allow_nan=False)
    (folder / "results.json").write_text(text + "\n")


def provenance() -> dict[str, Any]:
    """What made a result: versions, command, revision and machine."""
    versions = {
        "photoz_losses": photoz_losses.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    } | {name: _version(name) for name in ("lightning", "torchvision", "numpy")}
    return {
        "versions": versions,
        "command": shlex.join(["python", *sys.argv]),
        "git_revision": git_revision(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def git_revision() -> str:
    """Commit of this checkout, with "+" if files differ from it; "unknown" outside of one."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + "+" * bool(changes.stdout)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def save_pit(path: Path, pits: Mapping[str, Tensor]) -> None:
    """The paper's figures 1 to 3: a panel for the PIT values under each title, on one scale."""
    size = 5 * len(pits), 4
    axes = pyplot.subplots(1, len(pits), figsize=size, layout="constrained", squeeze=False)[1]
    for ax, (title, pit) in zip(axes[0], pits.items(), strict=True):
        plot_pit(pit, ax=ax).set_title(title)
    top = max(ax.get_ylim()[1] for ax in axes[0])
    for ax in axes[0]:
        ax.set_ylim(0, top)
    _save(path)


def save_redshifts(path: Path, z_phot: Tensor, z_spec: Tensor, title: str, **options: Any) -> None:
    """The paper's figures 4 to 6; with ``low`` and ``high``, its figures 7 to 9."""
    axes = plot_redshifts(z_phot, z_spec, **options)
    axes.set_title(title)
    _save(path)


def save_gallery(
    path: Path,
    pictures: Sequence[Any],
    views: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    title: str,
    columns: int = 3,
) -> None:
    """The paper's figures 10 to 12: each galaxy beside its densities under many views.

    ``pictures`` are G images [H, W, 3] (`colour`), ``views`` [G, V, C] the masses for each view.
    """
    rows = -(-len(pictures) // columns)
    figure, axes = pyplot.subplots(
        rows,
        2 * columns,
        figsize=(4.6 * columns, 1.9 * rows),
        width_ratios=[1, 1.6] * columns,
        layout="constrained",
        squeeze=False,
    )
    pairs = axes.reshape(-1, 2)
    for pair, picture, probs, z in zip(pairs, pictures, views, z_spec, strict=False):
        pair[0].imshow(picture, origin="lower")
        plot_densities(probs, bins, z_spec=z, ax=pair[1])
        pair[1].set(yticks=[], ylabel="")
    for axis in [*pairs[:, 0], *pairs[len(pictures) :, 1]]:
        axis.set_axis_off()
    figure.suptitle(title)
    _save(path)


def colour(image: Tensor, faint: float = 0.1, bands: Sequence[int] = (3, 2, 1)) -> Any:
    """Picture [H, W, 3] of an ugriz cut-out: i r g as SDSS weighs them, an asinh stretch."""
    balance = torch.tensor([0.77, 1.0, 1.38], dtype=torch.float64)
    red_green_blue = balance * image[list(bands)].double().movedim(0, -1)
    intensity = red_green_blue.mean(-1, keepdim=True).clamp(min=1e-6)
    stretched = red_green_blue * torch.asinh(intensity / faint) / intensity
    return (stretched / stretched.amax((0, 1)).max()).clamp(0, 1).numpy()


def _save(path: Path) -> None:
    pyplot.savefig(path, dpi=120)
    pyplot.close()

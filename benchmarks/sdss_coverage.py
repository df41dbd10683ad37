"""What does an SDSS spectrum cover at each redshift, and what does ``min_coverage`` do about it?

    PHOTOZ_LOSSES_DATA=... python benchmarks/sdss_coverage.py

The spectra of ``filling.py`` (before BOSS, z < 0.4), 180 bins on [0, 0.4], five bands. By band: the
shares of (galaxy, bin) cells that are covered so far, and for ``min_coverage`` 0 (the paper's), 0.5
(the default) and 0.9 the bands in use, the cells that carry a residual, and how large those are.
The loss is that of three densities: Gaussians 0.02 wide (as a fair network's) at the true redshift
and 0.05 to either side, and a density without knowledge, flat over the bins.

Also draws docs/_static/flux.png (one galaxy's flux in bands and coverage by shift) and
docs/_static/coverage.png (every galaxy's coverage by band and bin).
"""

import argparse
import os
from pathlib import Path
from typing import Any

import matplotlib
import torch
from filling import COLOURS, main_survey
from measure import save
from torch import Tensor

from photoz_losses import RedshiftBins, flux_loss, flux_residual
from photoz_losses.photometry import FilterSet, Spectra, SyntheticPhotometry

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STATIC = Path(__file__).parents[1] / "docs" / "_static"
BINS = RedshiftBins.uniform(0.0, 0.4, 180)
WIDTH = 0.02
THRESHOLDS = (0.0, 0.5, 0.9)


def by_band(spectra: Spectra, coverage: Tensor, names: list[str]) -> dict[str, dict[str, float]]:
    """Shares of all (galaxy, bin) cells of each band, by how much of the filter is covered."""
    rows = {}
    for name, cells in zip(names, coverage.flatten(0, 1).unbind(-1), strict=True):
        rows[f"{name}: coverage"] = {
            "none": (cells == 0).double().mean().item(),
            "below 0.01": ((cells > 0) & (cells < 0.01)).double().mean().item(),
            **{f"at least {x}": (cells >= x).double().mean().item() for x in (0.5, 0.9, 0.99)},
        }
    everything = (coverage >= 0.5).all(-1).double().mean().item()
    rows["all five bands: coverage"] = {"at least 0.5": everything}
    return rows


def residuals(
    spectra: Spectra, photometry: SyntheticPhotometry, names: list[str]
) -> dict[str, dict[str, float]]:
    """What each threshold leaves of the residuals, and the loss of four densities."""
    rows: dict[str, dict[str, float]] = {}
    z = spectra.z.unsqueeze(-1)
    guesses = {
        "flat": torch.zeros(len(spectra), len(BINS)),
        **{
            f"z {shift:+.2f}": -((BINS.centers - z - shift) / WIDTH).square() / 2
            for shift in (-0.05, 0.0, 0.05)
        },
    }
    for threshold in THRESHOLDS:
        residual, weight = flux_residual(
            photometry,
            spectra.flux,
            spectra.z,
            BINS,
            valid=spectra.valid,
            min_coverage=threshold,
        )
        for band, name in enumerate(names):
            # the cell of the true redshift has one of nearly zero, not of exactly zero
            size = residual[..., band][weight[:, band] > 0].abs().flatten()
            carried = size[size > 0]
            rows[f"{name}: min_coverage {threshold}"] = {
                "galaxies with the band": weight[:, band].mean().item(),
                "cells with a residual": len(carried) / residual[..., band].numel(),
            }
            if len(carried):
                quantiles = {"median |r|": carried.median(), "largest |r|": carried.max()}
                rows[f"{name}: min_coverage {threshold}"] |= {
                    key: value.item() for key, value in quantiles.items()
                }
        rows[f"loss: min_coverage {threshold}"] = {
            name: flux_loss(logits, residual, weight).item() for name, logits in guesses.items()
        }
    return rows


def draw_flux(spectra: Spectra, filters: FilterSet, name: str) -> None:
    """The flux in bands of one galaxy, and how much of each filter it covers, by shift."""
    z, grid = spectra.z.item(), spectra.wavelength
    fine = torch.linspace(0.0, 0.4, 801, dtype=torch.float64)
    photometry = SyntheticPhotometry(filters, grid)
    bands, coverage = photometry.evaluate(spectra.flux, (1 + fine) / (1 + z), spectra.valid)
    bands, coverage = bands[0], coverage[0]
    truth = photometry.evaluate(spectra.flux, torch.ones(1), spectra.valid)[0][0, 0]
    figure, axes = plt.subplots(2, 1, figsize=(7, 6), sharex=True, layout="constrained")
    for b, (label, colour) in enumerate(zip("ugriz", COLOURS, strict=True)):
        ratio = torch.where(coverage[:, b] > 0, bands[:, b] / truth[b], torch.nan)
        seen = torch.where(coverage[:, b] >= 0.5, ratio, torch.nan)
        axes[0].plot(fine, ratio, ":", color=colour, linewidth=1.2)
        axes[0].plot(fine, seen, color=colour, linewidth=2)
        axes[1].plot(fine, coverage[:, b], color=colour, linewidth=2, label=f"${label}$")
    axes[0].set_ylim(0, 2.5)
    axes[0].set_ylabel(r"$\Phi'(\nu)\,/\,\Phi'(1)$")
    axes[0].set_title(f"{name}, z = {z:.3f}   (dotted: less than half covered)", fontsize=10)
    axes[1].axhline(0.5, color="0.6", linewidth=0.8, zorder=0)
    axes[1].set_ylabel("coverage")
    axes[1].set_xlabel(r"redshift $z$ at which the galaxy is put, $\nu = (1+z)/(1+\hat z)$")
    axes[1].set_ylim(-0.03, 1.03)
    axes[1].set_xlim(0, 0.4)
    for panel in axes:
        panel.axvline(z, color="0.6", linewidth=0.8, zorder=0)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(STATIC / "flux.png", dpi=110)


def draw_coverage(spectra: Spectra, coverage: Tensor) -> None:
    """Coverage of every galaxy, a row each, by band and bin."""
    figure, panels = plt.subplots(1, 5, figsize=(9, 2.6), sharey=True, layout="constrained")
    order = spectra.z.argsort()
    for b, (label, panel) in enumerate(zip("ugriz", panels, strict=True)):
        image = panel.pcolormesh(
            BINS.edges, torch.arange(len(order) + 1), coverage[order, :, b], vmin=0, vmax=1,
            cmap="cividis", rasterized=True,
        )  # fmt: skip
        place = torch.arange(len(order)) + 0.5
        panel.plot(spectra.z[order], place, "|", color="#cc3311", markersize=6)
        panel.set_title(f"${label}$")
        panel.set_xlabel("bin's redshift")
    panels[0].set_ylabel("galaxy, by true redshift")
    figure.colorbar(image, ax=panels, label="coverage", pad=0.01)
    figure.savefig(STATIC / "coverage.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PHOTOZ_LOSSES_DATA"))
    parser.add_argument("--galaxy", default="spec-0266-51602-0638.fits", help="to be drawn")
    options = parser.parse_args()
    if options.data is None:
        raise SystemExit("give the folder of SDSS spectra: --data, or PHOTOZ_LOSSES_DATA")
    spectra, paths = main_survey(Path(options.data) / "spectra")
    filters = FilterSet.from_speclite("sdss2010-*")
    names = [name.removeprefix("sdss2010-") for name in filters.names]
    photometry = SyntheticPhotometry(filters, spectra.wavelength)
    nu = (1 + BINS.centers) / (1 + spectra.z.unsqueeze(-1))
    _, coverage = photometry.evaluate(spectra.flux, nu, spectra.valid)
    row = [path.name for path in paths].index(options.galaxy)
    STATIC.mkdir(exist_ok=True)
    draw_flux(spectra[row], filters, options.galaxy.removesuffix(".fits"))
    draw_coverage(spectra, coverage)
    settings: dict[str, Any] = {"spectra": len(spectra), "bins": len(BINS), "width": WIDTH}
    rows = by_band(spectra, coverage, names) | residuals(spectra, photometry, names)
    save("sdss_coverage", rows, settings)


if __name__ == "__main__":
    main()

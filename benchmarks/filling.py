"""How far do magnitudes of spectra filled with templates fall from the catalogue's?

    PHOTOZ_LOSSES_DATA=... python benchmarks/filling.py

The folder ``spectra`` in there holds SDSS files ``spec-PLATE-MJD-FIBER.fits``. Those that end
short of 9,500 Å (the spectrographs before BOSS, 3,800-9,200 Å) at redshifts below 0.4 are taken.
Two catalogue fluxes stand in each file, in nanomaggies:

* CALIBFLUX, from the images: fibre magnitudes, scaled to point sources as the spectra are, AB. It
  has flux in u and z that no spectrum saw. One grey offset a galaxy, the median of those in g, r
  and i, is taken out of the comparison; fluxes whose CALIBFLUX_IVAR is 0 (not measured with the
  others) are left out.
* SPECTROFLUX, from the spectrum itself: its mean over that part of each filter which it covers. In
  u and z it holds nothing that is not in the spectrum; compared as it is.

The last rows are predictions of measured flux: each spectrum cut to 4,200-8,400 Å and filled again,
against what was cut. Also draws docs/_static/filling.png.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from astropy.io import fits
from measure import save
from numpy.typing import NDArray
from torch import Tensor

from photoz_losses import RedshiftBins
from photoz_losses.photometry import (
    FilterSet,
    Spectra,
    SyntheticPhotometry,
    Templates,
    read_sdss_spectra,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Array = NDArray[np.float64]

NANOMAGGIE = 3631e-23 / 1e-17 * 1e-9  # in the unit of the synthetic flux, 1e-17 erg/s/cm2/Hz
CUT = (4200.0, 8400.0)
HELD_OUT = ((3850.0, 4000.0), (4000.0, 4200.0), (8400.0, 8800.0), (8800.0, 9170.0))
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "filling.png"
COLOURS = ("#332288", "#117733", "#999933", "#cc6677", "#882255")  # Tol's muted, u to z


def main_survey(folder: Path) -> tuple[Spectra, list[Path]]:
    """Spectra of FOLDER that the question is about, and their files."""
    paths = sorted(folder.glob("spec-*.fits"))
    if not paths:
        raise SystemExit(f"no spec-*.fits in {folder}")
    spectra = read_sdss_spectra(paths)
    last = torch.stack([spectra.wavelength[valid][-1] for valid in spectra.valid])
    taken = ((last < 9500) & (spectra.z < 0.4)).nonzero().squeeze(-1)
    return spectra[taken], [paths[row] for row in taken.tolist()]


def catalogue(paths: list[Path], column: str) -> Array:
    """One of the five-band columns of HDU 2, shape (N, 5)."""
    return np.array([fits.getdata(path, 2)[column][0] for path in paths], dtype=float)


def synthetic(spectra: Spectra, denominator: str) -> Array:
    """Fluxes in u g r i z, nanomaggies, shape (N, 5)."""
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, spectra.wavelength, denominator=denominator)
    bands, _ = photometry(spectra.flux.double(), torch.ones(1), spectra.valid)
    fluxes: Array = bands.squeeze(-2).numpy() / NANOMAGGIE
    return fluxes


def summary(offset: Array, names: str = "ugriz") -> dict[str, float]:
    """Median, median absolute deviation from it, and largest size of each column."""
    row = {}
    for name, column in zip(names, offset.T, strict=True):
        column = column[np.isfinite(column)]
        row[f"{name}_median"] = float(np.median(column))
        row[f"{name}_mad"] = float(np.median(np.abs(column - np.median(column))))
        row[f"{name}_max"] = float(np.abs(column).max())
    return row


def usable_cells(spectra: Spectra) -> dict[str, float]:
    """Share of the cells (galaxy, bin) of each band that are covered at least half."""
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, spectra.wavelength)
    nu = (1 + RedshiftBins.uniform(0.0, 0.4, 180).centers) / (1 + spectra.z.unsqueeze(-1))
    _, coverage = photometry(spectra.flux, nu, spectra.valid)
    half = (coverage >= 0.5).double()
    shares = dict(zip("ugriz", half.mean((0, 1)).tolist(), strict=True))
    return shares | {"all": half.mean().item(), "all_five": half.amin(-1).mean().item()}


def held_out(spectra: Spectra, templates: Templates, joint: float) -> Array:
    """Magnitudes, filled minus measured, of each stretch that was cut; shape (N, stretches)."""
    x = spectra.wavelength
    kept = spectra.valid & (x > CUT[0]) & (x < CUT[1])
    cut = replace(spectra, valid=kept, ivar=torch.where(kept, spectra.ivar, 0.0))
    guess = cut.extend(templates, joint=joint)
    before = int((guess.wavelength < x[0]).sum())
    guess_flux = guess.flux[:, before : before + len(x)]
    columns = []
    for low, high in HELD_OUT:
        seen = spectra.valid & (spectra.ivar > 0) & (x > low) & (x < high)
        sums = [(flux.double() * seen).sum(-1) for flux in (guess_flux, spectra.flux)]
        columns.append(-2.5 * torch.log10(sums[0] / sums[1]))
    return torch.stack(columns, -1).numpy()


def draw(filled: Spectra, fit: Tensor, path: Path) -> None:
    """One spectrum, its continuation, and the filters below."""
    x = filled.wavelength.numpy()
    seen = np.flatnonzero(filled.ivar[0].numpy() > 0)
    first, last = seen[0], seen[-1]
    flux = filled.flux[0].numpy()
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 4.6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    above.plot(x[first : last + 1], flux[first : last + 1], color="0.6", lw=0.4, label="measured")
    above.plot(x[first : last + 1], fit[first : last + 1], color="black", lw=0.7, label="fit")
    for number, part in enumerate((slice(0, first), slice(last + 1, None))):
        label = None if number else "filled in"
        above.plot(x[part], flux[part], color="#d55e00", lw=1.0, label=label)
    top = 1.3 * np.percentile(flux[seen], 99)
    above.set(xlim=(2700, 11500), ylim=(0, top))
    above.set_ylabel("flux density\n[$10^{-17}$ erg/s/cm²/Å]")
    above.legend(
        loc="upper left", frameon=False, title=f"z = {filled.z[0].item():.3f}", alignment="left"
    )
    filters = FilterSet.from_speclite("sdss2010-*")
    for name, colour, curve, response in zip(
        "ugriz", COLOURS, filters.wavelengths, filters.responses, strict=True
    ):
        below.fill_between(curve, response, color=colour, alpha=0.35, lw=0)
        below.plot(curve, response, color=colour, lw=1.2)
        middle = (curve * response).sum() / response.sum()
        below.text(middle.item(), 0.56, name, ha="center", color="black")
    for axes in (above, below):
        axes.axvspan(x[first], x[last], color="0.94", zorder=0, lw=0)
    below.set(ylim=(0, 0.68), xlabel="observed wavelength [Å]", ylabel="response")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = os.environ.get("PHOTOZ_LOSSES_DATA", ".")
    parser.add_argument("--folder", type=Path, default=Path(data) / "spectra")
    parser.add_argument("--picture", default="spec-0266-51602-0107.fits")
    options = parser.parse_args()
    torch.set_num_threads(1)
    templates = Templates.from_kcorrect()
    spectra, paths = main_survey(options.folder)
    filled = spectra.extend(templates)
    galaxy = np.array([fits.getdata(path, 2)["CLASS"][0].strip() == "GALAXY" for path in paths])

    ways = {
        "zero padding": synthetic(spectra, "full"),
        "covered part": synthetic(spectra, "covered"),
        "filled, joint=0": synthetic(spectra.extend(templates, joint=0.0), "full"),
        "filled": synthetic(filled, "full"),
    }
    known = catalogue(paths, "CALIBFLUX_IVAR") > 0
    images = np.where(known, catalogue(paths, "CALIBFLUX"), np.nan)
    own = catalogue(paths, "SPECTROFLUX")
    rows = {}
    for name, flux in (ways | {"SPECTROFLUX": own}).items():
        offset = -2.5 * np.log10(flux / images)
        offset -= np.nanmedian(offset[:, 1:4], axis=1, keepdims=True)
        rows[f"{name} - CALIBFLUX"] = summary(offset)
        rows[f"{name} - CALIBFLUX, galaxies"] = summary(offset[galaxy])
    for name in ("zero padding", "covered part", "filled"):
        rows[f"{name} - SPECTROFLUX"] = summary(-2.5 * np.log10(ways[name] / own))
    rows["usable cells, measured"] = usable_cells(spectra)
    rows["usable cells, filled"] = usable_cells(filled)
    for joint in (0.0, 200.0):
        offset = np.abs(held_out(spectra, templates, joint))
        for whose, some in (("", offset), (", galaxies", offset[galaxy])):
            row = rows[f"held out, joint={joint:g}{whose}"] = {}
            for (low, high), column in zip(HELD_OUT, some.T, strict=True):
                row[f"{low:g}-{high:g}_median"] = float(np.median(column))
                row[f"{low:g}-{high:g}_max"] = float(column.max())
    options.folder = options.folder.name  # no path of the machine that ran it
    counts = {"spectra": len(spectra), "galaxies": int(galaxy.sum())}
    save("filling", rows, vars(options) | counts)

    chosen = [path.name for path in paths].index(options.picture)
    one = filled[chosen]
    coefficients, _ = templates.fit(one.wavelength, one.flux, one.ivar, one.z)
    fit = templates.spectrum(coefficients, one.wavelength, one.z)[0]
    draw(one, fit, PICTURE)


if __name__ == "__main__":
    main()

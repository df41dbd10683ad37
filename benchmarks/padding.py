"""What do zeros where nothing was measured do to the flux term?

    python benchmarks/padding.py

kcorrect's fits to real SDSS galaxies cover all five bands at every redshift. Cut to what the SDSS
spectrographs saw, and read in three ways, they are compared with themselves whole, so that what
the cut does is known: zeros outside, as if they were measured; marked as not measured, but every
cell counted (``min_coverage=0``, the paper); marked, and cells left out that are covered less than
by half (the default). ``filling.py`` compares real spectra with magnitudes of images.
"""

import argparse
import sys
from pathlib import Path

import torch
from measure import write
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from galaxies import load_photometry

from photoz_losses import RedshiftBins, flux_loss, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

Row = dict[str, float]
BINS = RedshiftBins.uniform(0.0, 0.4, 180)
SEEN = (3800.0, 9200.0)  # Å, the SDSS spectrographs before BOSS
SIGMA = 0.02  # of the densities whose flux loss is compared
SHIFTS = [round(0.01 * k, 2) for k in range(-8, 13)]
ONE = torch.ones(1, dtype=torch.float64)


def of_bands(magnitudes: Tensor, residual: Tensor, weight: Tensor, whole: Tensor) -> dict[str, Row]:
    """How far fluxes (N, B) and residuals (N, C, B) lie from those of the whole spectra."""
    rows = {}
    for b, band in enumerate("ugriz"):
        used = weight[:, b] > 0
        carried = (residual[..., b] != 0) & used[:, None]
        rows[band] = {"in use": float(carried.double().mean())}
        if used.any():
            error = (residual[..., b] - whole[..., b]).abs()[carried]
            rows[band]["magnitudes off"] = float(magnitudes[used, b].median())
            rows[band]["error of the residual"] = float(error.median())
    return rows


def of_shifts(residual: Tensor, weight: Tensor, z: Tensor) -> list[float]:
    """Mean flux loss of Gaussian densities about the true redshift plus each shift."""
    peaks = [z.unsqueeze(-1) + shift for shift in SHIFTS]
    logits = [-((BINS.centers - peak) / SIGMA).square() / 2 for peak in peaks]
    return [float(flux_loss(each, residual, weight)) for each in logits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=500)
    options = parser.parse_args()
    galaxies = load_photometry(options.galaxies)
    flux, z = galaxies.spectrum.double(), galaxies.z_spec.double()
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), galaxies.wavelength)
    inside = (galaxies.wavelength > SEEN[0]) & (galaxies.wavelength < SEEN[1])
    cut, seen = flux.where(inside, 0.0), inside.expand_as(flux)
    everything = torch.ones_like(seen)
    readings = {
        "whole": (flux, everything, 0.5),
        "zeros": (cut, everything, 0.5),
        "marked, min_coverage=0": (cut, seen, 0.0),
        "marked": (cut, seen, 0.5),
    }
    truth, whole = photometry(flux, ONE)[0], flux_residual(photometry, flux, z, BINS)[0]
    bands, losses, curves = {}, {}, {}
    for name, (given, valid, least) in readings.items():
        residual, weight = flux_residual(
            photometry, given, z, BINS, valid=valid, min_coverage=least
        )
        magnitudes = -2.5 * (photometry(given, ONE, valid)[0] / truth).log10().squeeze(-2)
        bands[name] = of_bands(magnitudes, residual, weight, whole)
        curve = curves[name] = of_shifts(residual, weight, z)
        losses[name] = {
            "at ẑ − 0.05": curve[SHIFTS.index(-0.05)],
            "at ẑ": curve[SHIFTS.index(0.0)],
            "at ẑ + 0.05": curve[SHIFTS.index(0.05)],
            "flat": float(flux_loss(torch.zeros_like(residual[..., 0]), residual, weight)),
        }
        print(name, losses[name])
    write(
        "padding", {"bands": bands, "losses": losses}, vars(options), shifts=SHIFTS, curves=curves
    )


if __name__ == "__main__":
    main()

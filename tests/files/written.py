"""What this package writes, in small: each with a way to make it, to read it, and to compare it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photometry.galaxies import BINS, PHOTOMETRY, galaxies
from photometry.spectroscopy import write_spectrum

from photoz_losses import RedshiftBins
from photoz_losses.io import load_predictions, save_predictions
from photoz_losses.photometry import FluxTable, read_sdss_spectra

SPECTRA = galaxies(5)
COARSE = RedshiftBins([0.0, 0.1, 0.4, 1.0])
PROBS = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)


@dataclass(frozen=True)
class Written:
    """`make` writes a file or folder of this name; `read` gives all that a user gets of it."""

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], list[Any]]

    def files(self, path: Path) -> list[Path]:
        return sorted(file for file in [path, *path.rglob("*")] if file.is_file())


def build(path: Path, spectra=SPECTRA, **options) -> FluxTable:
    options = {"chunk": 3, "progress": False} | options
    return FluxTable.build(spectra, BINS, PHOTOMETRY, path=path, **options)


def read_table(path: Path) -> list[Any]:
    table = FluxTable.load(path, mmap=False)
    header = {k: v for k, v in table.header.items() if k not in ("created", "digest", "versions")}
    columns = (table.residual, table.band_weight, table.z_spec, table.clamped, table._digests)
    return [header, *(column.numpy() for column in columns), table.object_ids]


def predict(path: Path, probs: torch.Tensor = PROBS) -> None:
    save_predictions(path, probs, COARSE, torch.tensor([0.1, 0.2]), ["a", "δ"], r=[17, 18])


def read_predictions(path: Path) -> list[Any]:
    found = load_predictions(path)
    names = sorted(found.columns)
    columns = [found.columns[name].numpy() for name in names]
    return [found.probs.numpy(), found.bins.edges.numpy(), found.z_spec, found.object_id, names,
            *columns]  # fmt: skip


def write_sdss(path: Path, checksum: bool = True) -> None:
    from astropy.io import fits

    write_spectrum(path, 35800, SPECTRA.flux[0].numpy() + 1, 0.1)
    if checksum:
        with fits.open(path, memmap=False) as hdus:
            hdus.writeto(path, overwrite=True, checksum=True)


def read_sdss(path: Path) -> list[Any]:
    spectra = read_sdss_spectra([path])
    names = ("wavelength", "flux", "ivar", "z", "valid")
    return [getattr(spectra, name).numpy() for name in names]


TABLE = Written("table.zarr", build, read_table)
NPZ = Written("predictions.npz", predict, read_predictions)
HDF5 = Written("predictions.h5", predict, read_predictions)
SDSS = Written("spec-1.fits", write_sdss, read_sdss)


def same(a: Any, b: Any) -> bool:
    """To the last bit, NaN included."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | torch.Tensor):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b)

"""The rendered catalogue of `galaxies.py`, read from its file without loading it."""

from pathlib import Path
from typing import Any

import cached_arrays
import h5py
import numpy as np
import torch
from galaxies import ARRAYS, cache_path, load_galaxies
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from photoz_losses.photometry import Spectra
from readers.galaxy import Galaxy, float_image, reading


class Rendered(Dataset[Galaxy]):
    """Galaxies of `load_galaxies`, drawn first if they are not there; images stay in the file.

    The file is compared with its checksum once, when a reader is made: a second or so a gigabyte.
    A worker of a ``DataLoader`` gets the path, and shares the pages that the system holds.

    Raises ValueError if the file is damaged; delete it then, and it is drawn anew.
    """

    def __init__(
        self,
        n_galaxies: int | None = None,
        *,
        seed: int = 0,
        seeing: float = 1.0,
        cache: str | Path | None = None,
    ) -> None:
        self.path = cache_path(n_galaxies, seed, cache, seeing)
        if not self.path.exists():
            load_galaxies(n_galaxies, seed=seed, seeing=seeing, cache=cache)
        cached_arrays.check(self.path, ARRAYS)
        with reading(self.path), h5py.File(self.path) as file:
            self.ebv, self.z_spec = (torch.from_numpy(file[k][()]) for k in ("ebv", "z_spec"))
            self.flux = torch.from_numpy(file["flux"][()])
            self.wavelength = torch.from_numpy(file["wavelength"][()])
            self.ids = [str(row) for row in file["row"][()]]
            self._places = {name: _place(file[name]) for name in ("image", "spectrum")}
        self._mapped: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.z_spec)

    def __getitem__(self, index: int) -> Galaxy:
        image = float_image(self._map("image")[index])
        return Galaxy(image, self.ebv[index], self.z_spec[index], self.ids[index])

    def spectra(self, rows: Tensor) -> Spectra:
        """The noise-free spectra that the fluxes came from."""
        flux = torch.from_numpy(self._map("spectrum")[rows.numpy()])
        return Spectra(
            self.wavelength, flux, torch.ones_like(flux), self.z_spec[rows], flux.isfinite()
        )

    def _map(self, name: str) -> NDArray[Any]:
        if name not in self._mapped:
            shape, dtype, offset = self._places[name]
            self._mapped[name] = np.memmap(self.path, dtype, "r", offset, shape)
        return self._mapped[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {}}


def _place(dataset: Any) -> tuple[tuple[int, ...], Any, int]:
    """Where in the file a contiguous dataset lies: HDF5 adds nothing to its bytes."""
    return dataset.shape, dataset.dtype, dataset.id.get_offset()

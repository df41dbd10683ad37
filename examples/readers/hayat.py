"""The HDF5 files of Hayat et al. 2021 (arXiv:2101.04293): cut-outs of 107 x 107 pixels."""

import bisect
import itertools
import os
from pathlib import Path
from typing import Any

import h5py
import torch
from torch.utils.data import Dataset

from readers.galaxy import Galaxy, centre, column, float_image, reading, sdss_ids

ARRAYS = ("images", "e_bv", "specz_redshift")
NAMES = ("plate", "mjd", "fiberid")


class Hayat(Dataset[Galaxy]):
    """``images`` [N, 5, 107, 107], ``e_bv`` [N] and ``specz_redshift`` [N] of one file, or of all
    ``*.h5`` and ``*.hdf5`` in a folder; the middle ``side`` x ``side`` pixels are read.

    Galaxies are named by ``plate``, ``mjd`` and ``fiberid`` if those are there, else by file and
    row. Nothing outside the file is read. HDF5 tells a changed bit of an image only where its
    writer asked for checksums (``fletcher32``), and a file that was cut short always. To move the
    crop in training, read more pixels here (``side`` + 2 x jitter).
    """

    def __init__(self, path: str | Path, side: int = 64) -> None:
        path = Path(path)
        self.paths = [path]
        if path.is_dir():
            self.paths = sorted([*path.glob("*.h5"), *path.glob("*.hdf5")])
        if not self.paths:
            raise FileNotFoundError(f"no *.h5 or *.hdf5 in {path}")
        self.ids: list[str] = []
        parts, ends = [], [0]
        for part in self.paths:
            with reading(part), h5py.File(part) as file:
                _check(part, file)
                self.crop = centre(file["images"].shape[2:], side)
                parts.append([column(file[name][()]) for name in ("specz_redshift", "e_bv")])
                n = len(file["images"])
                named = all(name in file for name in NAMES)
                rows = [f"{part.stem}:{row}" for row in range(n)]
                self.ids += sdss_ids(*(file[name][()] for name in NAMES)) if named else rows
                ends.append(n)
        self.starts = list(itertools.accumulate(ends))[:-1]
        self.z_spec, self.ebv = (torch.cat(columns) for columns in zip(*parts, strict=True))
        self._files: dict[tuple[int, int], Any] = {}

    def __len__(self) -> int:
        return len(self.z_spec)

    def __getitem__(self, index: int) -> Galaxy:
        index = range(len(self))[index]
        number = bisect.bisect_right(self.starts, index) - 1
        images = self._images(number)
        with reading(self.paths[number]):
            image = float_image(images[(index - self.starts[number], slice(None), *self.crop)])
        return Galaxy(image, self.ebv[index], self.z_spec[index], self.ids[index])

    def _images(self, number: int) -> Any:
        """The open file's images: opened by each process, since HDF5 does not survive a fork."""
        key = (os.getpid(), number)
        if key not in self._files:
            with reading(self.paths[number]):
                self._files[key] = h5py.File(self.paths[number])["images"]
        return self._files[key]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}


def _check(path: Path, file: Any) -> None:
    if missing := [name for name in ARRAYS if name not in file]:
        raise ValueError(f"{path}: array {missing[0]!r} is missing; found {', '.join(file)}")
    for name in (*ARRAYS, *(name for name in NAMES if name in file)):
        link, data = file.get(name, getlink=True), file.get(name)
        elsewhere = not isinstance(data, h5py.Dataset) or data.external or data.is_virtual
        if elsewhere or not isinstance(link, h5py.HardLink):
            raise ValueError(f"{path}: {name} is no array of this file: copy it into it")
        if data.dtype.kind not in "biuf":
            raise ValueError(f"{path}: {name} must be of numbers, got {data.dtype}")
    shape = file["images"].shape
    if len(shape) != 4 or shape[1] != 5:
        raise ValueError(f"{path}: images must be [N, 5, H, W], got {list(shape)}")
    for name in ARRAYS[1:]:
        if file[name].shape != shape[:1]:
            raise ValueError(
                f"{path}: {name} must be [N] with N = {shape[0]} as in images, "
                f"got {list(file[name].shape)}"
            )

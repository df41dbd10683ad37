"""The file of Pasquet et al. 2019 as Dey et al. 2022 made it public: ``sdss.npz``, 54 GB."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch.utils.data import Dataset

from readers.galaxy import Galaxy, column, float_image, reading, sdss_ids

LABELS = ("z", "EBV", "plate", "mjd", "fiberid")


class Pasquet(Dataset[Galaxy]):
    """``cube`` [N, 64, 64, 5], float32, mapped into memory within the file, and ``labels``, a
    record array with z, EBV, plate, mjd and fiberid. Nothing in the file is unpickled. The labels
    must be what was written, by their checksum; that of the cube would take minutes and is left:
    ``python -m zipfile -t sdss.npz``.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._cube: NDArray[Any] | None = None
        with reading(self.path):
            self._check_labels()
            labels = np.array(map_member(self.path, "labels"))
        if missing := [name for name in LABELS if name not in (labels.dtype.names or ())]:
            raise ValueError(
                f"{path}: labels must be a record array with {', '.join(LABELS)}; "
                f"{', '.join(missing)} not found in {labels.dtype.names or labels.dtype}"
            )
        with reading(self.path):
            shape = self.cube.shape
        if len(shape) != 4 or shape[3] != 5 or shape[0] != len(labels):
            raise ValueError(
                f"{path}: cube must be [N, H, W, 5] with N = {len(labels)} as in labels, "
                f"got {list(shape)}"
            )
        self.z_spec, self.ebv = column(labels["z"]), column(labels["EBV"])
        self.ids = sdss_ids(labels["plate"], labels["mjd"], labels["fiberid"])

    def _check_labels(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            if "labels.npy" in archive.namelist():
                with archive.open("labels.npy") as labels:
                    while labels.read(1 << 20):  # to its end, where zipfile compares the checksum
                        pass

    @property
    def cube(self) -> NDArray[Any]:
        if self._cube is None:
            self._cube = map_member(self.path, "cube")
        return self._cube

    def __len__(self) -> int:
        return len(self.z_spec)

    def __getitem__(self, index: int) -> Galaxy:
        image = float_image(self.cube[index].transpose(2, 0, 1))
        return Galaxy(image, self.ebv[index], self.z_spec[index], self.ids[index])

    def __getstate__(self) -> dict[str, Any]:  # a worker maps the file itself
        return self.__dict__ | {"_cube": None}


def map_member(path: Path, name: str) -> NDArray[Any]:
    """An array of an uncompressed npz file, mapped into memory: ``np.load`` would read it all."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if name not in members:
            raise ValueError(f"{path}: array {name!r} is missing; found {', '.join(members)}")
        member = members[name]
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{path}: {name!r} is compressed and cannot be mapped into memory: "
            f"write it anew with np.savez"
        )
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)  # the local header, whose extra field may be longer
        name_length, extra_length = np.frombuffer(file.read(4), "<u2").tolist()
        start = file.seek(name_length + extra_length, 1)
        major = npy.read_magic(file)[0]
        read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError(f"{path}: {name!r} holds Python objects, which are not unpickled")
        size = file.tell() + math.prod(shape) * dtype.itemsize - start
        if size != member.file_size:
            raise ValueError(
                f"{path}: {name!r} has {member.file_size} bytes, its shape says {size}"
            )
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")

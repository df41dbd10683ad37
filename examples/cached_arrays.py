"""Arrays in an HDF5 file that is whole or absent, with a checksum of all of them."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

SUM = "sha256"  # attribute of the file
FORMAT = ("v108", "v108")  # HDF5 that has checksums of whatever is not an array itself
BLOCK = 256  # rows that are hashed at a time
DAMAGE = (  # what h5py raises where bytes are not as they should be
    *(OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError),
    *(RuntimeError, MemoryError),
)


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Under another name first, so that a killed run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        fill(partial, arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def fill(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with h5py.File(path, "w", libver=FORMAT) as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs[SUM] = np.bytes_(_checksum(arrays))


def check(path: Path, names: Collection[str]) -> None:
    """Read a file of `write` once; ValueError if its arrays, which have these names, are others."""
    try:
        with h5py.File(path) as file:
            arrays = {name: _own(file, name, path.stat().st_size) for name in names}
            if SUM not in file.attrs or file.attrs.get_id(SUM).dtype.kind != "S":
                raise ValueError(f"it has no attribute {SUM} of fixed length")
            if bytes(file.attrs[SUM]).decode() != _checksum(arrays):
                raise ValueError("it is not what was written, by its checksum")
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, to have it made anew") from None


def _own(file: Any, name: str, size: int) -> Any:
    """An array that lies in its file of so many bytes, in one piece: it can be mapped."""
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{name} is no array of this file")
    array = file[name]
    offset = array.id.get_offset()
    if offset is None or offset + array.nbytes > size:
        raise ValueError(f"{name} does not lie in this file in one piece")
    if array.dtype.kind not in "iuf" or not array.dtype.isnative:
        raise ValueError(f"{name} must be of numbers in this machine's byte order")
    return array


def _checksum(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    hashed = hashlib.sha256()
    for name, array in arrays.items():
        hashed.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        for start in range(0, len(array), BLOCK):
            hashed.update(np.ascontiguousarray(array[start : start + BLOCK]).data)
    return hashed.hexdigest()

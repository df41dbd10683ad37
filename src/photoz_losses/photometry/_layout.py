"""Where a table of residuals keeps what: each file's place, size and type."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from photoz_losses.photometry._ids import ID_BYTES

DONE = "input_digest"  # one a chunk, written after its data: where it lies, the chunk is done
SUMS = "checksum"  # one a chunk: SHA-256 of each of its files, the mark's last
ANEW = "copy the table as build wrote it, raw and uncut, or delete it and build it again"


def schema(header: Mapping[str, Any]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Type and shape of what the table keeps of each galaxy."""
    bands = len(header["filters"]["names"])
    with_errors = header["options"]["min_snr"] is not None
    return {
        "residual": (np.dtype(header["dtype"]), (len(header["bins"]) - 1, bands)),
        "band_weight": (np.dtype("<f4"), (bands,)),
        **({"variance": (np.dtype("<f4"), (bands,))} if with_errors else {}),
        "z_spec": (np.dtype("<f8"), ()),
        "clamped": (np.dtype("<i4"), ()),
        "object_id": (np.dtype("u1"), (ID_BYTES,)),
    }


@dataclass(frozen=True)
class Layout:
    """Files of a table by the name of their array and the number of their chunk."""

    path: Path
    header: dict[str, Any]

    @property
    def chunks(self) -> int:
        """Number of chunks of a table that is, or once was, finished."""
        return -(-int(self.header["galaxies"]) // int(self.header["chunk"]))

    def row(self, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Type and shape of what an array has of each galaxy, or of each chunk."""
        columns = schema(self.header)
        of_chunks = {DONE: (32,), SUMS: (len(columns) + 1, 32)}
        return (np.dtype("u1"), of_chunks[name]) if name in of_chunks else columns[name]

    def size(self, name: str) -> int:
        """Bytes of each file of an array."""
        dtype, row = self.row(name)
        rows = 1 if name in (DONE, SUMS) else int(self.header["chunk"])
        return rows * dtype.itemsize * int(np.prod(row))

    def file(self, name: str, number: int) -> Path:
        """Where Zarr has chunk `number` of an array: the later axes are not cut."""
        uncut = ["0"] * len(self.row(name)[1])
        return within(self.path, self.path.joinpath(name, "c", str(number), *uncut))

    def read(self, name: str, number: int) -> bytes:
        """What is in a file; nothing if it is missing or not of its size."""
        file = self.file(name, number)
        whole = file.is_file() and file.stat().st_size == self.size(name)
        return file.read_bytes() if whole else b""

    def description(self, name: str) -> Path:
        """Where Zarr describes an array."""
        return within(self.path, self.path / name / "zarr.json")

    def check_description(self, name: str, length: int | None = None) -> None:
        """ValueError unless an array lies in raw files of one chunk each."""
        dtype, row = self.row(name)
        rows = 1 if name in (DONE, SUMS) else self.header["chunk"]
        codec = {} if dtype.itemsize == 1 else {"configuration": {"endian": "little"}}
        expected: dict[str, Any] = {
            "zarr_format": 3,
            "node_type": "array",
            "data_type": dtype.name,
            "fill_value": "NaN" if dtype.kind == "f" else 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *row]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", **codec}],
        }
        if length is not None:
            expected["shape"] = [length, *row]
        try:
            found = read_json(self.description(name))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.path / name} cannot be mapped: its zarr.json is missing or damaged "
                f"({error}): {ANEW}"
            ) from None
        for key, value in expected.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{self.path / name} cannot be mapped: its {key} is {found.get(key)}, expected "
                    f"{value}: {ANEW}"
                )


def within(folder: Path, path: Path) -> Path:
    """`path` itself, unless links on the way to it lead out of the table or elsewhere in it."""
    if os.path.realpath(path) != str(Path(os.path.realpath(folder), path.relative_to(folder))):
        raise ValueError(f"{path} is a link, or behind one: put what it points to in its place")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a file; ValueError where it holds anything else."""
    if not path.is_file():  # a pipe would never end
        raise FileNotFoundError(f"no file {path}")
    try:
        found = json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested without end") from None
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return found

"""A table of residuals on disk: Zarr whose chunks are raw bytes, to be mapped as they are."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses.photometry._header import FORMAT
from photoz_losses.photometry._mapped import MappedColumn
from photoz_losses.photometry._pieces import ID_BYTES

Array = npt.NDArray[Any]
DONE = "input_digest"  # one a chunk, written after its data: where it lies, the chunk is whole


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
class Store:
    """Folder of a table; workers write its chunks, each into files of their own."""

    path: Path
    header: dict[str, Any]

    @classmethod
    def create(cls, path: Path, header: dict[str, Any]) -> Self:
        """A table without galaxies: other readers of Zarr see no row before `finish`."""
        zarr = _zarr()
        chunk, axes = header["chunk"], ("galaxy", "bin", "band")
        group = zarr.open_group(path, mode="w-", zarr_format=3, attributes=header)
        for name, (dtype, row) in schema(header).items():
            labels = {0: axes[:1], 1: ("galaxy", "byte" if name == "object_id" else "band")}
            group.create_array(
                name,
                shape=(0, *row),
                chunks=(chunk, *row),
                dtype=dtype,
                compressors=None,
                filters=None,
                fill_value=np.nan if dtype.kind == "f" else 0,
                dimension_names=labels.get(len(row), axes),
            )
        group.create_array(
            DONE, shape=(0, 32), chunks=(1, 32), dtype="u1", compressors=None, filters=None,
            fill_value=0, dimension_names=("chunk", "byte"),
        )  # fmt: skip
        return cls(path, header)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The table at `path`, finished or not."""
        if not path.is_dir():
            raise FileNotFoundError(f"no table at {path}: FluxTable.build(..., path=...) makes one")
        try:
            header = json.loads((path / "zarr.json").read_text())["attributes"]
            found = header["format"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no FluxTable: it lacks the attributes of one") from None
        if found != FORMAT:
            raise ValueError(
                f"{path} has format {found}, this version reads {FORMAT}: build the table again"
            )
        return cls(path, header)

    def file(self, name: str, number: int) -> Path:
        """Where Zarr has chunk `number` of an array: the later axes are not cut."""
        uncut = 1 if name == DONE else len(schema(self.header)[name][1])
        return self.path.joinpath(name, "c", str(number), *["0"] * uncut)

    def digest(self, number: int) -> bytes | None:
        """Fingerprint of the input of a chunk that is whole; None for any other."""
        file = self.file(DONE, number)
        found = file.read_bytes() if file.is_file() else b""
        return found if len(found) == 32 else None  # cut short by the machine, it marks nothing

    def write(self, number: int, data: Mapping[str, Array], digest: bytes) -> None:
        """Write one chunk, whole or not at all."""
        for name, (dtype, row) in schema(self.header).items():
            padded = np.zeros((self.header["chunk"], *row), dtype)
            padded[: len(data[name])] = data[name]
            _write_at_once(self.file(name, number), padded)
        _write_at_once(self.file(DONE, number), np.frombuffer(digest, np.uint8))

    @property
    def finished(self) -> int:
        """Number of chunks that are whole."""
        return sum(1 for _ in self.path.glob(f"{DONE}/c/*/0"))

    def finish(self, galaxies: int) -> Self:
        """Give the arrays their length, then say that the table is complete; once."""
        chunks = -(-galaxies // self.header["chunk"])
        if self.finished != chunks or galaxies != self.header.get("galaxies", galaxies):
            raise ValueError(
                f"galaxies: {galaxies} given, {chunks} chunks; {self.path} has {self.finished}. If "
                f"these are fewer than it was begun with, give all, or build another table; if "
                f"workers wrote to a disk of their own, give a path on one that they share"
            )
        if self.header["complete"]:
            return self
        group = _zarr().open_group(self.path, mode="r+")
        for name in schema(self.header):
            group[name].resize((galaxies, *group[name].shape[1:]))
        group[DONE].resize((chunks, 32))
        for left in self.path.rglob("*.partial"):  # of writers that were killed
            left.unlink()
        clamped = [np.fromfile(self.file("clamped", number), "<i4") for number in range(chunks)]
        number = int(sum(chunk.sum(dtype=np.int64) for chunk in clamped))
        done = self.header | {"complete": True, "galaxies": galaxies, "clamped": number}
        group.update_attributes(done)  # one write; attrs.update is one a key
        return type(self)(self.path, done)

    def digests(self) -> Tensor:
        """Fingerprints of all chunks of a finished table, shape (chunks, 32)."""
        chunks = -(-self.header["galaxies"] // self.header["chunk"])
        found = b"".join(self.digest(number) or bytes(32) for number in range(chunks))
        return torch.from_numpy(np.frombuffer(found, np.uint8).reshape(-1, 32).copy())

    def columns(self) -> dict[str, MappedColumn]:
        """All arrays of a finished table."""
        return {name: self.map(name) for name in schema(self.header)}

    def map(self, name: str) -> MappedColumn:
        """One array of a finished table, mapped into memory when it is looked at."""
        dtype, row = schema(self.header)[name]
        galaxies, chunk = self.header["galaxies"], self.header["chunk"]
        expected = {
            "shape": [galaxies, *row],
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk, *row]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        }
        if dtype.itemsize == 1:
            expected["codecs"] = [{"name": "bytes"}]
        found = json.loads((self.path / name / "zarr.json").read_text())
        for key, value in expected.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{self.path / name} cannot be mapped: its {key} is {found.get(key)}, expected "
                    f"{value}: copy the table as build wrote it, raw and uncut, or build it again"
                )
        files = [self.file(name, number) for number in range(-(-galaxies // chunk))]
        size = chunk * dtype.itemsize * int(np.prod(row))
        for file in files:
            if not (file.is_file() and file.stat().st_size == size):
                raise ValueError(f"{file} is missing or not of {size} bytes: the table is damaged")
        return MappedColumn(self.path / name, dtype, row, galaxies, chunk)


@contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its place, whole, at the end, or vanishes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # of one that was killed
    try:
        yield beside
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write_at_once(path: Path, data: Array) -> None:
    """A file that is there whole or not at all, whenever the process or the machine dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    with partial.open("wb") as file:
        file.write(data.data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            "a table on disk needs zarr: pip install 'photoz-losses[scale]'"
        ) from error
    return zarr

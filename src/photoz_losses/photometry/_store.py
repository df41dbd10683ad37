"""A table of residuals on disk: Zarr whose chunks are raw bytes, to be mapped as they are."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses._whole import replacing
from photoz_losses.photometry import _header
from photoz_losses.photometry._layout import ANEW, DONE, SUMS, Layout, read_json, schema, within
from photoz_losses.photometry._mapped import MEND, MappedColumn

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Store(Layout):
    """Folder of a table; workers write its chunks, each into files of their own."""

    @classmethod
    def create(cls, path: Path, header: dict[str, Any]) -> Self:
        """A table without galaxies: other readers of Zarr see no row before `finish`."""
        zarr, header = _zarr(), _header.sealed(header)
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
        for name, row, axis in (
            (DONE, (32,), ("chunk", "byte")),
            (SUMS, (len(schema(header)) + 1, 32), ("chunk", "array", "byte")),
        ):
            group.create_array(
                name, shape=(0, *row), chunks=(1, *row), dtype="u1", compressors=None, filters=None,
                fill_value=0, dimension_names=axis,
            )  # fmt: skip
        return cls(path, header)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The table at `path`, finished or not."""
        if path.is_file():
            raise ValueError(f"path must be the folder of a table, got the file {path}")
        if not path.is_dir():
            raise FileNotFoundError(f"no table at {path}: FluxTable.build(..., path=...) makes one")
        try:
            group = read_json(within(path, path / "zarr.json"))
            header, kind = group["attributes"], (group["zarr_format"], group["node_type"])
            found = header["format"]
            if kind != (3, "group"):
                raise ValueError(f"it is a {kind[1]} of Zarr {kind[0]}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no FluxTable: it lacks the attributes of one ({error})"
            ) from None
        if found != _header.FORMAT:
            raise ValueError(
                f"{path} has format {found}, this version reads {_header.FORMAT}: build the table "
                f"again"
            )
        try:
            _header.check(header)
        except ValueError as error:
            raise ValueError(
                f"{path} is damaged, {error}: copy it anew, or delete it and build it again"
            ) from None
        return cls(path, header)

    def sums(self, number: int) -> dict[str, bytes]:
        """Checksums of the files of a chunk; those of nothing where they are missing."""
        names, found = (*schema(self.header), DONE), self.read(SUMS, number)
        return {name: found[32 * k : 32 * k + 32] for k, name in enumerate(names)}

    def digest(self, number: int) -> bytes | None:
        """Fingerprint of the input of a chunk that is done; None for any other."""
        found = self.read(DONE, number)  # cut short by the machine, or damaged, it marks nothing
        return found if sha256(found).digest() == self.sums(number)[DONE] else None

    def is_whole(self, number: int) -> bool:
        """Whether all files of a chunk are what was written, by their checksums."""
        sums = self.sums(number).items()
        return all(sha256(self.read(name, number)).digest() == found for name, found in sums)

    def write(self, number: int, data: Mapping[str, Array], digest: bytes) -> None:
        """Write one chunk, whole or not at all."""
        files = {}
        for name, (dtype, row) in schema(self.header).items():
            padded = np.zeros((self.header["chunk"], *row), dtype)
            padded[: len(data[name])] = data[name]
            files[name] = padded.tobytes()
        files[DONE] = digest
        files[SUMS] = b"".join(sha256(content).digest() for content in files.values())
        for name in (*schema(self.header), SUMS, DONE):
            file = self.file(name, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as part:
                part.write_bytes(files[name])

    @property
    def finished(self) -> int:
        """Number of chunks that are done; of none beyond the table, if it says where it ends."""
        names = [mark.parent.name for mark in self.path.glob(f"{DONE}/c/*/0")]
        numbers = {int(name) for name in names if name.isdecimal()}
        end = self.chunks if "galaxies" in self.header else math.inf
        return sum(number < end for number in numbers)

    def check_count(self, galaxies: int, *, are_all: bool) -> None:
        """ValueError where these, or these and more, are not as many as the header says."""
        stated = self.header.get("galaxies", galaxies)
        if galaxies > stated or (are_all and galaxies < stated):
            given = f"{galaxies} given" if are_all else f"{galaxies} or more given"
            raise ValueError(
                f"galaxies: {stated} in the table at {self.path}, {given}: give those that it was "
                f"built from, or build another table"
            )

    def finish(self, galaxies: int) -> Self:
        """Give the arrays their length, then say that the table is complete; once."""
        self.check_count(galaxies, are_all=True)
        chunks = -(-galaxies // self.header["chunk"])
        if self.finished != chunks:
            raise ValueError(
                f"galaxies: {galaxies} given, {chunks} chunks; {self.path} has {self.finished}. If "
                f"these are fewer than it was begun with, give all, or build another table; if "
                f"workers wrote to a disk of their own, give a path on one that they share"
            )
        if self.header["complete"]:
            return self
        for name in (*schema(self.header), DONE, SUMS):
            self.check_description(name)
        group = _zarr().open_group(self.path, mode="r+", zarr_format=3)
        for name in (*schema(self.header), DONE, SUMS):
            length = chunks if name in (DONE, SUMS) else galaxies
            group[name].resize((length, *group[name].shape[1:]))
        for left in (*self.path.rglob("*.partial"), *self.path.rglob(".*.part")):
            left.unlink()  # of writers that were killed
        clamped = [np.frombuffer(self.read("clamped", number), "<i4") for number in range(chunks)]
        number = int(sum(chunk.sum(dtype=np.int64) for chunk in clamped))
        done = self.header | {"complete": True, "galaxies": galaxies, "clamped": number}
        whole = type(self)(self.path, done)
        digests = {"array_digest": whole.array_digest(), "data_digest": whole.data_digest()}
        done = _header.sealed(done | digests)
        group.update_attributes(done)  # one write; attrs.update is one a key
        return type(self)(self.path, done)

    def data_digest(self) -> str:
        """Checksum of a finished table's fingerprints and checksums."""
        hashed = sha256()
        for number in range(self.chunks if self.finished == self.chunks else 0):
            hashed.update(self.read(DONE, number) + self.read(SUMS, number))
        return hashed.hexdigest()

    def array_digest(self) -> str:
        """Checksum of what Zarr says about the arrays."""
        names = (*schema(self.header), DONE, SUMS)
        described = [read_json(self.description(name)) for name in names]
        return sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def is_sound(self) -> bool:
        """Whether every file of a finished table is what was written; reads all of it."""
        self.check_descriptions()
        if self.data_digest() != self.header.get("data_digest"):
            return False
        return all(self.is_whole(number) for number in range(self.chunks))

    def reopen(self) -> Self:
        """Take a damaged table for an unfinished one, in which the chunks that are whole stay."""
        header = _header.sealed(self.header | {"complete": False})
        _zarr().open_group(self.path, mode="r+", zarr_format=3).update_attributes(header)
        return type(self)(self.path, header)

    def check_descriptions(self) -> None:
        """ValueError unless all arrays of a finished table are described as they lie there."""
        for name in schema(self.header):
            self.check_description(name, int(self.header["galaxies"]))
        for name in (DONE, SUMS):
            self.check_description(name, self.chunks)
        if self.array_digest() != self.header.get("array_digest"):
            raise ValueError(
                f"{self.path} is damaged: a zarr.json in it is not what was written: {ANEW}"
            )

    def digests(self) -> Tensor:
        """Fingerprints of all chunks of a finished table, shape (chunks, 32)."""
        found = b"".join(self.read(DONE, number) for number in range(self.chunks))
        return torch.from_numpy(np.frombuffer(found, np.uint8).reshape(-1, 32).copy())

    def columns(self) -> dict[str, MappedColumn]:
        """All arrays of a finished table."""
        self.check_descriptions()
        if self.finished != self.chunks:
            raise ValueError(
                f"{self.path} is damaged: {self.finished} of its {self.chunks} chunks are there: "
                f"{MEND}"
            )
        if self.data_digest() != self.header.get("data_digest"):
            raise ValueError(
                f"{self.path} is damaged: a {SUMS} or {DONE} is not what was written: {MEND}"
            )
        sums = [self.sums(number) for number in range(self.chunks)]
        return {
            name: self.map(name, [chunk[name] for chunk in sums]) for name in schema(self.header)
        }

    def map(self, name: str, sums: list[bytes]) -> MappedColumn:
        """One array of a finished table, mapped into memory when it is looked at."""
        size = self.size(name)
        for number in range(self.chunks):
            file = self.file(name, number)
            if not (file.is_file() and file.stat().st_size == size):
                raise ValueError(
                    f"{file} is missing or not of {size} bytes: the table is damaged: {MEND}"
                )
        galaxies, chunk = int(self.header["galaxies"]), int(self.header["chunk"])
        return MappedColumn(self.path / name, *self.row(name), galaxies, chunk, sums)


@contextmanager
def fresh(path: Path, *, alone: bool) -> Iterator[Path]:
    """A folder beside `path` that takes its place, whole, at the end, or vanishes on an error.

    A process that is killed may leave it, hidden and named after a checksum of the name; the next
    one that holds the lock of `path`, so that no other can be at work, takes that away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = f".photoz_losses-{sha256(os.fsencode(path.name)).hexdigest()[:16]}-"
    if alone:
        for left in path.parent.glob(f"{ours}*.partial"):
            shutil.rmtree(left, ignore_errors=True)
    beside = path.with_name(f"{ours}{secrets.token_hex(8)}.partial")
    try:
        yield beside
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            "a table on disk needs zarr: pip install 'photoz-losses[scale]'"
        ) from error
    return zarr

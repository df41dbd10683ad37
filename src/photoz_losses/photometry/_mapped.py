"""Rows of an array on disk, one file a chunk, as if they were a tensor."""

import math
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]
MEND = "call FluxTable.build(..., path=...) again, which makes anew what is lost, or copy it anew"


@dataclass
class MappedColumn:
    """Rows of an array on disk. Pickles as its path; maps a file when a row of it is asked for.

    A file that is mapped is read once, and must be what was written, by its size and its checksum
    in `sums`; ValueError otherwise.
    """

    path: Path
    dtype: np.dtype[Any]
    row: tuple[int, ...]
    galaxies: int
    chunk: int
    sums: list[bytes] = field(repr=False)
    maps: dict[int, Array] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"maps": {}}

    def __len__(self) -> int:
        return self.galaxies

    @property
    def shape(self) -> tuple[int, ...]:
        """Galaxies first."""
        return (self.galaxies, *self.row)

    def __getitem__(self, index: Any) -> Tensor:
        """Copies of the rows that a tensor of this shape would give for a `checked` index."""
        every = range(self.galaxies)
        if isinstance(index, slice) and every[index] == every:
            return self.whole()
        rows = torch.as_tensor(list(every[index]) if isinstance(index, slice) else index).cpu()
        out = torch.empty(
            (*rows.shape, *self.row), dtype=torch.from_numpy(np.empty(0, self.dtype)).dtype
        )
        flat = out.view(-1, *self.row).numpy()
        for place, row in enumerate(rows.flatten().tolist()):
            number, within = divmod(row, self.chunk)
            flat[place] = self._map(number)[within]
        return out

    def whole(self) -> Tensor:
        """All rows, in memory."""
        out = np.empty(self.shape, self.dtype)
        for start in range(0, self.galaxies, self.chunk):
            part = out[start : start + self.chunk]
            part[:] = self._map(start // self.chunk)[: len(part)]
        return torch.from_numpy(out)

    def _map(self, number: int) -> Array:
        if number not in self.maps:
            file = self.path.joinpath("c", str(number), *["0"] * len(self.row))
            shape = (self.chunk, *self.row)
            size = math.prod(shape) * self.dtype.itemsize
            if not (file.is_file() and file.stat().st_size == size):
                raise ValueError(
                    f"{file} is gone, or not of {size} bytes any more, though the table was whole "
                    f"when it was opened: {MEND}"
                )
            mapped = np.memmap(file, self.dtype, "r", shape=shape)
            if sha256(mapped.data).digest() != self.sums[number]:
                raise ValueError(f"{file} is not what was written, by its checksum: {MEND}")
            self.maps[number] = np.asarray(mapped)  # a memmap takes longer to index than to copy
        return self.maps[number]

"""What every reader gives, and how galaxies are named, cropped and parted."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from astropy.io.fits import VerifyError
from numpy.typing import NDArray
from torch import Tensor

DAMAGE = (  # what h5py, zipfile and astropy raise where bytes are not as they should be
    *(OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(RuntimeError, MemoryError, SyntaxError, NotImplementedError, UserWarning),
    *(BadZipFile, TokenError, VerifyError),
)


class Galaxy(NamedTuple):
    """``image`` [5, H, W] in u g r i z, float32; ``ebv`` and ``z_spec`` float32 scalars."""

    image: Tensor
    ebv: Tensor
    z_spec: Tensor
    id: str


class Reader(Protocol):
    """A map-style ``torch.utils.data.Dataset`` of `Galaxy`, whose columns cost no image."""

    ids: list[str]
    z_spec: Tensor

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Galaxy: ...


def sdss_id(name: str) -> str:
    """Plate-mjd-fiber in a file's or an object's name, without zeros in front; or the name."""
    found = re.search(r"(\d+)-(\d+)-(\d+)", name)
    return "-".join(str(int(part)) for part in found.groups()) if found else name


def sdss_ids(plate: Any, mjd: Any, fiber: Any) -> list[str]:
    return [f"{p}-{m}-{f}" for p, m, f in zip(plate, mjd, fiber, strict=True)]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """ValueError with the path for whatever is wrong with a file; a missing one is told as such."""
    try:
        yield
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        told = str(error)
        raise ValueError(told if str(path) in told else f"{path} is damaged: {told}") from None


def column(values: Any) -> Tensor:
    """A column of a table as float32."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def centre(shape: Sequence[int], side: int) -> tuple[slice, slice]:
    """The middle ``side`` x ``side`` pixels of an image; refuses one that has fewer."""
    height, width = shape
    if min(height, width) < side:
        raise ValueError(f"images have {height} x {width} pixels, side={side} were asked for")
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def float_image(pixels: Any) -> Tensor:
    """A copy of the pixels as float32 in this machine's byte order."""
    image: NDArray[np.float32] = np.array(pixels, dtype=np.float32, order="C")
    return torch.from_numpy(image)


def split_rows(rows: Tensor, test: float, validation: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shuffled rows, cut into those to train on, to validate and to test with.

    ``test`` is a fraction of all, ``validation`` a number of galaxies, but at most a tenth of all.
    """
    n = len(rows)
    n_test, n_validation = round(test * n), min(validation, round(0.1 * n))
    if min(n_test, n_validation) < 0 or n_test + n_validation >= n:
        raise ValueError(f"test={test} and validation={validation} leave none of {n} to train on")
    train, held_out, tested = rows.split([n - n_validation - n_test, n_validation, n_test])
    return train, held_out, tested

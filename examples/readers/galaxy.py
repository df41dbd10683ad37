"""What every reader gives, and how galaxies are parted."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Galaxy(NamedTuple):
    """``image`` [5, H, W] in u g r i z, float32; ``ebv`` and ``z_spec`` float32 scalars."""

    image: Tensor
    ebv: Tensor
    z_spec: Tensor
    id: str


class Reader(Protocol):
    """A map-style ``torch.utils.data.Dataset`` of `Galaxy`, whose columns cost no image."""

    ids: Sequence[str]
    z_spec: Tensor

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Galaxy: ...


def split_rows(n: int, test: float, validation: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Disjoint random rows to train on, to validate and to test with.

    ``test`` is a fraction of all, ``validation`` a number of galaxies, but at most a tenth of all.
    """
    n_test = round(test * n)
    n_validation = min(validation, round(0.1 * n))
    if min(n_test, n_validation) < 0 or n_test + n_validation >= n:
        raise ValueError(f"test={test} and validation={validation} leave none of {n} to train on")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    sizes = [n - n_validation - n_test, n_validation, n_test]
    train, held_out, tested = order.split(sizes)
    return train, held_out, tested

"""What the rooms' cases of bad input share: a case, and valid input to spoil."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from photoz_losses import RedshiftBins, RedshiftCrossEntropy, l2_penalty
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

NAN, INF = float("nan"), float("inf")
BINS = RedshiftBins.uniform(0.0, 0.4, 4)
LOGITS = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 1.0, -3.0, 1.0]])
PROBS = LOGITS.softmax(-1)
Z = torch.tensor([0.05, 0.31])
BOX = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
GRID = torch.linspace(4000.0, 8000.0, 41, dtype=torch.float64)
PHOTOMETRY = SyntheticPhotometry(BOX, GRID)
FLUX = torch.ones(2, 41)
VALID = torch.ones(2, 41, dtype=torch.bool)
RESIDUAL = torch.zeros(2, 4, 3)
WEIGHT = torch.ones(2, 3)
IMAGES = torch.ones(2, 5, 8, 8)
ENTROPY = RedshiftCrossEntropy(BINS)


class Cases(list[Any]):
    """The cases of one room; a call adds one.

    A case is its name, a call, the exception, and what its message must say: pieces that occur in
    this order. (The whole message is held in ``messages.txt``.)
    """

    def __call__(
        self, name: str, call: Callable[[], Any], error: type[Exception], *says: str
    ) -> None:
        self.append(pytest.param(call, error, says, id=name))


def changed(tensor, at, value):
    """`tensor` with one entry replaced."""
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


def used_up():
    """Parameters that were walked through once."""
    parameters = nn.Linear(2, 2).parameters()
    l2_penalty(parameters)
    return parameters

"""Where a picture is drawn, and in which colours."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot
from matplotlib.axes import Axes
from torch import Tensor

from photoz_losses import _check

# Okabe & Ito's: apart for every eye
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
BAND = "0.85"  # grey
EDGED: dict[str, Any] = {"facecolor": BAND, "edgecolor": "0.6", "linewidth": 0.5}


def axes_or_new(ax: Axes | None, **options: Any) -> Axes:
    """`ax` itself, or the Axes of a new figure."""
    return pyplot.subplots(layout="constrained", **options)[1] if ax is None else ax


def numbers(values: Any, name: str = "values") -> npt.NDArray[np.float64]:
    """A float64 vector of a tensor or of anything like an array."""
    return _check.numbers(name, values).ravel()


def pit_values(pit: Tensor) -> npt.NDArray[np.float64]:
    """PIT values as a vector; ValueError where they are none."""
    if len(shape := _check.numbers("pit", pit).shape) > 1:
        raise ValueError(
            f"pit must have shape (N,), got {shape}: are these probs? Call metrics.pit(probs, "
            f"z_spec, bins); or else pit.flatten()"
        )
    values = numbers(pit, "pit")
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("pit must hold values in [0, 1], at least one and no NaN")
    return values

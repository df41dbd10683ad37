"""Where a picture is drawn, and in which colours."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import cbook, pyplot, rcParams
from matplotlib.axes import Axes
from matplotlib.mathtext import MathTextParser
from torch import Tensor

from photoz_losses import _check

# Okabe & Ito's: apart for every eye
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
BAND = "0.85"  # grey
EDGED: dict[str, Any] = {"facecolor": BAND, "edgecolor": "0.6", "linewidth": 0.5}


def axes_or_new(ax: Axes | None, **options: Any) -> Axes:
    """`ax` itself, or the Axes of a new figure; TypeError where it is neither.

    Called when every other argument is checked, so that no figure of a refused call stays open.
    """
    if ax is not None:
        return _check.instance("ax", ax, Axes)
    made: Axes = pyplot.subplots(layout="constrained", **options)[1]
    return made


def vector(name: str, values: Any) -> npt.NDArray[np.float64]:
    """A float64 vector of a tensor or of anything like one; TypeError or ValueError otherwise."""
    found = _check.numbers(name, values)
    if found.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {found.shape}: flatten it")
    return found


def text(name: str, value: Any) -> str:
    """`value` itself where it is text that can be drawn; TypeError, ValueError otherwise.

    Broken mathematics in it would otherwise fail where the figure is saved, far from here.
    """
    found = _check.text(name, value)
    if cbook.is_math_text(found) and not rcParams["text.usetex"]:
        try:
            MathTextParser("path").parse(found)
        except ValueError:
            raise ValueError(
                f"{name} must hold whole mathematics between its $, got {found!r}: mend it, or "
                f"write \\$ for a dollar"
            ) from None
    return found


def pit_values(pit: Tensor) -> npt.NDArray[np.float64]:
    """PIT values as a vector; TypeError or ValueError where they are none."""
    values = _check.numbers("pit", pit)
    if str(getattr(pit, "dtype", "")).endswith("bool"):
        raise TypeError("pit must be numbers, got bool: give the PIT values, not a mask of them")
    if values.ndim != 1:
        raise ValueError(
            f"pit must be a vector, one value a galaxy, got shape {values.shape}: for probs call "
            f"pit(probs, z_spec, bins) of photoz_losses.metrics first"
        )
    if not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("pit must hold values in [0, 1], at least one and no NaN")
    return values

"""Where a picture is drawn."""

from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes


def axes_or_new(ax: Axes | None, **options: Any) -> Axes:
    """`ax` itself, or the Axes of a new figure."""
    return pyplot.subplots(layout="constrained", **options)[1] if ax is None else ax

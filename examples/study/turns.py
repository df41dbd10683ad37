"""What steps cost beside each other, on a machine whose load drifts."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any


def ratios(
    steps: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int
) -> tuple[dict[str, float], float]:
    """Time of each step over the first one's of the same turn, and the first one's seconds.

    Both are medians over the turns that follow those to warm up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(warm_up + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    times = {
        name: median(own / other for own, other in zip(values, first, strict=True))
        for name, values in seconds.items()
    }
    return times, median(first)

"""How every benchmark here is timed and written down.

The machines are shared and noisy: candidates take turns within one run, each is reported by its
median and quartiles, and what counts is the ratio to the first of them.
"""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
KEEP_FREED = {  # glibc gives large blocks back to the system, and each comes anew by page faults
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the largest that every version takes
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


def restart_with(environment: Mapping[str, str]) -> None:
    """Start this script anew where these variables are not set: they are read only at the start."""
    if not environment.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**environment, **os.environ})


def take_turns(
    candidates: Mapping[str, Callable[[], Any]],
    rounds: int,
    warm_up: int = 2,
    wait: Callable[[], Any] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Seconds of each candidate: median, quartiles, and how they compare with the first one's.

    ``times_faster`` is the ratio of the medians; ``ratio`` is the median over the turns of a
    candidate's time over that of the first in the same turn, the steadier of the two where the
    machine's load drifts. `wait` makes sure that a device has finished,
    ``torch.cuda.synchronize`` for one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + rounds):
        for name, candidate in candidates.items():
            wait()
            start = time.perf_counter()
            candidate()
            wait()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    first = np.array(next(iter(seconds.values())))
    rows = {}
    for name, values in seconds.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        rows[name] = {"median_s": median, "quartile_1_s": low, "quartile_3_s": high}
        rows[name]["times_faster"] = float(np.median(first)) / median
        low, median, high = np.percentile(np.array(values) / first, [25, 50, 75])
        rows[name] |= {"ratio": median, "ratio_quartile_1": low, "ratio_quartile_3": high}
    return rows


def write(name: str, rows: Mapping[str, Any], settings: Mapping[str, Any], **more: Any) -> None:
    """Write ``results/<name>.json``: the rows and what made them."""
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "settings": settings,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(content | more, indent=2, default=str)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def read(name: str) -> dict[str, Any]:
    """What the last run wrote."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def save(name: str, rows: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Print the rows and write ``results/<name>.json`` with what made them."""
    for candidate, row in rows.items():
        print(f"{candidate:<28}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    write(name, rows, settings)


def print_table(table: list[list[str]], markdown: bool = False) -> None:
    """Rows of cells, the first the heads: aligned, or as a Markdown table."""
    if markdown:
        table = [table[0], ["---"] * len(table[0]), *table[1:]]
        print("\n".join("| " + " | ".join(cells) + " |" for cells in table))
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *cells in table:
        aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        print(f"{first:<{widths[0]}}", *aligned, sep="  ")

"""How every benchmark here is timed and written down.

The machines are shared and noisy: candidates take turns within one run, each is reported by its
median and quartiles, and what counts is the ratio to the first of them.
"""

import json
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


def take_turns(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2
) -> dict[str, dict[str, float]]:
    """Seconds of each candidate: median, quartiles, and the ratio of the first one's median."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + rounds):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    rows = {}
    for name, values in seconds.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        rows[name] = {"median_s": median, "quartile_1_s": low, "quartile_3_s": high}
    first = next(iter(rows.values()))["median_s"]
    for row in rows.values():
        row["times_faster"] = first / row["median_s"]
    return rows


def save(name: str, rows: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Print the rows and write ``results/<name>.json`` with what made them."""
    for candidate, row in rows.items():
        print(f"{candidate:<28}", "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "settings": settings,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2, default=str) + "\n")

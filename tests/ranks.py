"""Run a function of a test's own file on every rank of a gloo group.

Importing torch and torchmetrics takes seconds. One server does it once, computes nothing, and
forks every rank of every group.
"""

import importlib.util
import inspect
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

PATIENCE = 120.0  # seconds: the machine may have other work
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(  # all that is slow to import for some test
    [
        *("__main__", "pytest", "photoz_losses.metrics", "torch._functorch.aot_autograd"),
        "torch._decomp.decompositions_for_jvp",
    ]
)
needs_gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")


@dataclass(frozen=True)
class Ended:
    """How one rank ended."""

    exitcode: int | None  # None: not by itself
    seconds: float  # since all had started, at most
    complaints: str
    result: Any


def on_ranks(function: Callable[[int, int], Any], ranks: int) -> list[Any]:
    """What `function(rank, ranks)` returns on each rank of a group."""
    ended = endings(function, ranks)
    assert all(one.exitcode == 0 for one in ended), "\n".join(one.complaints for one in ended)
    return [one.result for one in ended]


def endings(function: Callable[[int, int], Any], ranks: int) -> list[Ended]:
    """How each rank of a group ends that calls `function(rank, ranks)`."""
    with tempfile.TemporaryDirectory() as folder:
        call = inspect.getfile(function), function.__name__, ranks, folder
        processes = [SERVER.Process(target=one_rank, args=(k, *call)) for k in range(ranks)]
        for rank, process in enumerate(processes):
            Path(folder, f"{rank}.txt").touch()
            process.start()
        start, seconds = time.monotonic(), []
        try:
            for process in processes:
                process.join(max(0.0, start + PATIENCE - time.monotonic()))
                seconds.append(time.monotonic() - start)
            codes = [process.exitcode for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.join()
        return [
            Ended(codes[k], seconds[k], Path(folder, f"{k}.txt").read_text(), _result(folder, k))
            for k in range(ranks)
        ]


def _result(folder: str, rank: int) -> Any:
    file = Path(folder, f"{rank}.pt")
    return torch.load(file, weights_only=True) if file.exists() else None


def one_rank(rank: int, file: str, name: str, ranks: int, folder: str) -> None:
    """What one process does: join the group, call the function, leave its result."""
    with Path(folder, f"{rank}.txt").open("w") as complaints:
        os.dup2(complaints.fileno(), 2)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=PATIENCE),
    )
    spec = importlib.util.spec_from_file_location("test_file", file)
    module = sys.modules["test_file"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(getattr(module, name)(rank, ranks), Path(folder, f"{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()

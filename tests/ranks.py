"""Start a test's own file as a script, once for each rank of a process group."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def run_ranks(script: str, arguments: Callable[[int], list[str]], ranks: int, patience: int) -> str:
    """Run `script` with `arguments(rank)` on every rank at once; what they complained about."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.getenv("PYTHONPATH")])])
    processes = [
        subprocess.Popen(
            [sys.executable, script, *arguments(rank)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        complaints = [process.communicate(timeout=patience)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return "\n".join(complaints)

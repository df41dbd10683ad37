"""Build one table again and again, each time killed by SIGKILL one step later; run as a script.

    python kill_builds.py FOLDER

A step is any call that makes bytes durable or gives a file its name. Each build has a process and
a folder of its own, FOLDER/<step>. Prints the number of steps of a build that nobody kills.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

import zarr  # noqa: F401  before the forks: it takes longer to import than to build
from photometry.galaxies import BINS, PHOTOMETRY, galaxies

from photoz_losses.photometry import FluxTable


def build(path: Path | None) -> None:
    FluxTable.build(galaxies(5), BINS, PHOTOMETRY, chunk=3, path=path, progress=False)


def build_killed_at(step: int, path: Path) -> None:
    calls = count()
    os.fsync = lambda file: None  # the process dies, not the machine; flushing is slow

    def dies_in(original):
        def call(*args, **kwargs):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, dies_in(getattr(os, name)))
    build(path)


def main() -> None:
    build(None)  # what is loaded on first use is loaded before the forks
    for step in count():
        folder = Path(sys.argv[1]) / str(step)
        folder.mkdir()
        child = os.fork()
        if not child:
            build_killed_at(step, folder / "table.zarr")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            print(step)
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()

"""Kill what writes files by SIGKILL at random moments, go on, and compare the bytes; a script.

    PYTHONPATH=tests:examples python tests/files/kill_writers.py FOLDER [--kills 88] [--seed 0]

FOLDER must be there, and empty; ``--writers table npz`` kills only these. With ``--in-place`` all
that writes files does so in place, and each writer must be lost.

Prints the number of kills that hit a writer at work and were survived, by writer, as JSON, and
what the writers left that is not as it should be: one of these ends its writer's turn, and the
script with 1. What writes one file does so again and again. Once its folder shows that a write has
begun, it is killed after a random part of the time that one takes. A kill counts where it left a
new part of a file, which no write leaves that has ended or not begun; any other is repeated. A
table is built in a folder of its own, killed up to three times, then finished.
"""

import argparse
import faulthandler
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import h5py  # noqa: F401  before the forks, as whatever takes long to import
import numpy as np
import torch
from files.written import COARSE, SPECTRA, TABLE, build, predict
from photometry.galaxies import chunks

from photoz_losses.io import load_predictions
from photoz_losses.photometry import FluxTable

LARGE = 4_000_000  # bytes of a file: a write of so many takes milliseconds, in which it is killed
TURNS = torch.tensor([[[0.2, 0.3, 0.5]], [[0.7, 0.1, 0.2]]], dtype=torch.float64)
MISSES = 50  # kills beside a write, at most, for each that is to count
WRITES = 2000  # of a writer that nobody kills
Write = Callable[[Path, int], Any]


class DamageError(Exception):
    """What a killed writer left is not as it should be."""


def forked(job: Callable[[], Any], wait: Callable[[int], Any] | None = None) -> bool:
    """Run a job in a process of its own; whether it was killed, once `wait` for it came back."""
    child = os.fork()
    if not child:
        faulthandler.disable()  # a crash is told once, by whoever waits
        try:
            job()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if wait is not None:
        wait(child)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status))
        if wait is None or ended != signal.SIGKILL:  # not by us: a crash
            raise DamageError(f"{ended.name} ended what was {'not ' * (wait is None)}to be killed")
        return True
    if os.waitstatus_to_exitcode(status):
        raise DamageError("what was not killed failed")
    return False


def after(seconds: float) -> Callable[[int], None]:
    return lambda child: time.sleep(seconds)


def kill_tables(folder: Path, kills: int, moment: random.Random) -> Iterator[int]:
    """Numbers of kills that were survived, table by table."""

    def job(path: Path) -> None:
        build(path, chunk=1)

    began = time.perf_counter()
    forked(partial(job, folder / "whole.zarr"))
    takes, survived = time.perf_counter() - began, 0
    for number in range(10 * kills):
        killed = 0
        path = folder / str(number) / TABLE.name
        path.parent.mkdir()
        for _ in range(moment.randint(1, 3)):
            killed += forked(partial(job, path), after(moment.uniform(0, 1.1 * takes)))
            if path.exists():
                opens(path)
        forked(partial(job, path))
        if chunks(path) != chunks(folder / "whole.zarr"):
            raise DamageError(f"{path} is another table")
        if [item.name for item in path.parent.iterdir()] != [TABLE.name]:
            raise DamageError(f"litter beside {path}")
        yield killed
        survived += killed
        if survived >= kills:
            return
    raise DamageError("no kill hit a build at work")


def opens(path: Path) -> None:
    """A table that was killed opens whole, or says that it is not finished."""
    try:
        table = FluxTable.load(path, mmap=False)
    except ValueError as error:
        if "is not finished" not in str(error):
            raise DamageError(f"{path}: {error}") from None
    else:
        if len(table) != len(SPECTRA):
            raise DamageError(f"{path} opened with {len(table)} galaxies")


def kill_files(
    write: Write, name: str, folder: Path, kills: int, moment: random.Random
) -> Iterator[int]:
    """Two contents in turn: whenever it is killed, the file is one of them, and opens."""
    path, contents = folder / name, set()
    took: list[float] = []  # seconds of a write, from the first change of the folder to the last

    def measured(child: int) -> None:
        moments = list(changes(path, child))
        took.append(moments[-1] - moments[0] if moments else 0.0)

    for turn in (0, 1, 0, 1, 0):
        forked(partial(write, path, turn), measured)
        contents.add(path.read_bytes())

    def job() -> None:
        for turn in islice(cycle((0, 1)), WRITES):
            write(path, turn)

    def within(child: int) -> None:
        time.sleep(moment.uniform(0, 0.05))  # not the first write alone
        next(changes(path, child), None)
        time.sleep(moment.uniform(0, median(took)))

    hits = 0
    for _ in range(MISSES * kills):
        before = seen(path)
        forked(job, within)
        if not path.exists() or path.read_bytes() not in contents:
            raise DamageError(f"{path} is neither of the files that were written")
        if any(part != name for part, *_ in seen(path) - before):
            yield 1
            hits += 1
        if hits == kills:
            break
    else:
        raise DamageError(f"{hits} of {MISSES * kills} kills hit a write of {path}")
    forked(partial(write, path, 0))
    if len(contents) != 2 or path.read_bytes() not in contents:
        raise DamageError(f"{path} is another file after all")


def changes(path: Path, child: int) -> Iterator[float]:
    """Moments at which a file, or what is to take its place, is seen to change, until the end."""
    before = seen(path)
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if (now := seen(path)) != before:
            yield time.perf_counter()
            before = now


def seen(path: Path) -> set[tuple[str, int, int]]:
    """Name, size and time of a file, and of every part of it: their names hold its own."""
    found = set()
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if path.name in entry.name:
                with suppress(FileNotFoundError):  # it has taken the file's place
                    stat = entry.stat()
                    found.add((entry.name, stat.st_size, stat.st_mtime_ns))
    return found


def write_predictions(path: Path, turn: int) -> None:
    from photoz_losses.io import save_predictions

    probs = TURNS[turn].expand(LARGE // 24, 3)
    save_predictions(path, probs, COARSE, object_id=torch.arange(len(probs)))


def report_writer() -> Write:
    """`write_report` with what takes long done before: it is the writing that is killed."""
    from photoz_losses import report
    from photoz_losses.report.pictures import Picture

    z_spec = torch.linspace(0.05, 0.95, 40)
    turns = [row.repeat(40, 1) for row in TURNS]
    more = "x" * LARGE
    numbers, pictures = report.take_numbers, report.draw_pictures
    known: dict[float, Any] = {}
    for probs in turns:
        generator = torch.Generator().manual_seed(0)
        found = numbers(
            probs, z_spec, COARSE, preset="paper", by={"redshift": z_spec}, n_boot=2,
            generator=generator,
        )  # fmt: skip
        drawn = pictures(probs, z_spec, COARSE, found) | {"More": [Picture("", more)]}
        known[probs[0, 0].item()] = found | {"more": more}, drawn
    report.take_numbers = lambda probs, *_, **__: known[probs[0, 0].item()][0]
    report.draw_pictures = lambda probs, *_: known[probs[0, 0].item()][1]

    def write(path: Path, turn: int) -> None:
        report.write_report(turns[turn], z_spec, COARSE, path.parent, n_boot=2)

    return write


def checkpoint_writer() -> Write:
    import checkpoints

    states = [{"weights": torch.full((LARGE // 4,), float(turn)), "step": turn} for turn in (0, 1)]
    return lambda path, turn: checkpoints.save(states[turn], path)


def run_writer() -> Write:
    from study import work

    return lambda path, turn: work.write(path, {"turn": turn, "more": "x" * LARGE})


def cache_writer() -> Write:
    import cached_arrays

    images = [np.full((LARGE // 4000, 1000), turn, np.float32) for turn in (0, 1)]
    return lambda path, turn: cached_arrays.write(path, {"image": images[turn]})


FILES: dict[str, tuple[Callable[[], Write], str]] = {
    "npz": (lambda: write_predictions, "predictions.npz"),
    "hdf5": (lambda: write_predictions, "predictions.h5"),
    "report": (report_writer, "report.html"),
    "report json": (report_writer, "report.json"),
    "checkpoint": (checkpoint_writer, "last.ckpt"),
    "run": (run_writer, "run.json"),
    "cache": (cache_writer, "galaxies.h5"),
}
IN_PLACE: dict[str, tuple[str, Any]] = {  # what each writes through, and what would write in place
    "npz": ("photoz_losses.io.files.replacing", nullcontext),
    "hdf5": ("photoz_losses.io.files.replacing", nullcontext),
    "report": ("photoz_losses.report.replacing", nullcontext),
    "report json": ("photoz_losses.report.replacing", nullcontext),
    "checkpoint": ("checkpoints.save", torch.save),
    "run": ("study.work.write", lambda path, content: path.write_text(json.dumps(content))),
    "cache": ("cached_arrays.write", lambda *given: import_module("cached_arrays").fill(*given)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=88, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writers", nargs="+")
    parser.add_argument("--in-place", action="store_true", help="kill what writes files in place")
    options = parser.parse_args()
    names = options.writers or [*([] if options.in_place else ["table"]), *FILES]
    torch.set_num_threads(1)
    os.fsync = lambda file: None  # the process dies, not the machine; flushing is slow
    predict(options.folder / "first.npz")  # what is loaded on first use, before the forks
    load_predictions(options.folder / "first.npz")
    if "table" in names:
        import_module("zarr")
        FluxTable.build(SPECTRA, **in_memory())
    for name in names if options.in_place else ():
        patch(*IN_PLACE[name]).start()
    each = -(-options.kills // len(names))
    survived, lost = dict.fromkeys(names, 0), []
    for name in names:
        folder, moment = options.folder / name.replace(" ", "_"), random.Random(options.seed)
        folder.mkdir()
        try:
            for number in turns(name, folder, each, moment):
                survived[name] += number
        except DamageError as error:
            lost.append(f"{name}: {error}")
    total = {"total": sum(survived.values())}
    print(json.dumps({"survived": survived | total, "lost": lost}))
    sys.exit(bool(lost))


def turns(name: str, folder: Path, kills: int, moment: random.Random) -> Iterator[int]:
    """The kills of one writer that were survived, as they come."""
    if name == "table":
        return kill_tables(folder, kills, moment)
    writer, file = FILES[name]
    return kill_files(writer(), file, folder, kills, moment)


def in_memory() -> dict[str, Any]:
    from photometry.galaxies import BINS, PHOTOMETRY

    return {"bins": BINS, "photometry": PHOTOMETRY, "progress": False}


if __name__ == "__main__":
    main()

"""Kill what writes files by SIGKILL at random moments, go on, and compare the bytes; a script.

    PYTHONPATH=tests:examples python tests/files/kill_writers.py FOLDER [--kills 70] [--seed 0]

FOLDER must be there, and empty; ``--writers table npz`` kills only these.

Prints the number of kills that hit a writer at work and were survived, by writer, as JSON, and
what the writers left that is not as it should be: one of these ends its writer's turn, and the
script with 1. What writes one file does so again and again until it is killed, so that the moment
lies within a write; a table is built in a folder of its own, killed up to three times, then
finished.
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
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import h5py  # noqa: F401  before the forks, as whatever takes long to import
import torch
import zarr  # noqa: F401
from files.written import COARSE, SPECTRA, TABLE, build, predict
from photometry.galaxies import chunks

from photoz_losses.io import load_predictions
from photoz_losses.photometry import FluxTable

TURNS = torch.tensor([[[0.2, 0.3, 0.5]], [[0.7, 0.1, 0.2]]], dtype=torch.float64).expand(2, 2000, 3)
Write = Callable[[Path, int], Any]


class DamageError(Exception):
    """What a killed writer left is not as it should be."""


def forked(job: Callable[[], Any], after: float | None = None) -> bool:
    """Run a job in a process of its own; whether it was killed, so many seconds after its start."""
    child = os.fork()
    if not child:
        faulthandler.disable()  # a crash is told once, by whoever waits
        try:
            job()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        ended = signal.Signals(os.WTERMSIG(status))
        if after is None or ended != signal.SIGKILL:  # not by us: a crash
            raise DamageError(f"{ended.name} ended what was {'not ' * (after is None)}to be killed")
        return True
    if os.waitstatus_to_exitcode(status):
        raise DamageError("what was not killed failed")
    return False


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
            killed += forked(partial(job, path), moment.uniform(0, 1.1 * takes))
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
    for turn in (0, 1):
        forked(partial(write, path, turn))
        contents.add(path.read_bytes())

    def job() -> None:
        for turn in cycle((0, 1)):
            write(path, turn)

    for _ in range(kills):
        forked(job, 0.05 + moment.uniform(0, 0.2))
        if path.read_bytes() not in contents:
            raise DamageError(f"{path} is neither of the files that were written")
        yield 1
    forked(partial(write, path, 0))
    if len(contents) != 2 or path.read_bytes() not in contents:
        raise DamageError(f"{path} is another file after all")


def write_predictions(path: Path, turn: int) -> None:
    probs = TURNS[turn]
    ids = [str(number) for number in range(len(probs))]
    from photoz_losses.io import save_predictions

    save_predictions(path, probs, COARSE, torch.linspace(0.1, 0.9, len(probs)), ids)


def report_writer() -> Write:
    """`write_report` with what takes long done before: it is the writing that is killed."""
    from photoz_losses import report

    z_spec = torch.linspace(0.05, 0.95, 40)
    turns = [row[:40].clone() for row in TURNS]
    numbers, pictures = report.take_numbers, report.draw_pictures
    known: dict[float, Any] = {}
    for probs in turns:
        generator = torch.Generator().manual_seed(0)
        found = numbers(
            probs, z_spec, COARSE, preset="paper", by={"redshift": z_spec}, n_boot=2,
            generator=generator,
        )  # fmt: skip
        known[probs[0, 0].item()] = found, pictures(probs, z_spec, COARSE, found)
    report.take_numbers = lambda probs, *_, **__: known[probs[0, 0].item()][0]
    report.draw_pictures = lambda probs, *_: known[probs[0, 0].item()][1]

    def write(path: Path, turn: int) -> None:
        report.write_report(turns[turn], z_spec, COARSE, path.parent, n_boot=2)

    return write


def checkpoint_writer() -> Write:
    import checkpoints

    states = [{"weights": torch.full((300, 300), float(turn)), "step": turn} for turn in (0, 1)]
    return lambda path, turn: checkpoints.save(states[turn], path)


def run_writer() -> Write:
    from study import work

    return lambda path, turn: work.write(path, {"rows": [[turn, 0.1 * k] for k in range(3000)]})


FILES: dict[str, tuple[Callable[[], Write], str]] = {
    "npz": (lambda: write_predictions, "predictions.npz"),
    "hdf5": (lambda: write_predictions, "predictions.h5"),
    "report": (report_writer, "report.html"),
    "report json": (report_writer, "report.json"),
    "checkpoint": (checkpoint_writer, "last.ckpt"),
    "run": (run_writer, "run.json"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=70, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writers", nargs="+", default=["table", *FILES])
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.fsync = lambda file: None  # the process dies, not the machine; flushing is slow
    FluxTable.build(SPECTRA, **in_memory())  # what is loaded on first use, before the forks
    predict(options.folder / "first.npz")
    load_predictions(options.folder / "first.npz")
    each = -(-options.kills // len(options.writers))
    survived, lost = dict.fromkeys(options.writers, 0), []
    for name in options.writers:
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

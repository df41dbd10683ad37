"""Writers that are killed at random moments: what is there is whole, and the rest goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from files import kill_writers

EXAMPLES = ("checkpoint", "run")
LIBRARY = ("npz", "hdf5")
THERE = all(map(find_spec, ("lightning", "filelock", "tqdm")))
FILES = [name for name in kill_writers.FILES if THERE or name not in EXAMPLES]
plots = pytest.mark.skipif(not find_spec("matplotlib"), reason="the report needs the extra 'plots'")


def kill(folder: Path, *options: str | int, fails: bool = False) -> dict[str, Any]:
    """What the script prints."""
    script = Path(kill_writers.__file__)
    places = [script.parents[1], script.parents[2] / "examples", *sys.path]
    run = subprocess.run(
        [sys.executable, script, folder, *map(str, options)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == fails, run.stdout + run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def in_place(folder: Path, seed: int, writers: Sequence[str]) -> None:
    """Every writer is lost, by what it left, within the kills that one that counts may take."""
    options = ("--kills", 1, "--seed", seed, "--in-place", "--writers", *writers)
    lost = kill(folder, *options, fails=True)["lost"]
    assert [told.split(":")[0] for told in lost] == list(writers)
    assert all(told.endswith("is neither of the files that were written") for told in lost)


@pytest.mark.parametrize("wait", [None, kill_writers.after(0.2)])
def test_a_writer_that_crashes_is_not_taken_for_a_killed_one(wait):
    with pytest.raises(kill_writers.DamageError, match="SIGSEGV"):
        kill_writers.forked(lambda: os.kill(os.getpid(), signal.SIGSEGV), wait)


def test_what_writes_in_place_is_noticed(tmp_path):
    in_place(tmp_path, 0, LIBRARY)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@plots
def test_every_kind_of_file_that_is_written_in_place_is_noticed(tmp_path, seed):
    in_place(tmp_path, seed, FILES)


@pytest.mark.slow
def test_a_few_kills_are_survived(tmp_path):
    assert kill(tmp_path, "--kills", 3, "--writers", "table", *LIBRARY)["survived"]["total"] >= 3


@pytest.mark.slow
@plots
def test_every_writer_survives_eight_kills_or_more(tmp_path):
    counts = kill(tmp_path, "--writers", "table", *FILES)["survived"]
    print(counts)
    assert min(counts.values()) >= 8
    assert counts["total"] >= 50

"""Writers that are killed at random moments: what is there is whole, and the rest goes on."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from files import kill_writers

EXAMPLES = ("checkpoint", "run")


def kill(folder: Path, kills: int, writers: list[str]) -> dict[str, int]:
    script = Path(kill_writers.__file__)
    places = [script.parents[1], script.parents[2] / "examples", *sys.path]
    run = subprocess.run(
        [sys.executable, script, folder, "--kills", str(kills), "--writers", *writers],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    counts: dict[str, int] = json.loads(run.stdout.splitlines()[-1])["survived"]
    return counts


@pytest.mark.parametrize("after", [None, 0.2])
def test_a_writer_that_crashes_is_not_taken_for_a_killed_one(after):
    with pytest.raises(kill_writers.DamageError, match="SIGSEGV"):
        kill_writers.forked(lambda: os.kill(os.getpid(), signal.SIGSEGV), after)


@pytest.mark.slow
def test_a_few_kills_are_survived(tmp_path):
    assert kill(tmp_path, 3, ["table", "npz", "hdf5"])["total"] >= 3


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("matplotlib"), reason="the report needs the extra 'plots'")
def test_sixty_kills_are_survived(tmp_path):
    there = find_spec("lightning") and find_spec("filelock")
    writers = ["table", *(name for name in kill_writers.FILES if there or name not in EXAMPLES)]
    counts = kill(tmp_path, 70, writers)
    print(counts)
    assert counts["total"] >= 60

"""The study of the ways to ask for invariance, and the benchmark of a step, at their smallest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

for package in ("galsim", "kcorrect", "torchvision"):
    pytest.importorskip(package, reason="needs the extra 'examples'")

ROOT = Path(__file__).parents[2]


def run(script: str, folder: Path, *options: str) -> None:
    environment = os.environ | {"PHOTOZ_LOSSES_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    environment |= {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, ROOT / script, *options]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_way_to_ask_for_invariance_trains_and_is_measured(tmp_path):
    sizes = "--galaxies 40 --seeds 1 --epochs 1 --batch 14 --bins 20 --n-views 1"
    run("examples/invariance.py", tmp_path, *sizes.split(), "--output", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert len(rows) == 10
    for row in rows.values():
        for name in ("rotation", "background", "unbiased", "both"):
            assert row[f"cramer_{name}"] > 0
        assert row["cramer_rotation_eight_views"] < 1e-9  # exactly invariant, but for rounding
        assert row["cramer_per_square_radian"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [(), ("--compile",)])
def test_a_step_is_timed_in_half_precision_and_compiled(tmp_path, compiled):
    sizes = "--batch 8 --side 32 --bins 8 --rounds 1 --precision bf16 --channels-last"
    name = str(tmp_path / "step")
    run("benchmarks/step.py", tmp_path, *sizes.split(), *compiled, "--name", name)
    rows = json.loads((tmp_path / "step.json").read_text())["rows"]
    assert rows["plain"]["ratio"] == 1
    assert all(row["median_s"] > 0 for row in rows.values())

"""What docs/start.md says of Jupyter: tables and pictures show themselves at the end of a cell."""

import json
import os
import subprocess
import sys

import pytest

CELLS = [
    "%matplotlib inline",
    """
import torch
from photoz_losses import RedshiftBins
from photoz_losses.metrics import MAD, binned, mad, photo_z_metrics, pit
from photoz_losses.plots import plot_densities, plot_pit
bins = RedshiftBins.uniform(0.0, 0.4, 20)
probs, z_spec = torch.rand(50, 20).softmax(-1), 0.4 * torch.rand(50)
metrics = photo_z_metrics(bins)
metrics.update(probs=probs, z_spec=z_spec)
metrics.compute()
""",
    "binned(mad, bins.mean(probs), z_spec, by=z_spec, edges=[0.0, 0.2, 0.4])",
    "plot_pit(pit(probs, z_spec, bins))",
    "axes = plot_densities(probs[:3], bins)",
]
SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

class Shell(InteractiveShell):
    def enable_gui(self, gui=None):  # there is no window to be had
        pass

shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
shown = []
for cell in json.load(sys.stdin):
    with shell.display_trap, capture_output() as output:
        shell.run_cell(cell, store_history=True).raise_error()
    shown.append([{key: str(value) for key, value in one.data.items()} for one in output.outputs])
print(json.dumps(shown))
"""


@pytest.mark.slow
def test_cells_show_tables_and_pictures(tmp_path):
    pytest.importorskip("IPython")
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    run = subprocess.run(
        [sys.executable, "-c", SHELL],
        input=json.dumps(CELLS),
        env=environment | {"IPYTHONDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not run.returncode, run.stdout + run.stderr
    _, table, in_bins, picture, kept = json.loads(run.stdout.splitlines()[-1])
    for output in (table, in_bins):
        (only,) = output
        assert "<table" in only["text/html"]
        assert only["text/plain"]
    assert "crps" in table[0]["text/html"]
    assert [set(output) for output in picture] == [{"text/plain"}, {"text/plain", "image/png"}]
    assert [set(output) for output in kept] == [{"text/plain", "image/png"}]

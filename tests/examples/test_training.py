"""The examples, at their smallest size, as a user starts them."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml

pytest.importorskip("galsim", reason="needs the extra 'examples'")
pytest.importorskip("kcorrect", reason="needs the extra 'examples'")
pytest.importorskip("lightning", reason="needs the extra 'examples'")
pytest.importorskip("torchvision", reason="needs the extra 'examples'")

EXAMPLES = Path(__file__).parents[2] / "examples"
GROUPS = ("baseline", "augmented", "constrained")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script in this process, as its command line would: what it imports is here already."""

    def run(script: str, *options: str) -> dict:
        monkeypatch.setattr(sys, "argv", [script, "--output", str(tmp_path / "out"), *options])
        monkeypatch.setenv("MPLBACKEND", "agg")
        monkeypatch.setenv("PHOTOZ_LOSSES_CACHE", str(tmp_path))
        with torch.random.fork_rng():
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return json.loads((tmp_path / "out" / "results.json").read_text())

    return run


@pytest.mark.slow
def test_photometry_beats_the_constant_predictor_on_real_fluxes(run, tmp_path):
    rows = run("photometry_mlp.py")["results"]
    assert rows["photometry"]["mad"] <= 0.016
    assert rows["photometry"]["crps"] < 0.5 * rows["constant"]["crps"]
    assert 0.047 < rows["constant"]["mad"] < 0.050
    assert rows["+ PIT"]["pit_ks"] < 0.7 * rows["photometry"]["pit_ks"]  # of real galaxies, unseen
    for name in ("+ temperature", "+ PIT"):
        assert rows[name]["crps"] < 1.01 * rows["photometry"]["crps"]
    for picture in ("pit", "redshifts"):
        assert (tmp_path / "out" / f"photometry_{picture}.png").stat().st_size > 10_000


def test_every_way_of_weighing_trains_and_leaves_a_table(run):
    pytest.importorskip("torchjd", reason="needs the extra 'examples'")
    pytest.importorskip("quadprog", reason="needs the extra 'examples'")
    options = ("--galaxies", "200", "--steps", "12", "--batch", "32", "--bins", "40")
    rows = run("gradient_surgery.py", *options)["results"]
    assert set(rows) == {"alone", "fixed", "ramp", "uncertainty", "relobralo", "surgery"}
    for way, row in rows.items():
        assert 0 < row["mad"] < 0.5
        assert 0 < row["crps"] < 0.4
        assert all(row[f"gradient_{name}"] > 0 for name in ("ce", "crps", "flux", "cde"))
        assert row["weight_cde"] == (0.0 if way == "alone" else 0.002), way
    assert rows["fixed"]["weight_ce"] == 1.0
    assert rows["uncertainty"]["weight_ce"] != 0.5  # learned
    weights = {"ce": 1.0, "crps": 100.0, "flux": 0.1}  # where they start from
    factors = [rows["relobralo"][f"weight_{name}"] / weight for name, weight in weights.items()]
    assert sum(factors) == pytest.approx(3)


@pytest.mark.slow
def test_groups_train_and_leave_a_table_and_pictures(run, tmp_path):
    sizes = ("--galaxies", "48", "--epochs", "1", "--network", "small")  # the gate has a ResNet50
    content = run("train_resnet50.py", *sizes, "--group", "all")
    assert set(content["results"]) == {"constant", *GROUPS}
    assert {settings["batch"] for settings in content["settings"].values()} == {32}
    assert content["settings"]["constrained"]["gamma_flux"] == 0.1
    assert len(content["git_revision"]) >= 40 or content["git_revision"] == "unknown"
    assert content["versions"].keys() >= {"lightning", "torch", "photoz_losses"}
    for group in GROUPS:
        assert 0 < content["results"][group]["mad"] < 0.5
        for picture in ("pit", "redshifts", "densities"):
            assert (tmp_path / "out" / f"{group}_{picture}.png").stat().st_size > 10_000
        resolved = yaml.safe_load((tmp_path / "out" / group / "config.yaml").read_text())
        assert resolved == content["settings"][group]


@pytest.mark.slow
def test_every_group_beats_the_constant_predictor_at_the_default_size(run):
    """The main job itself: six minutes on two cores."""
    content = run("train_resnet50.py")
    rows = content["results"]
    for group in GROUPS:
        assert rows[group]["mad"] <= rows["constant"]["mad"] / 1.7

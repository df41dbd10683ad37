"""The examples, at their smallest size, as a user starts them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("galsim", reason="needs the extra 'examples'")
pytest.importorskip("kcorrect", reason="needs the extra 'examples'")
pytest.importorskip("torchvision", reason="needs the extra 'examples'")

EXAMPLES = Path(__file__).parents[2] / "examples"
GROUPS = ("baseline", "augmented", "constrained")


def run(script: str, folder: Path, *options: str) -> dict:
    command = [sys.executable, EXAMPLES / script, "--output", folder / "out", *options]
    environment = {"MPLBACKEND": "agg", "PHOTOZ_LOSSES_CACHE": str(folder), "OMP_NUM_THREADS": "2"}
    subprocess.run(command, check=True, env=environment, cwd=folder, capture_output=True)
    return json.loads((folder / "out" / "results.json").read_text())


def test_photometry_beats_the_constant_predictor_on_real_fluxes(tmp_path):
    rows = run("photometry_mlp.py", tmp_path)["results"]
    assert rows["photometry"]["mad"] <= 0.016
    assert rows["photometry"]["crps"] < 0.5 * rows["constant"]["crps"]
    assert 0.047 < rows["constant"]["mad"] < 0.050
    assert rows["+ PIT"]["pit_ks"] < 0.7 * rows["photometry"]["pit_ks"]  # of real galaxies, unseen
    for name in ("+ temperature", "+ PIT"):
        assert rows[name]["crps"] < 1.01 * rows["photometry"]["crps"]
    for picture in ("pit", "redshifts"):
        assert (tmp_path / "out" / f"photometry_{picture}.png").stat().st_size > 10_000


def test_every_way_of_weighing_trains_and_leaves_a_table(tmp_path):
    pytest.importorskip("torchjd", reason="needs the extra 'examples'")
    pytest.importorskip("quadprog", reason="needs the extra 'examples'")
    options = ("--galaxies", "200", "--steps", "12", "--batch", "32", "--bins", "40")
    rows = run("gradient_surgery.py", tmp_path, *options)["results"]
    assert set(rows) == {"fixed", "ramp", "uncertainty", "relobralo", "surgery"}
    for way, row in rows.items():
        assert 0 < row["mad"] < 0.5
        assert 0 < row["crps"] < 0.4
        assert all(row[f"gradient_{name}"] > 0 for name in ("ce", "flux", "cde"))
        assert row["weight_cde"] == 0.1, way
    assert rows["fixed"]["weight_ce"] == 1.0
    assert rows["uncertainty"]["weight_ce"] != 0.5  # learned
    assert rows["relobralo"]["weight_ce"] + 10 * rows["relobralo"]["weight_flux"] == (
        pytest.approx(2)
    )


def test_all_groups_train_and_leave_a_table_and_pictures(tmp_path):
    content = run("train_resnet50.py", tmp_path, "--galaxies", "48", "--epochs", "1")
    assert set(content["results"]) == {"constant", *GROUPS}
    assert content["settings"]["batch"] == 32
    for group in GROUPS:
        assert 0 < content["results"][group]["mad"] < 0.5
        for picture in ("pit", "redshifts", "densities"):
            assert (tmp_path / "out" / f"{group}_{picture}.png").stat().st_size > 10_000


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_loss_is_table_2s_sum_and_its_gradient_reaches_every_weight(group, tmp_path):
    from galaxies import load_galaxies
    from train_resnet50 import arguments
    from training import GROUPS as TABLE_2
    from training import Trainer, training_set

    from photoz_losses import RedshiftBins

    options = arguments(["--device", "cpu"])
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    few = training_set(load_galaxies(4, cache=tmp_path, workers=1, progress=False), bins)
    trainer = Trainer(TABLE_2[group], options, bins)
    torch.nn.init.normal_(trainer.model.head.weight, std=0.01)  # not at its start of zero
    terms = trainer.step(next(few.batches(4, trainer.device)))
    expected = {"ce", "l2"} | ({"flux", "invariance", "cde"} if group == "constrained" else set())
    assert set(terms) == expected
    assert trainer.loss.weights["l2"] == 1e-6
    assert all(trainer.loss.weights[name] == 0.1 for name in expected - {"ce", "l2"})
    assert all(parameter.grad is not None for parameter in trainer.model.parameters())
    assert (few.band_weight == 1).all()  # kcorrect's spectra cover every band at every bin


def test_the_papers_preset_is_table_2_and_appendix_b4():
    from train_resnet50 import arguments

    options = vars(arguments(["--preset", "paper", "--device", "cpu"]))
    table_2 = {"lr": 1e-3, "batch": 128, "epochs": 50, "schedule": "plateau", "gamma_l2": 1e-6}
    constraints = {f"gamma_{term}": 0.1 for term in ("flux", "invariance", "cde")}
    appendix = {"stem": "paper", "initialisation": "he", "bin_factor": 1, "galaxies": None}
    assert options.items() >= (table_2 | constraints | appendix).items()
    assert arguments(["--preset", "paper", "--epochs", "3"]).epochs == 3


def test_the_papers_schedule_lowers_the_rate_after_two_epochs_without_gain(tmp_path):
    from galaxies import load_galaxies
    from train_resnet50 import arguments
    from training import GROUPS as TABLE_2
    from training import Schedule, Trainer

    from photoz_losses import RedshiftBins

    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    options = arguments(["--schedule", "plateau", "--device", "cpu"])
    trainer = Trainer(TABLE_2["baseline"], options, bins)
    schedule = Schedule(trainer.optimizer, options, steps=10)
    galaxies = load_galaxies(4, cache=tmp_path, workers=1, progress=False)
    rates = []
    for _ in range(4):  # nothing is trained in between: validation stalls
        schedule.end_epoch(trainer, galaxies, bins)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == [1e-3, 1e-3, 1e-3, pytest.approx(1e-4)]


@pytest.mark.parametrize("options", [["--batch", "1"], ["--epochs", "0"], ["--precision", "fp16"]])
def test_options_that_could_train_nothing_are_refused(options):
    from train_resnet50 import arguments

    with pytest.raises(SystemExit):
        arguments([*options, "--device", "cpu"])


@pytest.mark.slow
def test_every_group_beats_the_constant_predictor_at_the_default_size(tmp_path):
    """The main job itself: six minutes on two cores."""
    content = run("train_resnet50.py", tmp_path)
    rows = content["results"]
    for group in GROUPS:
        assert rows[group]["mad"] <= rows["constant"]["mad"] / 1.7

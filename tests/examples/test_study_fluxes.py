"""The study on fluxes: paired groups, equal time, and a search of weights that may be killed."""

import json
import signal
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import reference
import torch

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

for package in ("filelock", "galsim", "kcorrect", "matplotlib", "optuna", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'examples'")

optuna, pyplot = (import_module(name) for name in ("optuna", "matplotlib.pyplot"))
fluxes, search, trials = (import_module(f"study.{name}") for name in ("fluxes", "search", "trials"))
galaxies = import_module("galaxies")
EXAMPLES = Path(__file__).parents[2] / "examples"
ALL = {"cde": 0.1, "flux": 0.1, "crps": 0.1}


@pytest.fixture(scope="module")
def data():
    """Made up: one feature tells the redshift, the other nothing."""
    random = torch.Generator().manual_seed(0)
    samples = []
    for n in (53, 20, 20):
        z = 0.02 + 0.36 * torch.rand(n, generator=random)
        noise = torch.randn(2, n, generator=random)
        samples.append(fluxes.Sample(torch.stack([10 * z - 2 + 0.2 * noise[0], noise[1]], -1), z))
    residual = torch.randn(53, 16, 5, generator=random)
    band_weight = (torch.rand(53, 5, generator=random) > 0.2).float()
    return fluxes.Data(RedshiftBins.uniform(0.0, 0.4, 16), *samples, residual, band_weight)


def trained(data, weights, seed=0, steps=8, batch=10, **options):
    model, _ = fluxes.train(data, weights, seed=seed, steps=steps, batch=batch, **options)
    return model.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_seed_fixes_a_training_to_the_bit_and_leaves_others_alone(data):
    once = trained(data, ALL)
    state = torch.random.get_rng_state()
    torch.manual_seed(77)
    assert same(once, trained(data, ALL))
    assert not same(once, trained(data, ALL, seed=1))
    torch.random.set_rng_state(state)
    before = torch.random.get_rng_state()
    trained(data, {}, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_groups_share_weights_to_start_from_and_order(data):
    """Without a learning rate only BatchNorm's averages move: they tell weights and order."""
    still = {name: trained(data, weights, lr=0.0) for name, weights in fluxes.GROUPS.items()}
    assert all(same(still["cross entropy"], other) for other in still.values())
    longer = trained(data, {}, lr=0.0, steps=9)
    assert torch.equal(longer["0.weight"], still["+ all"]["0.weight"])
    assert not torch.equal(longer["1.running_mean"], still["+ all"]["1.running_mean"])
    other = trained(data, {}, lr=0.0, seed=1)
    assert not torch.equal(other["0.weight"], still["+ all"]["0.weight"])


def test_every_galaxy_once_an_epoch(data):
    order = torch.Generator().manual_seed(0)
    drawn = fluxes.batches(21, 10, order)  # the last, single one is left out
    assert fluxes.steps_an_epoch(21, 10) == 2
    first, second = (torch.cat([next(drawn), next(drawn)]) for _ in range(2))
    assert len(first.unique()) == len(second.unique()) == 20
    assert not torch.equal(first, second)
    assert fluxes.steps_an_epoch(20, 10) == 2
    assert fluxes.steps_an_epoch(22, 10) == 3


def test_each_term_is_in_the_training_and_a_weight_of_zero_takes_it_out(data):
    plain = trained(data, {})
    assert same(plain, trained(data, dict.fromkeys(ALL, 0.0)))
    for name in ALL:
        assert not same(plain, trained(data, {name: 0.1})), name
    with pytest.raises(ValueError, match="weights must be of cde, flux, crps, got invariance"):
        trained(data, {"invariance": 0.1})


def test_the_loss_of_a_step_is_the_sum_by_hand(data):
    weights = {"cde": 0.3, "flux": 0.7, "crps": 11.0}
    rows = torch.tensor([31, 2, 17, 40])
    model = fluxes.network(2, 16, 8).double()
    wide = data._replace(train=fluxes.Sample(*(part.double() for part in data.train)))
    loss = fluxes.total_loss(weights, data.bins)
    total, _ = fluxes.loss_terms(loss, model, wide, rows)
    edges = data.bins.edges.tolist()
    expected = []
    for row, logits in zip(rows.tolist(), model(wide.train.inputs[rows]).tolist(), strict=True):
        probs, z = reference.softmax(logits), wide.train.z_spec[row].item()
        residual, weight = data.residual[row].double().numpy(), data.band_weight[row].numpy()
        flux = np.average(np.abs(np.array(probs) @ residual), weights=weight)
        expected.append(
            reference.cross_entropy(edges, logits, z)
            + 0.3 * reference.cde_loss(edges, probs, z)
            + 0.7 * flux
            + 11.0 * reference.crps(edges, probs, z)
        )
    assert total.item() == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.fixture(scope="module")
def photometry():
    return galaxies.load_photometry(60)


@pytest.fixture(scope="module")
def real(photometry):
    with pytest.MonkeyPatch.context() as patch:  # read but once
        patch.setattr(fluxes, "load_photometry", {60: photometry}.get)
        return fluxes.prepare(60, n_bins=20)


def test_residuals_join_their_galaxies(photometry, real):
    train, validation, test = galaxies.split(photometry, seed=0)
    for part, sample in zip((train, validation, test), real[1:4], strict=True):
        assert torch.equal(part.z_spec, sample.z_spec)
    assert real.residual.shape == (42, 20, 5)
    assert real.residual.dtype == real.band_weight.dtype == torch.float32
    synthetic = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), train.wavelength)
    for k in (0, 13, 41):
        alone = train.subset(torch.tensor([k]))
        residual, band_weight = flux_residual(synthetic, alone.spectrum, alone.z_spec, real.bins)
        torch.testing.assert_close(real.residual[k], residual[0])
        assert torch.equal(real.band_weight[k], band_weight[0])
    # A galaxy left at its own redshift keeps its flux: only there does a residual vanish.
    nearest = (real.bins.centers - real.train.z_spec.unsqueeze(-1)).abs()
    own = real.residual[nearest <= 0.01].abs().median()
    assert own < 0.1 * real.residual[nearest > 0.1].abs().median()


def test_inputs_are_standardised_by_the_galaxies_to_train_on(real):
    torch.testing.assert_close(real.train.inputs.mean(0), torch.zeros(10), atol=1e-5, rtol=0)
    torch.testing.assert_close(real.train.inputs.std(0), torch.ones(10), atol=1e-5, rtol=0)
    assert real.test.inputs.mean(0).abs().max() > 1e-3


def test_a_run_is_measured_on_the_held_out_galaxies(real):
    row = fluxes.run(real, ALL, seed=3, steps=4, batch=16)
    model, _ = fluxes.train(real, ALL, seed=3, steps=4, batch=16)
    probs = fluxes.masses(model, real.test.inputs).double().tolist()
    edges = real.bins.edges.tolist()
    for name in ("crps", "cde_loss", "log_score"):
        each = map(getattr(reference, name), [edges] * len(probs), probs, real.test.z_spec.tolist())
        assert row[name] == pytest.approx(statistics.fmean(each), rel=1e-4), name
    assert row["training_seconds"] == pytest.approx(4 * row["seconds_a_step"])
    assert row.keys() >= {"mad", "bias", "outliers_005", "outliers_015", "pit_ks"}


def test_seconds_of_a_step_do_not_mind_a_drifting_load(data, monkeypatch):
    clock, cost = [0.0], {"one": 1.0, "two": 1.5}

    def slower_and_slower(_, weights, *, steps, **__):
        for step in range(steps):
            clock[0] += cost[weights["name"]] * (1 + step)
            yield

    monkeypatch.setattr(fluxes, "training", slower_and_slower)
    monkeypatch.setattr(fluxes.time, "perf_counter", lambda: clock[0])
    groups = {"one": {"name": "one"}, "two": {"name": "two"}}
    seconds = fluxes.seconds_a_step(data, groups, rounds=3)
    assert seconds == {"one": 7.0, "two": 10.5}  # rounds of 6, 7, 8 after five to warm up


def test_seconds_of_a_step_of_all_groups(data):
    seconds = fluxes.seconds_a_step(data, fluxes.GROUPS, rounds=3, batch=10)
    assert seconds.keys() == fluxes.GROUPS.keys()
    assert min(seconds.values()) > 0


RANGES = dict.fromkeys(("flux", "cde", "crps"), (1e-3, 10.0))


def bowl(weights):
    """Best at a flux weight of 0.1; the others hardly matter; none at all is worst."""
    depth = np.log10([weights.get(name, 1e9) for name in RANGES])
    value = float((depth[0] + 1) ** 2 + 0.01 * depth[1] ** 2 + 0.001 * depth[2] ** 2)
    for epoch in range(4):
        yield value + (3 - epoch)


TARGET = trials.Target(RANGES, bowl, 4, {"what": "bowl"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bowl")
    trials.work(folder, 24, TARGET)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads(json.dumps(search.summary(folder), allow_nan=False))


@pytest.mark.slow
def test_pruning_prunes_the_worse_half(found):
    pruned = [trial for trial in found["trials"] if trial["pruned"]]
    complete = [trial for trial in found["trials"] if not trial["pruned"]]
    assert found["pruned"] == len(pruned) > 3
    assert found["complete"] == len(complete) == 24 - len(pruned)
    assert all(trial["epochs"] == 4 for trial in complete)
    for trial in pruned:
        assert 1 < trial["epochs"] < 4  # not in the first third, and not when it is too late
        ahead = [other for other in complete if other["number"] < trial["number"]]
        middle = statistics.median(other["validation_crps"] for other in ahead)
        assert trial["validation_crps"] - (4 - trial["epochs"]) > middle
        assert len(ahead) >= 10


@pytest.mark.slow
def test_summary(found):
    assert [trial["number"] for trial in found["trials"]] == [*range(24)]
    for trial in found["trials"]:
        (*_, value) = bowl(trial["weights"])
        over = 4 - trial["epochs"]
        assert trial["validation_crps"] == pytest.approx(value + over, rel=1e-4)
    best = min(t["validation_crps"] for t in found["trials"] if not t["pruned"])
    assert found["best"]["validation_crps"] == best < 0.1
    assert 0.03 < found["best"]["weights"]["flux"] < 0.3
    assert found["importances"]["flux"] > 0.5
    assert sum(found["importances"].values()) == pytest.approx(1, abs=2e-6)
    (*_, baseline) = bowl({})
    assert found["baseline"] == pytest.approx(baseline, rel=1e-5)
    assert found["settings"] == {"what": "bowl"}


@pytest.mark.slow
def test_summary_is_the_same_twice(folder, found):
    assert search.summary(folder) == found


def test_no_study_no_summary(tmp_path):
    with pytest.raises(FileNotFoundError, match="start the search first"):
        search.summary(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_plots_need_the_summary_alone(found):
    figure, ax = pyplot.subplots()
    search.plot_importances(found, ax)
    assert [bar.get_width() for bar in ax.patches] == sorted(found["importances"].values())
    assert [text.get_text() for text in ax.texts][-1] == f"{found['importances']['flux']:.2f}"
    assert [text.get_text() for text in ax.get_yticklabels()][-1] == "flux term"
    figure.canvas.draw()
    pyplot.close(figure)
    figure = search.plot_search(found)
    for name, ax in zip(search.RANGES, figure.axes[:3], strict=True):
        dots, star = ax.collections[:2]
        values = [
            (t["weights"][name], 1e3 * t["validation_crps"])
            for t in found["trials"]
            if not t["pruned"]
        ]
        np.testing.assert_allclose(dots.get_offsets(), values)
        best = found["best"]["weights"][name], 1e3 * found["best"]["validation_crps"]
        np.testing.assert_allclose(star.get_offsets(), [best])
    figure.canvas.draw()
    pyplot.close(figure)


def trials_of(folder):
    with trials.opened(folder) as storage:
        return optuna.load_study(study_name=trials.NAME, storage=storage).get_trials()


@pytest.mark.slow
def test_more_trials_later_and_no_draw_twice(tmp_path):
    for n in (2, 2, 4):
        trials.work(tmp_path, n, TARGET)
        assert len(trials_of(tmp_path)) == n
    assert len({trial.params["flux"] for trial in trials_of(tmp_path)}) == 4
    with pytest.raises(ValueError, match="begun with what = bowl, this is what = other: take anot"):
        trials.work(tmp_path, 9, TARGET._replace(settings={"what": "other"}))


WORKER = """
import os, signal, sys, time
from pathlib import Path
from study.trials import Target, work

folder, n, seed, killed = Path(sys.argv[1]), *map(int, sys.argv[2:])
seen = 0

def epochs(weights):
    global seen
    seen += 1
    for epoch in range(4):
        time.sleep(0.02)
        if killed and seen == killed and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield sum(weights.values()) + 3 - epoch

(folder / f"ready{seed}").touch()
while not killed and len([*folder.glob("ready*")]) < 2:
    time.sleep(0.01)
ranges = dict.fromkeys(("flux", "cde", "crps"), (1e-3, 10.0))
work(folder, n, Target(ranges, epochs, 4, {"what": "bowl"}), seed)
"""


def start(folder, n, seed=0, killed=0):
    command = [sys.executable, "-W", "error", "-c", WORKER, folder, n, seed, killed]
    place = {"cwd": EXAMPLES, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([str(part) for part in command], **place)


@pytest.mark.slow
def test_killed_in_the_middle_of_a_trial_it_goes_on(tmp_path):
    with start(tmp_path, 4, killed=3) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    before = trials_of(tmp_path)
    states = [trial.state.name for trial in before]
    assert states[-1] == "RUNNING"
    assert len(before) == 3
    trials.work(tmp_path, 5, TARGET)
    after = trials_of(tmp_path)
    assert [trial.state.name for trial in after].count("FAIL") == 1
    assert len([trial for trial in after if trial.state in trials.FINISHED]) == 5
    assert len(after) == 6
    assert after[:2] == before[:2]
    (again,) = [trial for trial in after if trial.user_attrs.get("retry_of") == 2]
    assert again.params == before[2].params
    assert again.state in trials.FINISHED
    assert not list(tmp_path.glob("????????????????????????????????.lock"))


@pytest.mark.slow
def test_two_at_once_make_no_trial_too_many(tmp_path):
    pair = [start(tmp_path, 6, seed) for seed in (1, 2)]
    for process in pair:
        with process:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    made = trials_of(tmp_path)
    assert len(made) == 6
    assert all(trial.state in trials.FINISHED for trial in made)
    assert len({trial.user_attrs["worker"] for trial in made}) == 2
    assert len({trial.params["flux"] for trial in made}) == 6


def test_a_trial_in_work_is_left_to_who_works_on_it(tmp_path):
    with trials.opened(tmp_path) as storage:
        study = trials.begin(storage, TARGET, 0)
        with trials.at_work(tmp_path) as first, trials.at_work(tmp_path) as second:
            one = trials.next_trial(study, tmp_path, first, 2)
            weight = one.suggest_float("flux", 1e-3, 10.0, log=True)
            assert trials.next_trial(study, tmp_path, second, 1) is None
            assert trials.next_trial(study, tmp_path, second, 2).number == 1
        with trials.at_work(tmp_path) as third:  # the others are gone without a word
            two = trials.next_trial(study, tmp_path, third, 2)
        assert two.suggest_float("flux", 1e-3, 10.0, log=True) == weight
    assert [t.state.name for t in trials_of(tmp_path)] == ["FAIL", "FAIL", "RUNNING", "WAITING"]


@pytest.mark.slow
def test_search_on_validation_galaxies_alone(data, tmp_path, monkeypatch):
    """The command, with the held-out galaxies unreadable."""
    hidden = data._replace(test=fluxes.Sample(*(torch.full_like(t, torch.nan) for t in data.test)))
    monkeypatch.setattr(search, "prepare", lambda _: hidden)
    options = "--trials 3 --steps 12 --batch 10 --output"
    monkeypatch.setattr(sys, "argv", ["search", *options.split(), str(tmp_path)])
    search.main()
    found = json.loads((tmp_path / "summary.json").read_text())
    assert len(found.pop("sha256")) == 64  # of the file; the rest is the summary
    assert found == search.summary(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} >= {".db", ".json", ".png"}
    assert found["settings"]["training_seeds"] == [1000, 1001]
    assert found["complete"] == 3  # too few to prune any
    assert {trial["epochs"] for trial in found["trials"]} == {2}
    made = [(trial.params, trial.value) for trial in trials_of(tmp_path)]
    for weights, value in (({}, found["baseline"]), *made):
        alone = [  # one after the other: side by side, the trainings do not disturb each other
            fluxes.validation_crps(
                fluxes.train(data, weights, seed=seed, steps=12, batch=10)[0], data
            )
            for seed in (1000, 1001)
        ]
        assert value == pytest.approx(statistics.fmean(alone), rel=1e-5)
    pyplot.close("all")

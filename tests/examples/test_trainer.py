"""The loop around the losses: resumed, dealt out, and on devices that are not here."""

import copy
import csv
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import tiny_training
import torch
from checkpoints import LAST, AtomicFiles
from config import group_config
from fake_cuda import needs_fake_cuda
from loading import Batches, in_order
from module import PhotozModule, jittered
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import BINS, CONFIG, Galaxies, train
from torch import nn
from torch._subclasses import FakeTensorMode
from training import fit, predict

from photoz_losses import WeightSchedule
from photoz_losses.metrics import mad

GROUPS = ("baseline", "augmented", "constrained")
SCRIPT = Path(tiny_training.__file__)


def small(group: str, **overrides):
    return group_config(group, network="small", bins=12, device="cpu", **overrides)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.state_dict().items())


def run(folder: Path, *options: str, launcher: tuple[str, ...] = ()) -> None:
    command = [sys.executable, *launcher, SCRIPT, folder, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def logged(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "csv/version_0/metrics.csv").read_text().splitlines()))


@contextmanager
def bf16_autocast():
    """Autocast on CUDA: ``torch.autocast`` turns itself off where there is no GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": "plateau", "schedule_patience": 0, "schedule_factor": 0.5, "epochs": 3},
        {"accumulate": 2, "steps": 8},
    ],
    ids=["plateau", "parts of batches, a budget of steps"],
)
def test_from_every_checkpoint_on_the_weights_become_the_same(changed, tmp_path, monkeypatch):
    config = replace(CONFIG, batch=16, **changed)
    written = []

    def save_and_keep(self, checkpoint, path, storage_options=None):
        kept(self, checkpoint, path)
        written.append(shutil.copy(path, tmp_path / f"{len(written)}.ckpt"))

    kept = AtomicFiles.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(AtomicFiles, "save_checkpoint", save_and_keep)
        whole = train(config, tmp_path / "whole")
    assert len(written) >= 8
    if config.schedule == "plateau":  # the rate moved, so its state matters
        assert whole.optimizers().param_groups[0]["lr"] < config.lr
    for number, checkpoint in enumerate(written):
        folder = tmp_path / f"resumed_{number}"
        folder.mkdir()
        shutil.copy(checkpoint, folder / LAST)
        resumed = train(config, folder, resume=True)
        assert resumed.batches_seen == whole.batches_seen
        assert same_weights(resumed, whole), f"from checkpoint {number}"


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_and_resumed_it_ends_with_the_same_weights(tmp_path):
    run(tmp_path, "--kill-at", "8")  # before the second epoch's third step
    state = torch.load(tmp_path / "left.ckpt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (1, 8)
    resumed = torch.load(tmp_path / "weights.pt", weights_only=True)
    whole = train().state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert not torch.equal(whole["network.head.weight"], state["state_dict"]["network.head.weight"])


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    run(tmp_path, "--devices", "2", launcher=launcher)
    two = torch.load(tmp_path / "weights.pt", weights_only=True)
    one = tiny_training.train_deterministically(1, folder=tmp_path / "one")
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)
    torch.manual_seed(3)
    moved = one.network.head.weight - tiny_training.Flat().head.weight
    assert moved.abs().max() > 1e-3

    halves, whole = (logged(folder)[-1] for folder in (tmp_path, tmp_path / "one"))
    for name in ("validation/mad", "validation/crps", "validation/ks"):
        assert float(halves[name]) == pytest.approx(float(whole[name]), rel=1e-4)


def test_parts_of_batches_train_as_whole_ones():
    parts, whole = (tiny_training.train_deterministically(1, accumulate=k) for k in (4, 1))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_bf16_trains_weights_that_stay_float32():
    module = PhotozModule(replace(CONFIG, precision="bf16"), BINS)
    before, kinds = copy.deepcopy(module.network), set()
    module.network.head.register_forward_hook(lambda *call: kinds.add(call[2].dtype))
    after = train(module.config, network=module.network).network
    assert kinds == {torch.bfloat16}
    assert {parameter.dtype for parameter in after.parameters()} == {torch.float32}
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        assert other.isfinite().all()
        assert not torch.equal(one, other)


def test_fp16_is_refused_where_no_gpu_is_found(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        train(replace(CONFIG, device="auto", precision="fp16"))


@pytest.mark.parametrize(("splits", "world"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_an_epoch_holds_every_galaxy_once_however_it_is_dealt_out(splits, world):
    parts = [list(Batches(40, 8, 7, splits=splits, rank=r, world=world)) for r in range(world)]
    rows = torch.tensor(parts).view(world, 5, splits, -1)  # all of one size
    assert rows.flatten().sort()[0].tolist() == list(range(40))
    steps = rows.movedim(0, 1).flatten(1).sort()[0]
    assert steps.tolist() == [sorted(batch) for batch in Batches(40, 8, 7)]


def test_the_order_is_of_seed_and_epoch_and_goes_on_where_it_stopped():
    first, second = (list(Batches(20, 4, 0, seen=lambda k=k: k)) for k in (0, 5))
    assert first != second
    assert list(Batches(20, 4, 0, seen=lambda: 7)) == second[2:]
    assert list(Batches(20, 4, 1)) != first
    assert [len(part) for part in Batches(19, 4, 0)] == [4, 4, 4, 4, 3]
    assert [len(part) for part in Batches(17, 4, 0)] == [4, 4, 4, 4]  # BatchNorm takes no one
    with pytest.raises(ValueError, match="no batch"):
        Batches(3, 8, 0, splits=2)


def test_validation_is_dealt_out_whole_in_equally_many_batches():
    items = Galaxies(21)
    ranks = [list(in_order(items, 5, rank=rank, world=2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == 3
    seen = torch.cat([batch["z_spec"] for rank in ranks for batch in rank])
    assert torch.equal(seen.sort()[0], items.columns["z_spec"].sort()[0])


def test_logs_hold_every_term_its_weight_its_gradient_and_validation_metrics(tmp_path):
    module = train(replace(CONFIG, gradient_norm_steps=1, epochs=1), tmp_path)
    rows = logged(tmp_path)
    terms = ("ce", "l2", "flux", "invariance", "cde")
    for term in terms:
        for kind in ("terms", "weights", "gradient_norms"):
            assert [row[f"{kind}/{term}"] for row in rows[:5]].count("") == 0
    assert float(rows[0]["weights/flux"]) == pytest.approx(0.1)
    probs, z_spec = predict(module, Galaxies(20))
    measured = float(mad(BINS.mean(probs), z_spec))
    assert float(rows[-1]["validation/mad"]) == pytest.approx(measured, rel=1e-5)
    events = EventAccumulator(str(tmp_path / "tensorboard/version_0")).Reload()
    assert {*events.Tags()["scalars"]} >= {*rows[0]} - {"step"}
    ce = [event.value for event in events.Scalars("terms/ce")]
    assert ce == pytest.approx([float(row["terms/ce"]) for row in rows[:-1]], rel=1e-5)


def test_a_schedule_of_weights_moves_once_a_step():
    module = PhotozModule(CONFIG, BINS)
    ramp = WeightSchedule(0.1, "linear", steps=100, every=2)
    terms = {name: (1.0, term) for name, term in module.loss.terms.items()}
    loss = type(module.loss)(terms | {"invariance": (ramp, terms["invariance"][1])})
    trained = train(replace(CONFIG, accumulate=2, epochs=1), loss=loss)
    assert trained.global_step == 6  # 44 galaxies: the last batch of 4 makes two parts of 2
    assert int(ramp.get_extra_state()) == trained.trainer.global_step


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_loss_is_table_2s_sum_and_its_gradient_reaches_every_weight(group):
    config = group_config(group, bins=12, device="cpu")
    module = PhotozModule(config, BINS)
    torch.nn.init.normal_(module.network.head.weight, std=0.01)  # not at its start of zero
    total, terms = module.loss_terms(Galaxies(4, side=32).columns)
    total.backward()
    gamma = {"ce": 1.0, "l2": 1e-6}
    gamma |= dict.fromkeys(("flux", "invariance", "cde"), 0.1) if group == "constrained" else {}
    assert module.loss.weights == gamma
    expected = sum(gamma[name] * float(value.detach()) for name, value in terms.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-5)
    assert all(parameter.grad is not None for parameter in module.network.parameters())


class Scripted(nn.Module):
    """A network whose validation depends on nothing but the ``gain`` it is given.

    More of it is better: the logits are those of how often each bin is among the galaxies.
    """

    def __init__(self, z_spec: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.ones(1)), 0.0
        share = torch.bincount(BINS.index(z_spec), minlength=len(BINS)) / len(z_spec)
        self.register_buffer("pattern", share - 1 / len(BINS))

    def forward(self, image, ebv):
        return self.gain * self.pattern.expand(len(image), -1)


@pytest.mark.parametrize(
    ("gains", "last"),
    [((0, 0, 0, 0), 1e-4), ((0, 1, 2, 3), 1e-3), ((3, 2, 1, 0), 1e-4)],
    ids=["stalls", "gets better", "gets worse"],
)
def test_the_papers_schedule_lowers_the_rate_after_two_epochs_without_gain(gains, last):
    config = replace(CONFIG, lr=1e-3, schedule="plateau", epochs=4)
    rates, scores = [], []

    class Watch(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            module.network.gain = float(gains[trainer.current_epoch])

        def on_train_epoch_end(self, trainer, module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])
            scores.append(float(trainer.callback_metrics["validation/log_score"]))

    train(config, network=Scripted(Galaxies(20).columns["z_spec"]), callbacks=[Watch()])
    assert max(scores) < 0  # where a part of the score would be a gain
    assert sorted(scores, reverse=gains[-1] > 0) == scores
    assert rates == [1e-3, 1e-3, 1e-3, pytest.approx(last)]


@pytest.mark.parametrize("detach", [False, True])
def test_detach_cuts_the_second_views_gradient(detach):
    module, given = PhotozModule(replace(CONFIG, detach=detach), BINS), {}
    module.loss.register_forward_pre_hook(lambda _, __, k: given.update(k), with_kwargs=True)
    module.loss_terms(Galaxies(8).columns)
    assert given["logits"].requires_grad
    assert given["logits_transformed"].requires_grad != detach


@pytest.mark.parametrize("options", [{"compile": True}, {"channels_last": True}])
def test_options_that_only_make_it_faster_change_nothing_but_rounding(options):
    batch = Galaxies(8).columns
    plain, other = (PhotozModule(replace(CONFIG, **o), BINS) for o in ({}, options))
    torch.nn.init.normal_(plain.network.head.weight, std=0.01)
    other.load_state_dict(plain.state_dict())
    if "compile" in options:
        other.network.compile(backend="eager")  # without the C++ compiler's minute
    image, ebv = batch["image"], batch["ebv"]
    torch.testing.assert_close(other(image, ebv), plain(image, ebv), rtol=1e-4, atol=1e-5)


def test_the_crop_moves_in_training_as_far_as_asked_and_is_the_middle_else():
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(64, 5, 8, 8)  # two more than are read
    torch.manual_seed(0)
    corners = jittered(image, 4, 1)[:, 0, 0, 0]
    assert {*corners.tolist()} == {8.0 * y + x for y in (1, 2, 3) for x in (1, 2, 3)}
    assert jittered(image, 4, 0) is image
    with pytest.raises(ValueError, match="8 x 8 pixels, side=10"):
        jittered(image, 4, 3)
    seen = []
    for jitter in (0, 2):
        config = replace(CONFIG, side=16, jitter=jitter, gamma_invariance=0.0)
        training = PhotozModule(config, BINS)
        training.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        training.loss_terms(large := Galaxies(4, side=20).columns)
    assert torch.equal(seen[0], large["image"][..., 2:18, 2:18])
    assert seen[1].shape == seen[0].shape
    assert not torch.equal(seen[1], seen[0])
    module = PhotozModule(replace(CONFIG, side=16), BINS)
    middle = large["image"][..., 2:18, 2:18]
    assert torch.equal(
        module.masses(large["image"], large["ebv"]), module.masses(middle, large["ebv"])
    )


def placed(module: nn.Module, place) -> nn.Module:
    """The module with every parameter and buffer replaced."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(place(value.detach()))
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = place(value)
    return module


@needs_fake_cuda
@pytest.mark.parametrize(
    ("network", "group"), [*(("small", group) for group in GROUPS), ("resnet50", "constrained")]
)
def test_terms_and_metrics_on_fake_cuda_tensors_under_bf16(group, network):
    """A tensor left on the CPU, or a look at a value, raises under FakeTensorMode."""
    module = PhotozModule(replace(small(group), network=network), BINS)
    mode = FakeTensorMode(allow_non_fake_inputs=False)

    def place(value):
        with mode:
            return torch.empty_like(mode.from_tensor(value), device="cuda")

    module = placed(module, place)
    for metric in module.metrics.values():  # their states are no buffers
        for name in metric._defaults:
            if isinstance(state := getattr(metric, name), torch.Tensor):
                setattr(metric, name, place(state))
    batch = {name: place(value) for name, value in Galaxies(4, side=32).columns.items()}
    with mode, bf16_autocast():
        total, terms = module.loss_terms(batch)  # a backward would ask the driver
    assert total.requires_grad
    assert {(value.device.type, value.dtype) for value in terms.values()} == {
        ("cuda", torch.float32)
    }
    assert set(terms) == set(module.loss.weights)
    with mode, torch.no_grad(), bf16_autocast():
        module.network.eval()
        logits = module(batch["image"], batch["ebv"])
        assert logits.dtype == torch.bfloat16
        probs = logits.float().softmax(-1)
        inputs = {"probs": probs, "z_spec": batch["z_spec"], "z_phot": probs[:, 0]}
        for metric in module.metrics.values():  # the collection itself compares states: a look
            metric.update(**metric._filter_kwargs(**inputs))


@pytest.mark.parametrize("group", GROUPS)
def test_a_whole_step_on_the_meta_device(group):
    config = replace(small(group), schedule="constant")
    module = PhotozModule(config, BINS)
    module = placed(module, lambda value: value.to("meta"))
    batch = {name: value.to("meta") for name, value in Galaxies(4, side=32).columns.items()}
    optimiser = module.configure_optimizers()
    total, _ = module.loss_terms(batch)
    total.backward()
    optimiser.step()
    assert all(p.grad is not None for p in module.network.parameters())
    assert len(optimiser.state) == len(list(module.network.parameters()))


@pytest.mark.gpu
@pytest.mark.parametrize("group", GROUPS)
def test_two_steps_on_a_gpu_are_those_on_the_cpu(group):
    changed = {"steps": 2, "batch": 8, "log_steps": 1, "optimiser": "sgd", "schedule": "constant"}
    config = replace(small(group), **changed)
    modules = {}
    for device in ("cpu", "cuda"):
        placed_on = replace(config, device=device)
        modules[device] = fit(
            placed_on, Galaxies(16), None, BINS, progress=False, view=tiny_training.Flip()
        )
    there = modules["cuda"].cpu().state_dict()
    for name, value in modules["cpu"].state_dict().items():
        torch.testing.assert_close(there[name], value, rtol=1e-3, atol=1e-4)

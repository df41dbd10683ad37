"""The study of the groups: shared work, shifted galaxies, paired differences, pictures."""

import itertools
import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import ablation
import numpy as np
import pytest
import rendering
import torch
from matplotlib import pyplot
from rendering import SKY_NOISE
from scipy import stats
from study import compare, images, pictures, work
from torch import nn

from photoz_losses import RedshiftBins

BINS = RedshiftBins.uniform(0.0, 0.4, 12)
EXAMPLES = Path(images.__file__).parents[1]


class Row:
    """One galaxy's looks: identity, M_r, g - r and arcsec per kpc; and its fluxes."""

    looks = np.array([[7.0, -21.0, 0.8, 0.5]])
    flux = np.array([[10.0, 40.0, 80.0, 110.0, 130.0]])


def drawn(seeing: float) -> np.ndarray:
    return rendering.draw_all(Row.looks, Row.flux, 3, 1, False, seeing)[0].astype(float)


def clean(seeing: float) -> np.ndarray:
    rng = np.random.default_rng([3, 7])
    return rendering.draw_galaxy(Row.flux[0], *Row.looks[0, 1:], rng, seeing)


def second_moment(image: np.ndarray) -> float:
    """Mean of the two axes' variances about the centroid, in pixels squared."""
    y, x = np.indices(image.shape)
    weight = image / image.sum()
    moments = [(weight * axis**2).sum() - (weight * axis).sum() ** 2 for axis in (y, x)]
    return float(np.mean(moments))


def test_worse_seeing_shows_the_same_galaxy_broader_under_the_same_noise():
    np.testing.assert_allclose(clean(1.3).sum((1, 2)), Row.flux[0], rtol=1e-12)
    noise = drawn(1.0) - clean(1.0)
    np.testing.assert_allclose(drawn(1.3) - clean(1.3), noise, atol=1e-5)
    for usual, worse in zip(clean(1.0), clean(1.3), strict=True):
        assert second_moment(worse) > second_moment(usual)

    # A point: the profile's own width is gone, and the variance grows by the seeing's square.
    point = np.zeros((64, 64))
    point[32, 32] = 1.0
    u, sharpest = rendering._broaden(point, 1.3)[0], rendering._broaden(point, 1.3)[4]
    added = (1.3 / 0.396) ** 2 * (1.33**2 - 1.02**2) / (8 * np.log(2))  # FWHM in u and in z
    # Of the kernel's spectrum, 1e-3 lies beyond what pixels can hold.
    assert second_moment(u) - second_moment(sharpest) == pytest.approx(added, rel=2e-4)


def test_noise_is_doubled_in_every_band():
    sky = images.BIN * torch.tensor(SKY_NOISE)[:, None, None]
    image = sky * torch.randn(400, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    seen = images.noisier(image).std((0, 2, 3)) / sky.flatten()
    torch.testing.assert_close(seen, torch.full((5,), 2.0), rtol=0.01, atol=0)


class Items:
    """Three galaxies as a reader gives them, one without its name."""

    rows = torch.tensor([4, 1, 7])

    def __len__(self) -> int:
        return 3

    def __getitem__(self, k: int) -> dict[str, object]:
        image = torch.arange(5 * 64 * 64.0).view(5, 64, 64) + k
        return {"image": image, "ebv": torch.tensor(0.1 * k), "id": str(k)}


def test_stamps_keep_every_galaxys_light_and_order():
    stamps = images.Stamps(Items())
    assert stamps[2]["image"].shape == (5, 32, 32)
    torch.testing.assert_close(stamps[2]["image"].sum(), Items()[2]["image"].sum())
    corner = Items()[1]["image"][0, :2, :2].sum()
    assert stamps[1]["image"][0, 0, 0] == corner
    some = stamps.changed(torch.tensor([2, 0]))
    assert some.rows.tolist() == [7, 4]
    torch.testing.assert_close(some.columns["ebv"], torch.tensor([0.2, 0.0]))
    assert len(stamps) == 3


def test_every_group_starts_from_the_same_weights_with_its_own_weights_of_the_terms():
    modules = {
        group: images.module_of(group, images.configured(group, 4, 10, 8, 1e-3), BINS)
        for group in images.GROUPS
    }
    first, *others = (module.network.state_dict() for module in modules.values())
    assert all(torch.equal(first[key], other[key]) for other in others for key in first)
    config = images.configured("flux", 5, 10, 8, 1e-3)
    other_seed = images.module_of("flux", config, BINS).network
    assert not torch.equal(other_seed.hidden.weight, first["hidden.weight"])
    common = {"ce": 1.0, "l2": 1e-6}
    assert modules["augmentation"].loss.weights == common
    assert modules["all"].loss.weights == common | dict.fromkeys(("flux", "invariance", "cde"), 0.1)
    assert modules["all, one branch"].config.detach


def test_equal_time_gives_the_costliest_its_steps_and_the_others_more():
    steps = images.equal_time(500, {"plain": 1.0, "views": 2.5, "cheap": 0.8})
    assert steps == {"plain": 1250, "views": 500, "cheap": 1562}


def test_a_step_of_two_views_costs_more_than_a_plain_one():
    columns = {
        "image": torch.randn(16, 5, 32, 32),
        "ebv": torch.rand(16),
        "z_spec": 0.4 * torch.rand(16),
        "residual": torch.randn(16, 12, 5),
        "band_weight": torch.ones(16, 5),
    }
    stamps = images.Stamps.__new__(images.Stamps)
    stamps.columns, stamps.rows = columns, torch.arange(16)
    groups = ["cross entropy", "invariance"]
    ratios = images.step_ratios(images.Sets(stamps, stamps, {}, BINS), groups, 16, 5)
    assert ratios["cross entropy"] == 1
    assert ratios["invariance"] > 1.2


class Fixed(nn.Module):
    """The same logits for any image, and another answer for a negative one."""

    def __init__(self, moved: float) -> None:
        super().__init__()
        self.moved = moved

    def forward(self, image: torch.Tensor, ebv: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(image), 12)
        logits[:, 3] += self.moved * (image[:, 0, 0, 0] < 0)
        return logits


@pytest.mark.parametrize("averaged", [False, True])
def test_the_distance_between_views_is_the_cramer_distance_of_the_two_answers(
    averaged, monkeypatch
):
    monkeypatch.setattr(images, "VIEW", torch.neg)
    stamps = images.Stamps.__new__(images.Stamps)
    stamps.columns = {"image": torch.ones(6, 5, 4, 4), "ebv": torch.zeros(6)}
    stamps.columns["z_spec"] = torch.full((6,), 0.11)
    stamps.rows = torch.arange(6)
    row, probs, _ = images.measure(Fixed(1.0).eval(), stamps, BINS, averaged=averaged)
    torch.testing.assert_close(probs, torch.full((6, 12), 1 / 12))
    turned = np.full(12, 1.0)
    turned[3] = np.e
    turned /= turned.sum()
    edges = np.concatenate([[0], np.cumsum(turned - 1 / 12)])  # of the difference of the CDFs
    grid = np.linspace(0, 0.4, 12_001)
    gap = np.interp(grid, np.linspace(0, 0.4, 13), edges)
    assert row["distance"] == pytest.approx(np.trapezoid(gap**2, grid), rel=1e-4)
    assert images.measure(Fixed(0.0).eval(), stamps, BINS)[0]["distance"] == 0


def test_a_difference_has_every_resamples_mean_and_students_interval():
    ours, theirs = [1.0, 2.0, 4.0, 3.0], [0.5, 2.5, 2.0, 1.0]
    got = compare.difference(ours, theirs)
    pairs = np.array([0.5, -0.5, 2.0, 2.0])
    assert got.mean == pytest.approx(1.0)
    means = [np.mean(drawn) for drawn in itertools.product(pairs, repeat=4)]  # all 256
    low, high = np.percentile(means, [2.5, 97.5])
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.06)
    half = stats.t.ppf(0.975, 3) * pairs.std(ddof=1) / 2
    assert (got.t_low, got.t_high) == pytest.approx((1 - half, 1 + half))
    assert compare.difference(ours, ours) == (0,) * 5
    with pytest.raises(ValueError, match="at least two seeds"):
        compare.difference([1.0], [2.0])


def test_the_bootstrap_of_five_values_is_as_narrow_as_its_docstring_says():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((2000, 5))
    drawn = rng.integers(0, 5, (1000, 5))
    ends = np.percentile(normal[:, drawn].mean(-1), [2.5, 97.5], axis=1)
    held = np.mean((ends[0] < 0) & (ends[1] > 0))
    assert held == pytest.approx(5 / 6, abs=0.02)


def test_differences_pair_seeds_and_take_the_bias_without_its_sign():
    def one(group, seed, bias):
        return {"group": group, "seed": seed, "results": {"as trained": {"bias": bias}}}

    runs = [
        one("b", 2, 0.3),
        one("a", 0, -0.1),
        one("a", 1, 0.2),
        one("b", 1, -0.5),
        one("a", 2, 0),
    ]
    got = compare.against(runs, "a", metrics=["bias"])
    assert got["b"]["bias"].mean == pytest.approx(np.mean([0.5 - 0.2, 0.3 - 0.0]))
    (heads, *rows) = compare.difference_table(got, "a")
    assert heads[1] == "size of the bias, 10⁻³"
    assert rows == [["b", "**+300 (+300 to +300)**"]]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([1.46, 2.54], "2.00 ± 0.76"),
        ([-1e-4, 1e-4], "0.00000 ± 0.00014"),
        ([1000.0, 1400.0], "1,200 ± 283"),
        ([-3.0, -3.0], "−3.0 ± 0.0"),
        ([1e-17, -1e-17], "0 ± 0"),
        ([-0.01234], "−0.0123"),
    ],
)
def test_a_mean_has_the_digits_of_its_spread(seeds, text):
    assert compare.spread(seeds) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        ((-6.9e-17, -0.12, 0.15, -0.1, 0.1), "0.00 (−0.12 to +0.15)"),
        ((0.0312, 0.0102, 0.0506, 0.01, 0.06), "**+0.031 (+0.010 to +0.051)**"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "0 (0 to 0)"),
        ((1e-17, 1e-17, 1e-17, 1e-17, 1e-17), "0 (0 to 0)"),
    ],
)
def test_a_difference_has_the_digits_of_its_interval(difference, text):
    cells = {"b": {"cde_loss": compare.Difference(*difference)}}
    assert compare.difference_table(cells)[1] == ["b", text]


JOBS = """
import os, signal, sys, time
from pathlib import Path
from study.work import share_out

folder, killed = Path(sys.argv[1]), sys.argv[2:] == ["killed"]

def job(k):
    def do():
        if killed and k == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return {"k": k, "process": os.getpid()}
    return do

share_out(folder, {f"job{k}": job(k) for k in range(6)}, "jobs")
"""


def worker(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-c", JOBS, str(folder), *options]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_a_killed_process_leaves_its_work_to_the_others(tmp_path):
    killed = worker(tmp_path, "killed")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["job0.json", "job1.json"]
    before = (tmp_path / "job0.json").read_bytes()
    workers = [worker(tmp_path) for _ in range(2)]
    assert [one.communicate()[1] and one.returncode for one in workers] == [0, 0]
    results = [json.loads((tmp_path / f"job{k}.json").read_text()) for k in range(6)]
    assert [result["k"] for result in results] == list(range(6))
    assert (tmp_path / "job0.json").read_bytes() == before  # done once, kept


def test_a_folder_is_gone_on_with_by_the_settings_that_it_was_begun_with(tmp_path):
    path = tmp_path / "settings.json"
    work.same_settings(path, {"lr": 0.1, "bins": 12})
    work.same_settings(path, {"lr": 0.1, "bins": 12})
    with pytest.raises(ValueError, match=r"was begun with lr=0.1: give that, or another --output"):
        work.same_settings(path, {"lr": 0.2, "bins": 12})


def test_runs_are_kept_in_the_order_of_their_plan_with_their_makers_said_once(tmp_path):
    for k, maker in enumerate(("a", "b", "a")):
        work.write(tmp_path / f"run{k}.json", {"k": k, "made_by": {"command": maker}})
    plan = dict.fromkeys(("run2", "run0", "run1"))
    kept = work.kept({"steps": (tmp_path, plan)})
    assert [run["k"] for run in kept["runs"]["steps"]] == [2, 0, 1]
    assert kept["made_by"] == [{"command": "a"}, {"command": "b"}]
    assert [run["made_by"] for run in kept["runs"]["steps"]] == [0, 0, 1]
    assert work.missing([(tmp_path, plan | {"run3": None})]) == [tmp_path / "run3.json"]


def options(folder: Path) -> Namespace:
    sizes = {"steps": 4, "batch": 8, "lr": 1e-3, "seeds": 2, "half_seeds": 2}
    return Namespace(groups=["cross entropy", "all"], output=folder, **sizes)


def test_a_longer_run_is_stopped_where_validation_says_so(tmp_path):
    work.write(tmp_path / "step_ratios.json", {"cross entropy": 1.0, "all": 2.0})
    names = [f"cross_entropy-{n}-{seed}" for n in (4, 8) for seed in (0, 1)]
    names += ["all-4-0", "all-4-1"]
    plan = ablation.planned(options(tmp_path), "whole")
    assert set(plan) == set(names)
    (tmp_path / "images/whole").mkdir(parents=True)
    (tmp_path / "validation").mkdir()
    scores = dict(zip(names, (0.3, 0.1, 0.2, 0.2, 0.5, 0.5), strict=True))
    for name, score in scores.items():
        work.write(tmp_path / "images/whole" / f"{name}.json", {})
        work.write(tmp_path / "validation" / f"{name}.json", {"validation_crps": score})
    assert set(ablation.stopped(options(tmp_path))) == {
        "cross_entropy-8-0",
        "cross_entropy-4-1",
        "all-4-0",
        "all-4-1",
    }


def test_numbers_are_kept_with_so_many_digits():
    assert work.rounded({"a": [1.23456789, 3], "b": "x"}, 3) == {"a": [1.23, 3], "b": "x"}


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        work.once(tmp_path / "a.json", lambda: {"value": float("nan")})
    assert not (tmp_path / "a.json").exists()


class Answers(nn.Module):
    """What `pictures.shown` asks of a trained module."""

    def masses(self, image: torch.Tensor, ebv: torch.Tensor) -> torch.Tensor:
        draw = torch.randn(len(image), 12, generator=torch.Generator().manual_seed(2))
        return (3 * draw + image.mean((1, 2, 3))[:, None]).softmax(-1)


def test_pictures_are_redrawn_from_what_is_kept(tmp_path):
    stamps = images.Stamps.__new__(images.Stamps)
    stamps.columns = {"image": torch.rand(30, 5, 32, 32), "ebv": torch.zeros(30)}
    stamps.columns["z_spec"] = torch.linspace(0.01, 0.39, 30)
    group = pictures.shown(Answers(), stamps, BINS, 4, 5)
    assert group["views"].shape == (4, 5, 12)
    kept = json.loads(json.dumps(pictures.thinned(group, 3, 2)))
    again = pictures.restored(kept)
    torch.testing.assert_close(again["z_phot"], group["z_phot"], rtol=1e-3, atol=0)
    merged = group["views"][:3, :2].unflatten(-1, (4, 3)).sum(-1)
    torch.testing.assert_close(again["views"], merged, rtol=0, atol=2e-4)
    np.testing.assert_allclose(again["pictures"][0], group["pictures"][0], atol=0.002)
    others = pyplot.get_fignums()
    pictures.draw(tmp_path, "all", "all", again, RedshiftBins.uniform(0.0, 0.4, 4))
    assert {path.name for path in tmp_path.glob("*.png")} == {
        f"all_{name}.png" for name in ("pit", "redshifts", "intervals", "densities")
    }
    assert pyplot.get_fignums() == others

"""Each recipe as a user runs it, in an empty folder, and something that could be wrong of it."""

import ast
import math
import os
import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats

from photoz_losses import RedshiftBins, cross_entropy
from photoz_losses.io import load_predictions
from photoz_losses.metrics import cde_loss, crps

RECIPES = Path(__file__).parents[2] / "examples/recipes"
PAGE = Path(__file__).parents[2] / "docs/recipes.md"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe"])
    with torch.random.fork_rng():
        yield


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")


@cache
def run_once(name: str) -> dict[str, Any]:
    """For several tests of a recipe that only read what it leaves."""
    return run(name)


def constant_crps(training, held_out, bins):
    """CRPS of the training set's own histogram, given for every galaxy."""
    masses = torch.bincount(bins.index(training), minlength=len(bins)).double()
    masses = (masses / masses.sum()).expand(len(held_out), -1)
    return crps(masses, held_out, bins).item()


def test_every_recipe_is_short_shown_and_tested():
    page, tests = PAGE.read_text(), Path(__file__).read_text()
    for path in RECIPES.glob("*.py"):
        assert f"../examples/recipes/{path.name}" in page
        assert f'"{path.stem}' in tests
        assert len(path.read_text().splitlines()) <= 75, path.name


INSTALLED_AS = {"qp": "qp-prob", "transformers": "'transformers[torch]'"}


def needed(recipe: Path) -> set[str]:
    """What a recipe imports, and what the package reads for it, that no dependency brings."""
    text = recipe.read_text()
    project = tomllib.loads((RECIPES.parents[1] / "pyproject.toml").read_text())["project"]
    brought = {re.match(r"[\w-]+", each).group() for each in project["dependencies"]}
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else node.names
            found |= {getattr(name, "name", name).partition(".")[0] for name in names}
    found -= sys.stdlib_module_names | brought | {"photoz_losses"}
    found |= {"kcorrect"} & set(re.findall("kcorrect", text))  # its files, or its templates
    return {INSTALLED_AS.get(name, name) for name in found}


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.py")), ids=lambda path: path.stem)
def test_the_page_names_a_recipe_and_what_to_install_for_it(recipe):
    include = f"```{{literalinclude}} ../examples/recipes/{recipe.name}\n"
    before, after = PAGE.read_text().split(include)
    assert after.startswith(f":caption: examples/recipes/{recipe.name}\n")
    line = re.search(r"\nNeeds: `pip install (.+)`\.\n\n$", before)
    assert (set(line[1].split()) if line else set()) == needed(recipe)


def test_plain_loop():
    seen = run("plain_loop")
    first, last = seen["history"][0], seen["history"][-1]
    assert all(last[name] < first[name] for name in ("ce", "cde", "crps", "flux"))
    found = load_predictions("predictions.npz")
    torch.testing.assert_close(found.probs, seen["probs"].cpu(), rtol=0, atol=0)
    torch.testing.assert_close(found.z_spec, seen["z_spec"], rtol=0, atol=0)
    assert found.object_id.tolist() == list(range(1000, 1200))
    guess = constant_crps(seen["spectra"].z[:1000], found.z_spec, found.bins)
    assert seen["metrics"].compute()["crps"] < guess / 3


def test_lightning():
    pytest.importorskip("lightning")
    pytest.importorskip("kcorrect")
    seen = run("with_lightning")
    logged = seen["trainer"].callback_metrics
    z = seen["data"].tensors[1]
    assert logged["validation/crps"] < constant_crps(z[:1500], z[1500:], seen["bins"]) / 1.5
    assert 0 < logged["terms/ce"] < math.log(100)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set:UserWarning")  # without a GPU
def test_hugging_face():
    pytest.importorskip("transformers")
    pytest.importorskip("kcorrect")
    seen = run("hugging_face")
    z, log = seen["z_spec"], seen["trainer"].state.log_history
    scores = [row["eval_crps"] for row in log if "eval_crps" in row]
    assert scores[-1] < scores[0]
    assert scores[-1] < constant_crps(z[:1500], z[1500:], seen["bins"]) / 1.5


def test_hyrax_criterion(monkeypatch):
    pytest.importorskip("kcorrect")
    monkeypatch.syspath_prepend(RECIPES)
    seen = run("hyrax_criterion")
    terms = seen["criterion"].loss
    assert terms.weights == {"ce": 1.0, "cde": 0.002}
    assert terms.terms["ce"].bins.edges[-1] == 0.4
    assert seen["history"][-1] < seen["history"][0]
    with pytest.raises(TypeError, match="z_spec"):  # labels of classes, as hyrax's CNN makes them
        seen["criterion"](torch.zeros(2, 100), torch.tensor([0, 0]))


def test_hyrax_itself(monkeypatch):
    """hyrax finds the criterion, builds it from the table, and takes a step with it."""
    pytest.importorskip("hyrax")
    pytest.importorskip("kcorrect")
    from hyrax.models.model_registry import hyrax_model

    monkeypatch.syspath_prepend(RECIPES)
    configuration = tomllib.loads(run("hyrax_criterion")["CONFIGURATION"])
    optimizer = {"optimizer": {"name": "torch.optim.SGD"}, "torch.optim.SGD": {"lr": 0.1}}

    @hyrax_model
    class Network(torch.nn.Linear):
        def __init__(self, config, data_sample=None):
            super().__init__(5, 100)
            self.config = config

    model = Network(configuration | optimizer | {"scheduler": {"name": False}})
    z_spec = torch.full((8,), 0.1)
    before = model.criterion(model(torch.ones(8, 5)), z_spec)
    before.backward()
    model.optimizer.step()
    assert model.criterion(model(torch.ones(8, 5)), z_spec) < before


def test_evaluate_only(monkeypatch):
    seen = run("evaluate_only")
    table, found = seen["table"], seen["found"]
    delta = (found.bins.median(found.probs) - found.z_spec) / (1 + found.z_spec)
    assert table["MAD"] == pytest.approx(1.4826 * np.median(np.abs(delta.numpy())), rel=1e-4)
    assert table["bias"] == pytest.approx(np.mean(delta.numpy()), rel=1e-6)
    assert abs(table["coverage of 68 % intervals"] - 0.68) < 4 * math.sqrt(0.68 * 0.32 / 2000)
    assert table["CRPS"] == pytest.approx(0.02 / math.sqrt(math.pi), rel=0.1)  # of a Gaussian
    half = found.z_spec < 0.2
    np.savez("half.npz", probs=found.probs[half], edges=found.bins.edges, z_spec=found.z_spec[half])
    monkeypatch.setattr(sys, "argv", ["recipe", "half.npz"])
    assert len(run("evaluate_only")["found"].probs) == half.sum()


def test_rail_and_qp():
    qp = pytest.importorskip("qp")
    seen = run("rail_and_qp")
    table, bins = seen["table"], seen["bins"]
    came, mended = table["as they came"], table["recalibrated"]
    assert mended["ks"] < came["ks"] / 2
    assert mended["log_score"] < came["log_score"]
    back = qp.read("recalibrated.hdf5")
    assert back.ancil["id"].tolist() == list(range(1000, 2000))
    edges = bins.edges.numpy()
    np.testing.assert_allclose(
        np.diff(back.cdf(edges), axis=-1), seen["mended"].numpy(), atol=1e-12
    )
    np.testing.assert_allclose(back.ancil["zmode"][:, 0], bins.mode(seen["mended"]).numpy())


def test_several_gpus_started_alone(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(SystemExit, match=r"^start it with torchrun: torchrun --nproc-per-node 2"):
        run("several_gpus")


@pytest.mark.slow
def test_several_gpus(monkeypatch):
    """Two ranks under torchrun end where one process ends that sees every galaxy."""
    pytest.importorskip("kcorrect")
    if not torch.distributed.is_gloo_available():
        pytest.skip("torch without gloo")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    script = str(RECIPES / "several_gpus.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    several = [*command, "--nproc-per-node", "2", script]
    subprocess.run(several, check=True, env=environment, timeout=300)
    on_two = torch.load("several_gpus.pt", weights_only=True)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "0")
    seen = run("several_gpus")
    on_one = torch.load("several_gpus.pt", weights_only=True)
    for name, weights in on_one["network"].items():
        torch.testing.assert_close(on_two["network"][name], weights, rtol=1e-3, atol=1e-4)
    assert on_two["metrics"]["crps"].item() == pytest.approx(on_one["metrics"]["crps"].item(), 1e-3)
    z = seen["z_spec"]
    assert on_two["metrics"]["crps"] < constant_crps(z[:1005], z[1005:], seen["bins"]) / 1.5


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_bf16_and_compile(monkeypatch, backend):
    """The default backend has a C++ compiler to wait for; tests/contract has it for all."""
    pytest.importorskip("kcorrect")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    seen = run("bf16_and_compile")
    assert seen["logits"].dtype == torch.bfloat16
    assert seen["total"].dtype == torch.float32
    assert seen["history"][-1] < seen["history"][0]
    z = seen["z_spec"]
    guess = constant_crps(z[:1500], z[1500:], seen["bins"])
    assert seen["metrics"].compute()["crps"] < guess / 1.5
    model, loss, rows = seen["model"].train(), seen["loss"], slice(0, 100)
    eager, _ = loss(logits=model(seen["magnitudes"][rows]), z_spec=z[rows])  # in float32
    compiled = seen["objective"](seen["magnitudes"][rows], z[rows])
    assert compiled.item() == pytest.approx(eager.item(), rel=2e-2)


def share_below(end, curve):
    """How much of a filter's light, of a flat spectrum in F_nu, comes from below `end`."""
    x, y = curve.wavelength, curve.response / curve.wavelength
    middle = (x[1:] + x[:-1]) / 2
    area = np.diff(x) * (y[1:] + y[:-1]) / 2
    return area[middle < end].sum() / area.sum()


def test_own_filters():
    from speclite.filters import load_filters

    seen = run("own_filters")
    spectra, bins = seen["spectra"], seen["bins"]
    for survey, names in {
        "Rubin": "lsst2023-*",
        "Euclid": "Euclid-*",
        "DECam": "decam2014-*",
    }.items():
        theirs = load_filters(names)
        table = theirs.get_ab_magnitudes(spectra.flux.numpy(), spectra.wavelength.numpy())
        expected = np.array([table[name] for name in theirs.names]).T
        found = seen["magnitudes"][survey].numpy()
        reached = np.array([share_below(9800, curve) > 0.99 for curve in theirs])
        assert (np.isfinite(found) == reached).all()
        np.testing.assert_allclose(found[:, reached], expected[:, reached], atol=2e-3)
    used = seen["residuals"]["Rubin"] != 0
    assert 0.3 < used.double().mean() < 0.9
    both = torch.cat([seen["residuals"]["Rubin"], seen["residuals"]["Euclid"]], -1)
    torch.testing.assert_close(seen["residuals"]["Rubin and Euclid"], both)
    own = bins.index(spectra.z)  # where a galaxy stands, its fluxes are nearly right
    at_own = both[torch.arange(len(own)), own].abs().max()
    assert at_own < 0.1 < both.abs().max()


def test_own_bins():
    pytest.importorskip("kcorrect")
    seen = run("own_bins")
    edges = seen["bins"].edges.log1p()
    torch.testing.assert_close(edges.diff(), edges.diff()[:1].expand(80))
    here, there = seen["table"]["own bins"], seen["table"]["180 uniform bins"]
    assert here["CRPS"] == pytest.approx(there["CRPS"], rel=0.02)
    assert here["PIT KS"] == pytest.approx(there["PIT KS"], abs=0.02)
    z = seen["z_spec"]
    assert here["CRPS"] < constant_crps(z[:1500], z[1500:], seen["bins"]) / 1.5


def test_short_spectra():
    pytest.importorskip("kcorrect")
    table = run("short_spectra")["table"]
    default, paper, filled = table.values()
    assert default["cells"] < filled["cells"] == 1
    assert default["bands"] < filled["bands"] == 1
    assert filled["error of u and z"] < paper["error of u and z"] / 5


def gaussian_energy(mean, width):
    """E|X| of a Gaussian, the A of Grimit et al. (2006)."""
    t = mean / width
    return 2 * width * stats.norm.pdf(t) + mean * (2 * stats.norm.cdf(t) - 1)


def test_mixture_density():
    """CRPS and CDE loss of the projection are the closed forms of the mixture, to a bin's width."""
    pytest.importorskip("kcorrect")
    seen = run_once("mixture_density")
    bins, truth = seen["bins"], seen["truth"].double().numpy()
    log_weight, mean, width = (part.double().numpy() for part in seen["mixture"])
    weight = np.exp(log_weight)
    pair = weight[:, :, None] * weight[:, None, :]
    distance = mean[:, :, None] - mean[:, None, :]
    both = np.hypot(width[:, :, None], width[:, None, :])
    exact_crps = (weight * gaussian_energy(truth[:, None] - mean, width)).sum(-1)
    exact_crps -= (pair * gaussian_energy(distance, both)).sum((1, 2)) / 2
    square = (pair * stats.norm.pdf(distance, scale=both)).sum((1, 2))
    at_truth = (weight * stats.norm.pdf(truth[:, None], mean, width)).sum(-1)
    inside = (weight * np.diff(stats.norm.cdf([[[0.0]], [[0.4]]], mean, width), axis=0)[0]).sum(-1)
    whole = inside > 0.999  # the bins are all that a projection sees
    assert whole.mean() > 0.5
    step = bins.widths.max().item()
    own = crps(seen["probs"], seen["truth"], bins, reduction="none").numpy()
    assert np.abs(own - exact_crps)[whole].max() < step
    assert abs(own[whole].mean() - exact_crps[whole].mean()) < step / 10
    own = cde_loss(seen["probs"], seen["truth"], bins, reduction="none").numpy()
    steepest = (weight / width**2).max(-1)[whole].max() / math.sqrt(2 * math.pi * math.e)
    exact_cde = square - 2 * at_truth
    assert abs(own[whole].mean() - exact_cde[whole].mean()) < 3 * steepest * step
    z = seen["z_spec"]
    assert seen["metrics"].compute()["crps"] < constant_crps(z[:1500], z[1500:], bins) / 1.5


def normal_log_mass(lower, upper):
    """By quadrature of the density, in float64."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = (upper - lower) / 2
    return special.logsumexp(stats.norm.logpdf(lower + half * (nodes + 1)), b=half * weights)


FAR = [-20.0, -10.0, -5.0, 0.0, 5.0, 10.0, 20.0]


@pytest.mark.parametrize("sigmas", FAR)
def test_a_mixture_learns_from_galaxies_far_from_it(sigmas):
    """Cross entropy and its slope at a true redshift so many widths from all three Gaussians."""
    pytest.importorskip("kcorrect")
    seen = run_once("mixture_density")
    bins, width = seen["bins"], 0.01
    centre = 0.3 if sigmas < 0 else 0.1
    mean = torch.full((1, 3), centre, requires_grad=True)
    log_weight = torch.tensor([[0.2, 0.3, 0.5]]).log()
    logits = seen["project"](log_weight, mean, torch.full((1, 3), width))
    truth = torch.tensor([centre + sigmas * width])
    loss = cross_entropy(logits, truth, bins)
    loss.backward()
    own = bins.index(truth).item()
    lower, upper = ((bins.edges[own : own + 2].numpy() - centre) / width).tolist()
    assert loss.item() == pytest.approx(-normal_log_mass(lower, upper), rel=2e-5)
    slope = -mean.grad.sum().item() * width  # how far the bin's mass lies, on average
    assert lower < slope < upper


@pytest.mark.parametrize("centre", [-100.0, -2.0, -1.0, -0.2, 1.0, 3.0, 100.0])
def test_a_mixture_beyond_all_bins_is_pulled_towards_the_truth(centre):
    """Of the bins' masses the nearest is all: the slope is how far the truth's lies from it."""
    pytest.importorskip("kcorrect")
    seen = run_once("mixture_density")
    bins, width = seen["bins"], 0.002
    mean = torch.full((1, 3), centre, requires_grad=True)
    log_weight = torch.tensor([[0.2, 0.3, 0.5]]).log()
    logits = seen["project"](log_weight, mean, torch.full((1, 3), width))
    cross_entropy(logits, torch.tensor([0.201]), bins).backward()
    own, near = bins.index(0.201, "raise").item(), 0 if centre < 0 else len(bins) - 1
    edges = (bins.edges - centre) / width
    slope = -mean.grad.sum().item() * width
    assert edges[own] - edges[near + 1] < slope < edges[own + 1] - edges[near]


@pytest.mark.parametrize("recipe", ["mixture_density", "normalizing_flow"])
@pytest.mark.parametrize("sigmas", FAR)
@pytest.mark.parametrize("step", [1e-3, 0.2, 30.0])
def test_log_of_a_difference_of_normal_cdfs(recipe, sigmas, step):
    pytest.importorskip("kcorrect")
    if recipe == "normalizing_flow":
        pytest.importorskip("zuko")
    edges = torch.tensor([sigmas - step / 3, sigmas + 2 * step / 3], requires_grad=True)
    value = run_once(recipe)["log_mass"](*edges)
    value.backward()
    lower, upper = edges.detach().double().tolist()
    expected = normal_log_mass(lower, upper)
    assert value.item() == pytest.approx(expected, rel=1e-5, abs=2e-3 if step < 0.1 else 1e-6)
    slopes = np.exp(stats.norm.logpdf([lower, upper]) - expected) * [-1, 1]
    np.testing.assert_allclose(edges.grad, slopes, rtol=2e-3 if step < 0.1 else 1e-4, atol=1e-6)


def test_normalizing_flow():
    """The masses are those that a fine sum over the flow's own density gives."""
    pytest.importorskip("zuko")
    pytest.importorskip("kcorrect")
    seen = run_once("normalizing_flow")
    bins, z = seen["bins"], seen["z_spec"]
    fine = RedshiftBins.uniform(0.0, 0.4, 180 * 8).centers.float()
    points = ((fine - seen["CENTRE"]) / seen["SCALE"]).reshape(-1, 1, 1).expand(-1, 20, 1)
    with torch.no_grad():
        density = seen["flow"](seen["magnitudes"][1500:1520]).log_prob(points).exp().T
    masses = density.reshape(20, 180, 8).mean(-1) * bins.widths / seen["SCALE"]
    masses = masses / masses.sum(-1, keepdim=True)
    assert (masses - seen["probs"][:20]).abs().max() < 2e-3
    guess = constant_crps(z[:1500], z[1500:], bins)
    assert seen["metrics"].compute()["crps"] < guess / 1.5

"""Surfaces and curvatures of the loss, against closed forms and another way to differentiate."""

import copy
import json
from dataclasses import replace

import pytest
import tiny_training
import torch
from matplotlib import pyplot
from module import PhotozModule
from study.landscape import (
    LOSSES,
    filter_normalised,
    function_of_weights,
    largest_eigenvalues,
    measure,
    plot_landscape,
    surface,
    with_views,
)
from tiny_training import BINS, CONFIG, Galaxies
from torch import nn
from torch.func import functional_call, jacrev

PLAIN = replace(CONFIG, gamma_flux=0.0, gamma_invariance=0.0, gamma_cde=0.0)
GROUPS = {
    "baseline": PLAIN,
    "augmented": replace(PLAIN, augmented=True),
    "constrained": CONFIG,
    "one branch": replace(CONFIG, detach=True, augmented=True),
}


class Tiny(nn.Module):
    """Few enough weights for a whole Hessian, with each kind of layer that the study has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(5, 3, 3, 4, bias=False), nn.BatchNorm2d(3), nn.ReLU())
        self.head = nn.Linear(4, 12)

    def forward(self, image, ebv):
        features = self.body(image).mean((-2, -1))
        return self.head(torch.cat([features, ebv[:, None]], 1))


class Bowl(nn.Module):
    """x² c / 2 for each weight x, with a matrix and a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3).double()

    def forward(self, batch):
        squares = sum(p.square().sum() for p in self.layer.parameters())
        return {"bowl": 0.5 * batch["z_spec"].double().mean() * squares}


def batches(*sizes: int) -> list[dict]:
    return [dict(Galaxies(n).columns) for n in sizes]


def tiny(config=CONFIG) -> PhotozModule:
    """Away from its start, where all eigenvalues are simple and running statistics are not 0, 1."""
    torch.manual_seed(5)
    module = PhotozModule(config, BINS, network=Tiny())
    for _ in range(3):
        module(*(batches(30)[0][name] for name in ("image", "ebv")))
    nn.init.normal_(module.network.head.weight)
    return module.train()


def test_every_filter_of_a_direction_has_the_norm_of_the_weights_filter():
    network = tiny().network
    direction = filter_normalised(network, torch.Generator().manual_seed(0))
    assert direction.keys() == dict(network.named_parameters()).keys()
    for name, weight in network.named_parameters():
        if weight.ndim == 1:
            assert not direction[name].any()
        else:
            for drawn, own in zip(direction[name], weight, strict=True):  # filter by filter
                assert float(drawn.norm()) == pytest.approx(float(own.norm().detach()), rel=1e-5)
            assert not torch.allclose(direction[name], weight)
    other = filter_normalised(network, torch.Generator().manual_seed(1))
    assert not torch.equal(direction["head.weight"], other["head.weight"])


def test_a_filter_without_weights_stays():
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    assert not filter_normalised(layer, torch.Generator())["weight"].any()


def test_the_surface_of_a_bowl_is_known():
    """0.5 c (|x|² + 2 x·(a u + b v) + |a u + b v|²), with c the mean over galaxies, not batches."""
    bowl = Bowl()
    draw = torch.Generator().manual_seed(2)
    u, v = (
        {name: torch.randn(p.shape, generator=draw).double() for name, p in bowl.named_parameters()}
        for _ in range(2)
    )
    data = [{"z_spec": torch.tensor([1.0, 2.0])}, {"z_spec": torch.tensor([6.0])}]
    measured = surface(bowl, data, (u, v), span=2.0, points=5)["bowl"]
    x, first, second = (
        torch.cat([values[name].detach().flatten() for name in u])
        for values in (dict(bowl.named_parameters()), u, v)
    )
    for i, b in enumerate((-2.0, -1.0, 0.0, 1.0, 2.0)):
        for j, a in enumerate((-2.0, -1.0, 0.0, 1.0, 2.0)):
            linear = 2 * x @ (a * first + b * second)
            square = a * a * first @ first + 2 * a * b * first @ second + b * b * second @ second
            expected = 0.5 * 3.0 * (x @ x + linear + square)
            assert float(measured[i, j]) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("points", [1, 4])
def test_a_grid_without_the_solution_is_refused(points):
    with pytest.raises(ValueError, match="odd"):
        surface(Bowl(), [], ({}, {}), span=1.0, points=points)


@torch.no_grad()
@pytest.mark.parametrize("group", GROUPS)
def test_in_the_middle_of_a_surface_is_the_modules_own_loss(group):
    module, data = tiny(GROUPS[group]), with_views(tiny(GROUPS[group]), batches(12, 20), seed=4)
    with function_of_weights(module) as losses:
        directions = tuple(filter_normalised(losses, torch.Generator()) for _ in range(2))
        middle = {
            k: v[1, 1] for k, v in surface(losses, data, directions, span=1, points=3).items()
        }
    module.eval()
    torch.manual_seed(4)  # of the views, in the same order
    own = [(len(b["ebv"]), *module.loss_terms(b)) for b in batches(12, 20)]
    objective = sum(n * float(total) for n, total, _ in own) / 32
    assert float(middle["objective"]) == pytest.approx(objective, rel=1e-6)
    logits = [module(b["image"], b["ebv"]) for b in batches(12, 20)]
    z_spec = torch.cat([b["z_spec"] for b in batches(12, 20)])
    cross = nn.functional.cross_entropy(torch.cat(logits), BINS.index(z_spec))
    assert float(middle["cross entropy"]) == pytest.approx(float(cross), rel=1e-6)
    if group == "augmented":  # its own cross entropy is that of the views
        term = sum(n * float(terms["ce"]) for n, _, terms in own) / 32
        assert abs(term - float(cross)) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("constrained", "objective"),
        ("augmented", "cross entropy"),
        ("one branch", "objective"),
    ],
)
def test_the_largest_eigenvalues_are_those_of_the_whole_hessian(group, name):
    """By reverse mode twice in float64, where curvlinops goes forward over reverse."""
    module = tiny(replace(GROUPS[group], gamma_l2=0.1))  # large enough to be seen
    data = with_views(module, batches(12, 20), seed=4)
    parameters = list(module.network.parameters())
    with function_of_weights(module, [name]) as losses:
        found = largest_eigenvalues(losses, name, parameters, data, 4, seed=0)
        again = largest_eigenvalues(losses, name, parameters, data, 4, seed=0)
        exact = copy.deepcopy(losses).double()
        named = dict(exact.named_parameters())
        sizes = [p.numel() for p in named.values()]

        def mean(vector):
            parts = zip(named.items(), vector.split(sizes), strict=True)
            moved = {key: part.view_as(p) for (key, p), part in parts}
            return sum(
                len(b["ebv"]) / 32 * functional_call(exact, moved, (doubled(b),))[name]
                for b in data
            )

        point = torch.cat([p.detach().flatten() for p in named.values()])
        hessian = jacrev(jacrev(mean))(point)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-8, atol=1e-10)
    expected = torch.linalg.eigvalsh(hessian).flip(0)[:4]
    assert found == pytest.approx(expected.tolist(), rel=1e-4)
    assert found == again


def doubled(batch: dict) -> dict:
    return {name: value.double() for name, value in batch.items()}


def test_a_measured_module_is_as_it_was():
    module, data = tiny(GROUPS["one branch"]), batches(12)
    module.network.body[1].eval()  # a mode of its own
    module.loss_terms(data[0])[0].backward()
    gradients = [p.grad.clone() for p in module.network.parameters()]
    state, config, view = copy.deepcopy(module.state_dict()), module.config, module.view
    modes = [part.training for part in module.modules()]
    torch.manual_seed(9)
    random = torch.get_rng_state()
    measure(module, data, seed=1, points=3, eigenvalues=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in module.modules()] == modes
    assert (module.config, module.view) == (config, view)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    now = [p.grad for p in module.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(gradients, now, strict=True))
    assert all(p.requires_grad for p in module.network.parameters())


def test_after_an_error_it_is_as_it_was_too():
    module = tiny(GROUPS["one branch"])
    state, view = copy.deepcopy(module.state_dict()), module.view
    broken = [{name: v for name, v in batches(12)[0].items() if name != "residual"}]
    with pytest.raises(TypeError, match="residual"):
        measure(module, broken, seed=1, points=3)
    assert module.view is view
    assert module.training
    assert module.config.detach
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


@pytest.mark.slow
def test_a_seed_makes_the_measure_and_batches_do_not():
    module = tiny_training.train(replace(CONFIG, epochs=1), network=Tiny())
    whole = dict(Galaxies(20).columns)
    options = {"points": 3, "eigenvalues": 2}
    one, again, other = (measure(module, [whole], seed=s, **options) for s in (1, 1, 2))
    assert json.loads(json.dumps(one, allow_nan=False)) == one == again
    assert (one["galaxies"], one["points"], one["span"], one["seed"]) == (20, 3, 1.0, 1)
    assert one["parameters"] == sum(p.numel() for p in module.network.parameters())
    for name in LOSSES:
        assert one["surfaces"][name] != other["surfaces"][name]
        assert one["eigenvalues"][name][0] > one["eigenvalues"][name][1]
    parts = [{name: v[rows] for name, v in whole.items()} for rows in (slice(0, 6), slice(6, 20))]
    split = measure(module, parts, seed=1, **options)
    for key in ("surfaces", "eigenvalues"):  # the views of parts are other ones
        torch.testing.assert_close(
            torch.tensor(split[key]["cross entropy"]),
            torch.tensor(one[key]["cross entropy"]),
            rtol=1e-4,
            atol=1e-6,
        )


def test_larger_images_are_measured_in_their_middle():
    module = tiny(replace(GROUPS["constrained"], side=16))
    large = dict(Galaxies(12, side=20).columns)
    middle = large | {"image": large["image"][..., 2:18, 2:18]}
    (cut,), (given,) = (with_views(module, [batch], seed=3) for batch in (large, middle))
    assert torch.equal(cut["image"], middle["image"])
    assert torch.equal(cut["seen"], given["seen"])
    assert not torch.equal(cut["seen"], cut["image"])


def test_groups_are_drawn_on_one_scale_with_the_lowest_point_marked():
    steps = torch.linspace(-1, 1, 5, dtype=torch.float64)
    distance = steps[:, None].square() + (steps[None] - 0.5).square()  # lowest half a step right
    results = {
        f"group {k}": {
            "span": 1.0,
            "surfaces": {key: (2 + 10**k * distance).tolist() for key in LOSSES},
            "eigenvalues": {key: [3.5, 1.0] for key in LOSSES},
        }
        for k in range(4)
    }
    figure = plot_landscape(results, columns=3)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title().split("\n")[0] for ax in panels] == [*results]
    for ax in panels:
        trained, lowest = ax.lines
        assert (*trained.get_xdata(), *trained.get_ydata()) == (0, 0)
        assert (*lowest.get_xdata(), *lowest.get_ydata()) == (0.5, 0.0)
    filled = [ax.collections[0] for ax in panels]
    assert len({(c.norm.vmin, c.norm.vmax) for c in filled}) == 1
    assert "3.5" in panels[0].get_title()
    pyplot.close(figure)

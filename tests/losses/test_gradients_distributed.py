"""Gradients of unequal shares of a batch over ranks: those of one process that sees all of it."""

import doctest
from functools import cache
from pathlib import Path

import pytest
import torch
from ranks import needs_gloo, on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    losses,
    rotation_derivative,
)
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
GALAXIES = 8
SHARES = [(5, 3), (8, 0), (4, 3, 1), (0, 5, 3)]
BINS = RedshiftBins([0.0, 0.05, 0.1, 0.25, 0.3, 0.4])
TRIANGLES = FilterSet(["t", "u"], [[4800, 5200, 5600], [5500, 5900, 6400]], [[0, 1, 0]] * 2)
PHOTOMETRY = SyntheticPhotometry(TRIANGLES, torch.linspace(3800, 8000, 40, dtype=torch.float64))
SHAPES = {
    "ce": lambda: RedshiftCrossEntropy(BINS),
    "smoothed ce": lambda: RedshiftCrossEntropy(BINS, label_smoothing=0.1),
    "cde": lambda: CDELoss(BINS),
    "crps": lambda: CRPSLoss(BINS),
    "flux": lambda: FluxLoss(BINS),
    "spectra": lambda: SpectrophotometricFluxLoss(BINS, PHOTOMETRY),
    "invariance": lambda: InvarianceLoss("symmetric_kl"),
    "rotation": lambda: RotationDerivativeLoss("cramer", bins=BINS),
    "l2": L2Penalty,
}
WEIGHTINGS = {
    "all": lambda names: None,
    "all, learned weights": lambda names: UncertaintyWeights(names).double(),
    "all, ReLoBRaLo's weights": ReLoBRaLo,  # on the first step: 1
}
CASES = [*SHAPES, *WEIGHTINGS]


def loss_of(case):
    """One term alone, or the sum of all."""
    if case in SHAPES:
        return TotalLoss({case: (1.0, SHAPES[case]())})
    positive = ["ce", "crps", "flux", "invariance", "rotation"]
    terms = {name: (0.1 + 0.1 * k, term()) for k, (name, term) in enumerate(SHAPES.items())}
    return TotalLoss(terms, weighting=WEIGHTINGS[case](positive))


def galaxies(rows):
    """Images, and what the terms take; two galaxies have no usable band."""
    draw = torch.Generator().manual_seed(3)
    images, residual = (
        torch.randn(GALAXIES, *shape, generator=draw, dtype=torch.float64)
        for shape in ((2, 5, 5), (len(BINS), 2))
    )
    z_spec, band_weight, flux = (
        torch.rand(GALAXIES, *shape, generator=draw, dtype=torch.float64)
        for shape in ((), (2,), (40,))
    )
    band_weight[[0, 7]] = 0.0
    columns = {"z_spec": 0.4 * z_spec, "residual": residual, "band_weight": band_weight}
    columns |= {"variance": 0.5 + band_weight, "flux": 1 + flux}
    columns |= {"ivar": 1 + flux.flip(0), "valid": flux > 0.1}
    return images[rows], {name: column[rows] for name, column in columns.items()}


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(27, len(BINS))
    return nn.Sequential(*layers).double()


def inputs_of(model, loss, rows):
    """One forward of both views, with its derivative where a term takes it, and the columns."""
    images, columns = galaxies(rows)
    both, n = torch.cat([images, images.flip(-1)]), len(images)
    if "rotation" in loss.weights:
        logits, derivative = rotation_derivative(model, both)
        columns["derivative"] = derivative[:n]
    else:
        logits = model(both)
    views = {"logits": logits[:n], "logits_transformed": logits[n:]}
    return views | columns | {"parameters": list(model.parameters())}


def gradients(*modules):
    """Of every parameter of the network and the loss, in one vector."""
    return torch.cat([p.grad.flatten() for module in modules for p in module.parameters()])


@cache
def alone(case, first=0, last=GALAXIES):
    """Gradients that one process gets of some galaxies."""
    model, loss = network(), loss_of(case)
    loss(**inputs_of(model, loss, slice(first, last)))[0].backward()
    return gradients(model, loss)


def recipe():
    """The function that the page on training defines."""
    (source,) = (
        example.source
        for example in doctest.DocTestParser().get_examples(PAGE.read_text())
        if example.source.startswith("def of_all_ranks")
    )
    names = {"torch": torch, "dist": torch.distributed}
    exec(source, names)
    return names["of_all_ranks"]


def shares_on(ranks):
    """How the galaxies may be shared out, with the rows of each rank."""
    for shares in (shares for shares in SHARES if len(shares) == ranks):
        yield shares, [slice(sum(shares[:k]), sum(shares[: k + 1])) for k in range(ranks)]


def each_case(rank, ranks):
    """Gradients of each case and shares, by the recipe and without it."""
    of_all_ranks, seen = recipe(), {}
    for number, (shares, rows) in enumerate(shares_on(ranks)):
        for case in CASES:
            for way in ("recipe", "naive") if number == 0 else ("recipe",):
                model, loss = network(), loss_of(case)
                # kept until the backward, which averages only while they exist
                over_ranks = DistributedDataParallel(model)
                learned = DistributedDataParallel(loss) if [*loss.parameters()] else loss
                total, _ = learned(**inputs_of(over_ranks, loss, rows[rank]))
                (of_all_ranks(total, shares[rank]) if way == "recipe" else total).backward()
                seen[case, shares, way] = gradients(model, loss)
    return seen


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request):
    return on_ranks(each_case, request.param)


def test_every_loss_is_here():
    classes = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    kinds = {type(term()).__name__ for term in SHAPES.values()}
    kinds |= {type(loss_of(case).weighting).__name__ for case in WEIGHTINGS}
    assert classes - {"TotalLoss", "WeightSchedule"} == kinds - {"NoneType"}


@needs_gloo
@pytest.mark.parametrize("case", CASES)
def test_shared_out_by_the_recipe_gradients_are_those_of_the_whole_batch(outcomes, case):
    expected = alone(case)
    for shares, _ in shares_on(len(outcomes)):
        for seen in outcomes:
            got = seen[case, shares, "recipe"]
            if 0 in shares and case == "all, learned weights":  # as the page says
                assert got.isnan().any()
                continue
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


@needs_gloo
@pytest.mark.parametrize("case", [case for case in CASES if case != "l2"])
def test_without_the_recipe_they_are_the_mean_of_the_ranks_means(outcomes, case):
    shares, rows = next(shares_on(len(outcomes)))
    expected, each = alone(case), torch.stack([alone(case, own.start, own.stop) for own in rows])
    for seen in outcomes:
        got = seen[case, shares, "naive"]
        torch.testing.assert_close(got, each.mean(0), rtol=1e-12, atol=1e-13)
        off = (got - expected).norm() / expected.norm()
        assert (0.2 if shares == (4, 3, 1) else 0.1) < off < 0.9  # as the page says

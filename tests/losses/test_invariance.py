"""Distances between views, against loops and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from reference import cdf, invariance, softmax
from scipy import stats
from strategies import trained

from photoz_losses import (
    InvarianceLoss,
    RedshiftBins,
    RotationDerivativeLoss,
    TotalLoss,
    invariance_loss,
    rotation_derivative_loss,
)
from photoz_losses.transforms import RandomDihedral


@given(trained())
def test_l2_equals_the_papers_sum_and_logits_are_an_option(case):
    _, logits, _ = case
    other = logits.flip(-1)
    pairs = list(zip(logits.tolist(), other.tolist(), strict=True))
    expected = [invariance(softmax(a), softmax(b)) for a, b in pairs]
    got = invariance_loss(logits, other, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
    raw = invariance_loss(logits, other, space="logits", reduction="none")
    torch.testing.assert_close(raw, torch.tensor([invariance(a, b) for a, b in pairs]).double())


@given(trained())
def test_symmetric_kl_is_scipys_entropy_both_ways(case):
    _, logits, _ = case
    logits = logits / 10  # scipy takes probabilities, which underflow
    p, q = logits.softmax(-1), logits.flip(-1).softmax(-1)
    expected = stats.entropy(p, q, axis=-1) + stats.entropy(q, p, axis=-1)
    got = invariance_loss(logits, logits.flip(-1), distance="symmetric_kl", reduction="none")
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-12)


@given(trained())
def test_cramer_is_the_integral_of_the_squared_difference_of_the_cdfs(case):
    bins, logits, _ = case
    edges, other = bins.edges.tolist(), logits.flip(-1)
    nodes, weights = np.polynomial.legendre.leggauss(3)
    expected = []
    for a, b in zip(logits.tolist(), other.tolist(), strict=True):
        p, q = softmax(a), softmax(b)
        total = 0.0
        for low, high in itertools.pairwise(edges):
            for node, weight in zip(nodes, weights, strict=True):
                x = (low + high) / 2 + node * (high - low) / 2
                total += weight * (high - low) / 2 * (cdf(edges, p, x) - cdf(edges, q, x)) ** 2
        expected.append(total)
    got = invariance_loss(logits, other, distance="cramer", bins=bins, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_only_cramer_knows_how_far_apart_two_bins_are():
    bins = RedshiftBins.uniform(0.0, 1.0, 10)
    spikes = 99 * torch.eye(10)
    near, far = spikes[[0, 1]], spikes[[0, 9]]
    assert invariance_loss(*near[:, None]) == invariance_loss(*far[:, None])
    near, far = (
        invariance_loss(*pair[:, None], distance="cramer", bins=bins) for pair in (near, far)
    )
    assert far > 5 * near


@pytest.mark.parametrize("distance", ["l2", "symmetric_kl", "cramer"])
def test_zero_for_an_invariant_model_and_positive_for_one_that_is_not(distance):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(16, 1, 5, 5, generator=generator)
    view = RandomDihedral(generator)(images)
    weights = torch.randn(25, 3, generator=generator)
    loss = InvarianceLoss(distance, bins=RedshiftBins.uniform(0.0, 0.4, 3))

    def invariant(image):
        return image.sum((1, 2, 3)).unsqueeze(-1) * weights[:1]

    def sees_orientation(image):
        return image.flatten(1) @ weights

    assert loss(invariant(images), invariant(view)) < 1e-9
    assert loss(sees_orientation(images), sees_orientation(view)) > 1e-3


DISTANCES = ("l2", "symmetric_kl", "cramer")
of_every_distance = pytest.mark.parametrize("distance", DISTANCES)


@of_every_distance
@given(case=trained())
def test_zero_for_the_same_view_and_symmetric(distance, case):
    bins, logits, _ = case
    loss = InvarianceLoss(distance, bins=bins, temperature=1.7, reduction="none")
    assert (loss(logits, logits) == 0).all()
    torch.testing.assert_close(loss(logits, logits.flip(-1)), loss(logits.flip(-1), logits))


@of_every_distance
@given(case=trained())
def test_a_temperature_divides_the_logits_of_both_views(distance, case):
    bins, logits, _ = case
    other = logits.flip(-1)
    options = {"distance": distance, "bins": bins, "reduction": "none"}
    got = invariance_loss(logits, other, temperature=2.5, **options)
    torch.testing.assert_close(got, invariance_loss(logits / 2.5, other / 2.5, **options))


def test_a_temperature_is_a_factor_for_raw_logits():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    hot, cold = (
        invariance_loss(logits, logits.flip(-1), space="logits", temperature=t) for t in (2.0, 1.0)
    )
    torch.testing.assert_close(4 * hot, cold)


@of_every_distance
def test_rows_say_which_galaxies_were_seen_again(distance):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 4, generator=generator, requires_grad=True)
    other = torch.randn(3, 4, generator=generator)
    rows = torch.tensor([4, 0, 4])
    options = {"distance": distance, "bins": RedshiftBins([0.0, 0.1, 0.2, 0.5, 0.6])}
    each = invariance_loss(logits, other, rows=rows, reduction="none", **options)
    assert each.shape == (3,)
    for k, row in enumerate(rows):
        torch.testing.assert_close(each[k], invariance_loss(logits[row], other[k], **options))
    value = invariance_loss(logits, other, rows=rows, **options)
    torch.testing.assert_close(value, each.mean())
    value.backward()
    assert (logits.grad != 0).any(-1).tolist() == [True, False, False, False, True, False]
    torch.testing.assert_close(InvarianceLoss(**options)(logits, other, rows), value)
    total, _ = TotalLoss({"invariance": (2.0, InvarianceLoss(**options))})(
        logits=logits, logits_transformed=other, rows=rows
    )
    torch.testing.assert_close(total, 2 * value)


# The derivative with the angle -------------------------------------------------------------------


@of_every_distance
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@given(case=trained())
def test_the_derivative_loss_is_the_limit_of_the_distance_over_the_angle_squared(
    distance, temperature, case
):
    bins, logits, _ = case
    logits = logits / 10
    speed = logits.sin()  # any
    options = {"distance": distance, "bins": bins, "temperature": temperature, "reduction": "none"}
    angle = 1e-4
    apart = invariance_loss(logits + angle / 2 * speed, logits - angle / 2 * speed, **options)
    got = rotation_derivative_loss(logits, speed, **options)
    torch.testing.assert_close(got, apart / angle**2, rtol=1e-6, atol=1e-9)


def test_the_derivative_loss_of_raw_logits_is_the_limit_too():
    logits, speed = torch.randn(2, 3, 5, dtype=torch.float64).unbind()
    options = {"space": "logits", "temperature": 2.0}
    apart = invariance_loss(logits + 1e-3 * speed, logits, **options)
    torch.testing.assert_close(rotation_derivative_loss(logits, speed, **options), apart / 1e-6)


@given(trained())
def test_the_derivative_losses_are_loops_over_the_derivatives_of_the_masses(case):
    bins, logits, _ = case
    logits, widths = logits / 10, bins.widths.tolist()
    speed = logits.cos()
    expected = {name: [] for name in DISTANCES}
    for row, d in zip(logits.tolist(), speed.tolist(), strict=True):
        p = softmax(row)
        mean = sum(a * b for a, b in zip(p, d, strict=True))
        change = [a * (b - mean) for a, b in zip(p, d, strict=True)]
        expected["l2"].append(sum(x * x for x in change))
        fisher = (a * (b - mean) ** 2 for a, b in zip(p, d, strict=True))
        expected["symmetric_kl"].append(sum(fisher))
        low, total = 0.0, 0.0
        for x, width in zip(change, widths, strict=True):  # Simpson is exact for squares of lines
            total += width / 6 * (low**2 + 4 * (low + x / 2) ** 2 + (low + x) ** 2)
            low += x
        expected["cramer"].append(total)
    for name, values in expected.items():
        loss = RotationDerivativeLoss(name, bins=bins, reduction="none")
        torch.testing.assert_close(loss(logits, speed), torch.tensor(values).double())


@of_every_distance
def test_the_derivative_loss_does_not_see_a_common_shift_of_all_logits(distance):
    logits, speed = torch.randn(2, 3, 4, dtype=torch.float64).unbind()
    loss = RotationDerivativeLoss(distance, bins=RedshiftBins.uniform(0.0, 1.0, 4))
    torch.testing.assert_close(loss(logits + 5, speed - 7), loss(logits, speed))
    assert loss(logits, torch.full_like(speed, 3.0)) < 1e-25

"""Distances between views, against loops and closed forms."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from reference import cdf, invariance, softmax
from scipy import stats
from strategies import trained

from photoz_losses import InvarianceLoss, RedshiftBins, invariance_loss
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

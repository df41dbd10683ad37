"""Scores of whole densities: the losses' own values, closed forms, and what makes them proper."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import graded, masses, redshift_bins, trained

import photoz_losses
from photoz_losses import RedshiftBins
from photoz_losses.metrics import brier, cde_loss, crps, entropy, log_score, pit

SCORES = {"cde_loss": cde_loss, "crps": crps, "log_score": log_score, "brier": brier}
UNEVEN = RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 1.5])


def each_score(test):
    return pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)(test)


@pytest.mark.parametrize("name", SCORES)
@given(graded())
def test_scores_are_those_of_the_formulas(name, case):
    bins, probs, z_spec = case
    rows = zip(probs.tolist(), z_spec.tolist(), strict=True)
    expected = [getattr(reference, name)(bins.edges.tolist(), row, z) for row, z in rows]
    values = SCORES[name](probs, z_spec, bins, reduction="none")
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("score", "loss"),
    [(cde_loss, photoz_losses.cde_loss), (crps, photoz_losses.crps_loss)],
    ids=["cde_loss", "crps"],
)
@settings(max_examples=20)
@given(trained())
def test_scores_are_the_losses_of_the_same_network(score, loss, reduction, case):
    bins, logits, z_spec = case
    value = score(logits.softmax(-1), z_spec, bins, reduction=reduction)
    torch.testing.assert_close(
        value, loss(logits, z_spec, bins, reduction=reduction), rtol=1e-12, atol=1e-12
    )


@each_score
@given(graded())
def test_mean_and_sum_are_those_of_the_single_galaxies(score, case):
    bins, probs, z_spec = case
    each = score(probs, z_spec, bins, reduction="none")
    assert each.shape == z_spec.shape
    torch.testing.assert_close(score(probs, z_spec, bins), each.mean())
    torch.testing.assert_close(score(probs, z_spec, bins, reduction="sum"), each.sum())
    singles = [score(row, z, bins) for row, z in zip(probs.split(1), z_spec.split(1), strict=True)]
    torch.testing.assert_close(torch.stack(singles), each)


@each_score
def test_half_precision_is_computed_in_single(score):
    probs = torch.tensor([[0.25, 0.25, 0.5, 0, 0, 0]])
    z_spec = torch.tensor([0.1])
    for dtype in (torch.bfloat16, torch.float16):
        value = score(probs.to(dtype), z_spec, UNEVEN)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, score(probs, z_spec, UNEVEN))
    assert score(probs.double(), z_spec, UNEVEN).dtype == torch.float64


@each_score
def test_no_galaxies_no_score(score):
    assert score(torch.empty(0, 6), torch.empty(0), UNEVEN).isnan()


@each_score
def test_a_redshift_that_escapes_the_check_gives_nan(score):
    bins = RedshiftBins(UNEVEN.edges, validate=False)
    z_spec = torch.tensor([-0.1, torch.nan, 1.6])
    assert score(torch.full((3, 6), 1 / 6), z_spec, bins, reduction="none").isnan().all()


# Closed forms ----------------------------------------------------------------------------------


@given(redshift_bins(), st.floats(0, 1))
def test_uniform_density(bins, place):
    span = bins.edges[-1] - bins.edges[0]
    z_spec = (bins.edges[:1] + place * span).clamp(max=bins.edges[-1])
    probs = (bins.widths / span).unsqueeze(0)
    torch.testing.assert_close(cde_loss(probs, z_spec, bins), -1 / span)
    torch.testing.assert_close(crps(probs, z_spec, bins), span * (place**3 + (1 - place) ** 3) / 3)


@given(redshift_bins(), st.data())
def test_all_mass_in_one_bin(bins, data):
    spike, truth = (data.draw(st.integers(0, len(bins) - 1)) for _ in range(2))
    place = data.draw(st.floats(0.01, 1))
    probs = torch.eye(len(bins), dtype=torch.float64)[spike : spike + 1]
    width = bins.widths[spike]
    z_spec = bins.edges[truth : truth + 1] + place * bins.widths[truth]
    cde, distance = cde_loss(probs, z_spec, bins), crps(probs, z_spec, bins)
    if spike == truth:
        torch.testing.assert_close(cde, -1 / width)
        torch.testing.assert_close(distance, width * (place**3 + (1 - place) ** 3) / 3)
    else:  # E|X - z| - E|X - X'| / 2
        torch.testing.assert_close(cde, 1 / width)
        expected = (bins.centers[spike] - z_spec).abs().squeeze() - width / 6
        torch.testing.assert_close(distance, expected)


# Laws ------------------------------------------------------------------------------------------


@given(st.data())
def test_the_cde_loss_is_lowest_in_expectation_at_the_true_density(data):
    bins = data.draw(redshift_bins())
    truth, other = (data.draw(masses(len(bins), batch=1)) for _ in range(2))

    def expected(probs):
        per_bin = cde_loss(probs.expand(len(bins), -1), bins.centers, bins, reduction="none")
        return (truth.squeeze(0) * per_bin).sum()

    apart = ((truth - other).square() / bins.widths).sum()
    torch.testing.assert_close(expected(other) - expected(truth), apart, rtol=1e-9, atol=1e-9)


@given(st.data())
def test_the_crps_is_lowest_in_expectation_at_the_true_density(data):
    bins = data.draw(redshift_bins())
    truth, other = (data.draw(masses(len(bins), batch=1)) for _ in range(2))
    nodes, weights = np.polynomial.legendre.leggauss(3)  # the score is a cubic within a bin
    z_spec = bins.centers.unsqueeze(-1) + bins.widths.unsqueeze(-1) / 2 * torch.from_numpy(nodes)

    def expected(probs):
        each = crps(probs.expand(*z_spec.shape, -1), z_spec, bins, reduction="none")
        return (truth.squeeze(0) * (each @ torch.from_numpy(weights / 2))).sum()

    assert expected(other) >= expected(truth) - 1e-12
    assume((other - truth).abs().max() > 0.05)
    assert expected(other) > expected(truth)


@given(graded(), st.floats(0.1, 10))
def test_both_scale_with_the_unit_of_redshift(case, scale):
    bins, probs, z_spec = case
    stretched = RedshiftBins(bins.edges * scale)
    moved = (z_spec * scale).clamp(stretched.edges[0], stretched.edges[-1])
    assume(torch.equal(stretched.index(moved), bins.index(z_spec)))
    torch.testing.assert_close(
        cde_loss(probs, moved, stretched), cde_loss(probs, z_spec, bins) / scale
    )
    torch.testing.assert_close(crps(probs, moved, stretched), crps(probs, z_spec, bins) * scale)


@given(graded())
def test_the_crps_is_not_negative_and_not_above_the_grid(case):
    bins, probs, z_spec = case
    values = crps(probs, z_spec, bins, reduction="none")
    assert (values >= 0).all()
    assert (values <= bins.edges[-1] - bins.edges[0]).all()


@given(graded())
def test_the_crps_is_small_only_for_a_spike_at_the_truth(case):
    bins, probs, z_spec = case
    z = z_spec.unsqueeze(-1)
    distance = torch.maximum(bins.edges[:-1] - z, z - bins.edges[1:]).clamp(min=0)
    for reach in distance.unique():  # mass m beyond d: m / 2 on one side, (m / 2)^2 for a length d
        beyond = (probs * (distance >= reach)).sum(-1)
        floor = reach * (beyond / 2).square()
        assert (crps(probs, z_spec, bins, reduction="none") >= floor - 1e-12).all()


@given(graded(), st.data())
def test_splitting_a_bin_of_constant_density_changes_no_score(case, data):
    bins, probs, z_spec = case
    split = data.draw(st.integers(0, len(bins) - 1))
    finer = RedshiftBins(torch.cat([bins.edges, bins.centers[split : split + 1]]).sort().values)
    share = (finer.widths[split] / bins.widths[split]).reshape(1, 1)
    own = probs[:, split : split + 1]
    fine = torch.cat([probs[:, :split], own * share, own * (1 - share), probs[:, split + 1 :]], -1)
    torch.testing.assert_close(entropy(fine, finer), entropy(probs, bins))
    for score in (cde_loss, crps, log_score):
        coarse = score(probs, z_spec, bins, reduction="none")
        torch.testing.assert_close(
            score(fine, z_spec, finer, reduction="none"), coarse, rtol=1e-9, atol=1e-10
        )
    torch.testing.assert_close(pit(fine, z_spec, finer), pit(probs, z_spec, bins))
    torch.testing.assert_close(finer.mean(fine), bins.mean(probs))


# Log score, Brier score, entropy ---------------------------------------------------------------


@given(graded())
def test_entropy_is_that_of_the_formula(case):
    bins, probs, _ = case
    expected = [reference.entropy(bins.edges.tolist(), row) for row in probs.tolist()]
    values = entropy(probs, bins, reduction="none")
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(entropy(probs, bins), values.mean())
    torch.testing.assert_close(entropy(probs, bins, reduction="sum"), values.sum())


@given(trained())
def test_the_log_score_is_the_cross_entropy_and_the_width_of_the_bin(case):
    bins, logits, z_spec = case
    of_masses = photoz_losses.cross_entropy(logits, z_spec, bins, reduction="none")
    value = log_score(logits.softmax(-1), z_spec, bins, reduction="none")
    torch.testing.assert_close(value, of_masses + bins.widths[bins.index(z_spec)].log())


@given(st.data())
def test_the_log_score_expected_at_the_truth_is_the_entropy_and_least(data):
    bins = data.draw(redshift_bins())
    truth, other = (data.draw(masses(len(bins), batch=1)) for _ in range(2))

    def expected(probs):
        each = log_score(probs.expand(len(bins), -1), bins.centers, bins, reduction="none")
        return torch.where(truth[0] > 0, truth[0] * each, 0.0).sum()

    torch.testing.assert_close(expected(truth), entropy(truth, bins))
    assert expected(other) >= expected(truth) - 1e-12


@given(st.data())
def test_the_brier_score_is_lowest_in_expectation_at_the_true_masses(data):
    bins = data.draw(redshift_bins())
    truth, other = (data.draw(masses(len(bins), batch=1)) for _ in range(2))

    def expected(probs):
        per_bin = brier(probs.expand(len(bins), -1), bins.centers, bins, reduction="none")
        return (truth[0] * per_bin).sum()

    apart = (truth - other).square().sum()
    torch.testing.assert_close(expected(other) - expected(truth), apart, rtol=1e-9, atol=1e-9)


@given(graded())
def test_the_brier_score_lies_between_zero_and_two(case):
    bins, probs, z_spec = case
    values = brier(probs, z_spec, bins, reduction="none")
    assert ((values >= 0) & (values <= 2 + 1e-12)).all()


def test_the_brier_score_on_equal_bins_is_the_cde_loss_on_another_scale():
    bins = RedshiftBins.uniform(0.0, 3.0, 4)
    probs, z_spec = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).double(), torch.tensor([1.0])
    torch.testing.assert_close(
        brier(probs, z_spec, bins), 1 + bins.widths[0] * cde_loss(probs, z_spec, bins)
    )


def test_zero_density_at_the_truth_scores_infinity_and_is_not_clipped():
    probs = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
    values = log_score(probs, torch.tensor([0.03, 0.03]), UNEVEN, reduction="none")
    assert values.tolist() == pytest.approx([np.inf, np.log(0.04)])
    assert log_score(probs, torch.tensor([0.03, 0.03]), UNEVEN) == np.inf


@given(redshift_bins(), st.floats(0, 1))
def test_log_score_and_entropy_of_a_uniform_density(bins, place):
    span = bins.edges[-1] - bins.edges[0]
    z_spec = (bins.edges[:1] + place * span).clamp(max=bins.edges[-1])
    probs = (bins.widths / span).unsqueeze(0)
    torch.testing.assert_close(log_score(probs, z_spec, bins), span.log())
    torch.testing.assert_close(entropy(probs, bins), span.log())


@given(graded(), st.floats(0.1, 10))
def test_log_score_and_entropy_shift_with_the_unit_of_redshift(case, scale):
    bins, probs, z_spec = case
    stretched = RedshiftBins(bins.edges * scale)
    moved = (z_spec * scale).clamp(stretched.edges[0], stretched.edges[-1])
    assume(torch.equal(stretched.index(moved), bins.index(z_spec)))
    more = np.log(scale)
    torch.testing.assert_close(entropy(probs, stretched), entropy(probs, bins) + more)
    torch.testing.assert_close(
        log_score(probs, moved, stretched), log_score(probs, z_spec, bins) + more
    )

"""Valid input, however extreme, gives a finite loss with finite gradients, and a finite score."""

import pytest
import torch
from fuzz.examples import share
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import masses, redshift_bins, redshifts

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    metrics,
)

EXTREME = st.one_of(st.floats(-1e4, 1e4), st.sampled_from([-1e4, -1e-300, 0.0, 1e-300, 1e4]))


@st.composite
def given_rows(draw):
    """Bins of widths up to 1,000 apart, logits up to 1e4 of either type, true redshifts."""
    bins = draw(redshift_bins())
    N, dtype = draw(st.integers(1, 4)), draw(st.sampled_from([torch.float32, torch.float64]))
    both = [draw(hnp.arrays(float, (N, len(bins)), elements=EXTREME)) for _ in range(2)]
    logits, other = (torch.from_numpy(x).to(dtype) for x in both)
    logits, other = logits - 2e4, other - 2e4  # so that no one takes them for probabilities
    return bins, logits, other, draw(redshifts(bins, N))


def residuals_of(other):
    return other.unsqueeze(-1).clamp(-1e4, 1e4) * torch.tensor([1.0, -0.5])


LOSSES = {
    "cross_entropy": lambda bins, x, y, z: RedshiftCrossEntropy(bins, 0.1)(x, z),
    "cde_loss": lambda bins, x, y, z: CDELoss(bins)(x, z),
    "crps_loss": lambda bins, x, y, z: CRPSLoss(bins)(x, z),
    "flux_loss": lambda bins, x, y, z: FluxLoss(bins)(x, residuals_of(y)),
    "invariance l2": lambda bins, x, y, z: InvarianceLoss()(x, y),
    "invariance logits": lambda bins, x, y, z: InvarianceLoss(space="logits")(x, y),
    "invariance kl": lambda bins, x, y, z: InvarianceLoss("symmetric_kl")(x, y),
    "invariance cramer": lambda bins, x, y, z: InvarianceLoss("cramer", bins=bins)(x, y),
    "rotation l2": lambda bins, x, y, z: RotationDerivativeLoss(bins=bins)(x, y),
    "rotation kl": lambda bins, x, y, z: RotationDerivativeLoss("symmetric_kl")(x, y),
    "rotation cramer": lambda bins, x, y, z: RotationDerivativeLoss("cramer", bins=bins)(x, y),
}
SCORES = {
    "cde_loss": metrics.cde_loss,
    "crps": metrics.crps,
    # of a redshift at which the density is zero it is infinite, and documented so
    "log_score": lambda p, z, bins: metrics.log_score(0.999 * p + 1e-3 / len(bins), z, bins),
    "brier": metrics.brier,
    "pit": metrics.pit,
    "credibility": lambda p, z, bins: metrics.credibility(p, z, bins, interval="highest_density"),
    "coverage": metrics.coverage,
    "entropy": lambda p, z, bins: metrics.entropy(p, bins),
    "mean": lambda p, z, bins: bins.mean(p),
    "median": lambda p, z, bins: bins.median(p),
    "mode": lambda p, z, bins: bins.mode(p),
    "best": lambda p, z, bins: bins.best(p, 0.1),
    "mad": lambda p, z, bins: metrics.mad(bins.mean(p), z),
}
TARGETS = len(LOSSES) + len(SCORES) + 1


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_finite(name, examples_run):
    @share(TARGETS)
    @given(given_rows())
    def law(drawn):
        examples_run()
        bins, logits, other, z_spec = drawn
        logits.requires_grad_()
        value = LOSSES[name](bins, logits, other, z_spec)
        value.backward()
        assert value.isfinite()
        assert logits.grad.isfinite().all()

    law()


@pytest.mark.parametrize("name", SCORES)
def test_score_is_finite(name, examples_run):
    @share(TARGETS)
    @given(st.data())
    def law(data):
        examples_run()
        bins = data.draw(redshift_bins())
        probs = data.draw(masses(len(bins)))
        value = SCORES[name](probs, data.draw(redshifts(bins, len(probs))), bins)
        assert value.isfinite().all()

    law()


def test_relative_progress_stays_finite_at_any_temperature(examples_run):
    terms = st.floats(0, 1e300)

    @share(TARGETS)
    @given(st.floats(1e-300, 1e300), st.lists(st.tuples(terms, terms), min_size=2, max_size=4))
    def law(temperature, steps):
        examples_run()
        weighting = ReLoBRaLo(["ce", "flux"], temperature=temperature, alpha=0.5)
        for ce, flux in steps:
            both = torch.tensor([ce, flux], dtype=torch.float64)
            weighting(dict(zip(("ce", "flux"), both, strict=True)))
        assert weighting.weights.isfinite().all()

    law()

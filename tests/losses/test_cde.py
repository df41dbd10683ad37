"""The CDE loss against the paper's sum, closed forms and its laws."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import cde_loss as loop
from reference import softmax
from strategies import masses, trained

from photoz_losses import RedshiftBins, cde_loss


@given(trained())
def test_equals_the_papers_integral(case):
    bins, logits, z = case
    rows = zip(logits.tolist(), z.tolist(), strict=True)
    expected = [loop(bins.edges.tolist(), softmax(row), value) for row, value in rows]
    got = cde_loss(logits, z, bins, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_closed_forms_of_a_spike_and_of_a_flat_density():
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    spike = torch.tensor([[99.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(cde_loss(spike, torch.tensor([0.05]), bins), torch.tensor(-10.0))
    torch.testing.assert_close(cde_loss(spike, torch.tensor([0.35]), bins), torch.tensor(10.0))
    flat = torch.zeros(1, 4)
    torch.testing.assert_close(cde_loss(flat, torch.tensor([0.35]), bins), torch.tensor(-2.5))


@given(st.data())
def test_lowest_in_expectation_at_the_true_density(data):
    bins = RedshiftBins(np.cumsum([0.0, 0.1, 0.3, 0.05, 0.2]))
    truth = data.draw(masses(4, batch=1)).squeeze(0)
    other = data.draw(masses(4, batch=1)).squeeze(0)

    def expected(probs):
        logits = (probs + 1e-300).log().expand(4, 4)
        return (truth * cde_loss(logits, bins.centers, bins, reduction="none")).sum()

    gap = ((truth - other).square() / bins.widths).sum()
    torch.testing.assert_close(expected(other) - expected(truth), gap, rtol=1e-9, atol=1e-9)


@given(trained(), st.floats(0.1, 10))
def test_scales_as_one_over_the_unit_of_redshift(case, scale):
    bins, logits, z = case
    wider = RedshiftBins(scale * bins.edges, validate=None)
    at = bins.centers[bins.index(z)]
    torch.testing.assert_close(
        scale * cde_loss(logits, scale * at, wider), cde_loss(logits, at, bins)
    )

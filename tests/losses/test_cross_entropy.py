"""Cross entropy and the penalty on the weights, against loops and torch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import cross_entropy as loop
from strategies import trained

from photoz_losses import L2Penalty, RedshiftBins, cross_entropy, l2_penalty


@given(trained())
def test_equals_the_papers_sum(case):
    bins, logits, z = case
    rows = zip(logits.tolist(), z.tolist(), strict=True)
    expected = [loop(bins.edges.tolist(), row, value) for row, value in rows]
    got = cross_entropy(logits, z, bins, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@given(trained(), st.floats(0, 0.9))
def test_equals_torchs_with_and_without_label_smoothing(case, smoothing):
    bins, logits, z = case
    expected = torch.nn.functional.cross_entropy(
        logits, bins.index(z), label_smoothing=smoothing, reduction="none"
    )
    got = cross_entropy(logits, z, bins, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(got, expected)


def test_l2_is_the_squared_norm_of_all_weights_and_its_gradient_twice_the_weights():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    flat = torch.nn.utils.parameters_to_vector(model.parameters())
    penalty = l2_penalty(model.parameters())
    torch.testing.assert_close(penalty, flat @ flat)
    torch.testing.assert_close(L2Penalty()(model.parameters()), penalty)
    penalty.backward()
    torch.testing.assert_close(model[0].weight.grad, 2 * model[0].weight.detach())


def test_l2_of_half_precision_weights_is_summed_in_float32():
    weights = torch.full((300,), 30.0, dtype=torch.float16)  # the sum overflows float16
    assert l2_penalty([weights]) == 270_000.0


def test_an_exhausted_generator_is_loud():
    parameters = torch.nn.Linear(2, 2).parameters()
    l2_penalty(parameters)
    with pytest.raises(ValueError, match=r"parameters is empty: pass model.parameters\(\) anew"):
        l2_penalty(parameters)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_label_smoothing_outside_its_range_is_refused(smoothing):
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    with pytest.raises(ValueError, match="label_smoothing"):
        cross_entropy(torch.zeros(1, 4), torch.tensor([0.1]), bins, label_smoothing=smoothing)

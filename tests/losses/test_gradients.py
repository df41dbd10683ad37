"""Gradients to log, against a backward of each term."""

import pytest
import torch
from torch import nn

from photoz_losses import gradient_norms


def test_gradient_norms_are_those_of_each_terms_own_backward():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    images = torch.randn(5, 3)

    def terms():
        answer = model(images)
        weights = sum(parameter.square().sum() for parameter in model[2].parameters())
        return {"a": answer.square().mean(), "b": 1e-3 * answer.sum(), "l2": weights}

    values = terms()
    norms = gradient_norms(values, model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, norm in norms.items():
        model.zero_grad()
        terms()[name].backward()
        entries = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in entries]).double()
        assert norm.item() == pytest.approx(flat.square().sum().sqrt().item(), rel=1e-6)
        assert not norm.requires_grad
    model.zero_grad()
    sum(values.values()).backward()  # the graph is still there
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    sum(terms().values()).backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], whole)


def test_gradient_norms_of_frozen_and_unused_parameters_and_of_a_term_that_none_enters():
    used = torch.tensor([3.0, 4.0], dtype=torch.bfloat16, requires_grad=True)
    unused, frozen = torch.ones(2, requires_grad=True), torch.ones(2)
    other = torch.ones(2, requires_grad=True)
    norms = gradient_norms(
        {
            "used": used.float().square().sum(),
            "other": other.sum(),
            "l2 of what is frozen": frozen.sum(),
        },
        [used, unused, frozen],
    )
    assert norms == {"used": 10.0, "other": 0.0, "l2 of what is frozen": 0.0}
    assert {norm.dtype for norm in norms.values()} == {torch.float32}
    assert gradient_norms({}, [used]) == {}


def test_a_gradient_of_zero_is_one():
    """Where the parameters enter, and the term does not change with them."""
    flat = torch.tensor([-1.0, -2.0], requires_grad=True)
    assert gradient_norms({"flat": flat.relu().sum()}, [flat]) == {"flat": 0.0}


def test_a_backward_that_came_first_is_named_beside_torchs_own_words():
    theta = torch.ones(2, requires_grad=True)
    term = theta.square().sum()
    term.backward()
    with pytest.raises(RuntimeError, match=r"before total\.backward") as caught:
        gradient_norms({"l2": term}, [theta])
    assert "second time" in str(caught.value.__cause__)


class _Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("out of memory")


def test_another_error_of_a_backward_stays_what_it_is():
    theta = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        gradient_norms({"failing": _Failing.apply(theta)}, [theta])


def test_gradients_whose_squares_float32_does_not_hold_have_a_norm():
    p = torch.ones(3, requires_grad=True)
    terms = {"large": (p * 1e30).sum(), "small": (p * 1e-30).sum()}
    norms = gradient_norms(terms, [p, p])  # a shared parameter counts once
    torch.testing.assert_close(norms["large"], torch.tensor(3**0.5 * 1e30))
    torch.testing.assert_close(norms["small"], torch.tensor(3**0.5 * 1e-30))
    nowhere = gradient_norms({"nan": p[0] * torch.nan, "inf": p[0] * torch.inf, "0": 0 * p[0]}, [p])
    assert [str(norm.item()) for norm in nowhere.values()] == ["nan", "inf", "0.0"]

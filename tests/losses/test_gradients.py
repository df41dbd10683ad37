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


def test_gradient_norms_of_frozen_and_unused_parameters_and_of_constants():
    used = torch.tensor([3.0, 4.0], dtype=torch.bfloat16, requires_grad=True)
    unused, frozen = torch.ones(2, requires_grad=True), torch.ones(2)
    norms = gradient_norms(
        {"used": used.float().square().sum(), "constant": torch.tensor(2.0)}, [used, unused, frozen]
    )
    assert norms == {"used": 10.0, "constant": 0.0}
    assert {norm.dtype for norm in norms.values()} == {torch.float32}
    assert gradient_norms({"used": used.float().sum()}, [unused]) == {"used": 0.0}

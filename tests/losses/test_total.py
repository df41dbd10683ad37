"""The weighted sum."""

import pytest
import torch
from torch import nn

from photoz_losses import (
    CDELoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    TotalLoss,
    cde_loss,
    cross_entropy,
    flux_loss,
    invariance_loss,
    l2_penalty,
)


@pytest.fixture
def bins():
    return RedshiftBins.uniform(0.0, 0.4, 4)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return {
        "logits": torch.randn(3, 4, generator=generator, requires_grad=True),
        "logits_transformed": torch.randn(3, 4, generator=generator),
        "z_spec": torch.tensor([0.05, 0.2, 0.33]),
        "residual": torch.randn(3, 4, 5, generator=generator),
        "band_weight": torch.ones(3, 5),
    }


def test_total_is_the_weighted_sum_of_the_papers_terms(bins, batch):
    model = nn.Linear(2, 3)
    terms = {
        "ce": (1.0, RedshiftCrossEntropy(bins)),
        "flux": (0.1, FluxLoss(bins)),
        "invariance": (0.2, InvarianceLoss()),
        "cde": (0.3, CDELoss(bins)),
        "l2": (1e-6, L2Penalty()),
    }
    total, values = TotalLoss(terms)(**batch, parameters=model.parameters())
    assert list(values) == list(terms)
    alone = {
        "ce": cross_entropy(batch["logits"], batch["z_spec"], bins),
        "flux": flux_loss(batch["logits"], batch["residual"]),
        "invariance": invariance_loss(batch["logits"], batch["logits_transformed"]),
        "cde": cde_loss(batch["logits"], batch["z_spec"], bins),
        "l2": l2_penalty(model.parameters()),
    }
    for name, value in alone.items():
        torch.testing.assert_close(values[name], value)
    expected = sum(weight * alone[name] for name, (weight, _) in terms.items())
    torch.testing.assert_close(total, expected)


def test_a_weight_of_zero_reports_without_pulling(bins, batch):
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.0, CDELoss(bins))})
    total, values = loss(**batch)
    assert total == values["ce"]
    assert values["cde"] != 0


def test_all_weights_zero_still_has_a_graph(bins, batch):
    total, _ = TotalLoss({"ce": (0.0, RedshiftCrossEntropy(bins))})(**batch)
    total.backward()
    assert total == 0
    assert (batch["logits"].grad == 0).all()


def test_keywords_that_no_term_takes_are_left_alone_but_a_misspelt_one_is_not(bins, batch):
    loss = TotalLoss({"flux": (1.0, FluxLoss(bins))})
    loss(**batch)
    weight = batch.pop("band_weight")
    with pytest.raises(TypeError, match="no term takes 'band_weigth': did you mean 'band_weight'"):
        loss(**batch, band_weigth=weight)
    with pytest.warns(UserWarning, match=r"takes weights, .* could take band_weight") as caught:
        loss(**batch, weights=weight)
    assert caught[0].filename == __file__
    loss(**batch, weights=weight)  # said once


def test_a_missing_keyword_names_the_term_and_the_keyword(bins, batch):
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "flux": (1.0, FluxLoss(bins))})
    del batch["residual"]
    with pytest.raises(TypeError, match="term 'flux' needs the keyword 'residual'"):
        loss(**batch)


def test_a_term_that_is_not_a_scalar_is_refused(bins, batch):
    loss = TotalLoss({"cde": (1.0, CDELoss(bins, reduction="none"))})
    with pytest.raises(ValueError, match=r"term 'cde' gave shape \(3,\)"):
        loss(**batch)


def test_own_terms_join_by_their_keywords(bins, batch):
    class Entropy(nn.Module):
        def forward(self, logits):
            return torch.distributions.Categorical(logits=logits).entropy().mean()

    _, values = TotalLoss({"entropy": (0.5, Entropy())})(**batch)
    assert values["entropy"] > 0


def test_terms_move_with_the_sum_and_add_nothing_to_a_checkpoint(bins):
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "flux": (0.1, FluxLoss(bins))})
    assert not loss.state_dict()
    assert {buffer.device.type for buffer in loss.to("meta").buffers()} == {"meta"}
    assert "ce: 1, flux: 0.1" in repr(loss)

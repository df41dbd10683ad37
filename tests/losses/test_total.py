"""The weighted sum."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
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
    with pytest.raises(TypeError, match=r"term 'flux' needs the keyword 'residual'; got .*, ebv$"):
        loss(**batch, ebv=batch["z_spec"])
    with pytest.raises(TypeError, match=r"keyword 'residual'; .*, residuals: rename residuals$"):
        loss(**batch, residuals=batch["z_spec"])


def test_a_term_that_is_not_a_scalar_is_refused(bins, batch):
    loss = TotalLoss({"cde": (1.0, CDELoss(bins, reduction="none"))})
    with pytest.raises(ValueError, match=r"term 'cde' gave shape \(3,\)"):
        loss(**batch)


def test_a_term_that_gives_no_tensor_is_refused(bins, batch):
    class Sum(nn.Module):
        def forward(self, logits):
            return logits.sum().item()

    with pytest.raises(TypeError, match=r"term 'sum' gave -?[\d.]+: return a tensor"):
        TotalLoss({"sum": (1.0, Sum())})(**batch)


@pytest.mark.parametrize(
    ("name", "weight", "error", "says"),
    [
        (1, 1.0, TypeError, "term 1 must have a str as its name"),
        ("", 1.0, ValueError, "term '' must have another name"),
        ("a.b", 1.0, ValueError, "term 'a.b' must have another name"),
        ("keys", 1.0, ValueError, "term 'keys' must have another name"),
        ("ce", 10**400, ValueError, r"weight of term 'ce' must be a number between -2\*\*62 and"),
    ],
)
def test_a_name_or_a_weight_that_torch_could_not_hold_is_refused(bins, name, weight, error, says):
    with pytest.raises(error, match=says):
        TotalLoss({name: (weight, RedshiftCrossEntropy(bins))})


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


def scheduled(bins, weighting=None):
    """Cross entropy and CRPS on every step, a ramp on the CDE loss, a second view on each third."""
    terms = {
        "ce": (1.0, RedshiftCrossEntropy(bins)),
        "crps": (20.0, CRPSLoss(bins)),
        "cde": (WeightSchedule(0.1, "linear", steps=5), CDELoss(bins)),
        "invariance": (WeightSchedule(0.2, "cosine", steps=7, every=3), InvarianceLoss()),
    }
    return TotalLoss(terms, weighting=weighting)


def inputs(loss, batch, t):
    """The batch of step t, with the second view where it is due."""
    names = ["z_spec", *(["logits_transformed"] if loss.active("invariance") else [])]
    logits = (batch["logits"].detach() * (1 + 0.1 * t)).requires_grad_()
    return {"logits": logits} | {name: batch[name] for name in names}


def test_scheduled_terms_enter_with_the_weight_of_their_step_and_only_when_due(bins, batch):
    loss = scheduled(bins)
    for t in range(10):
        assert loss.active("invariance") == (t % 3 == 0)
        assert loss.active("ce")
        given = inputs(loss, batch, t)
        total, values = loss(**given)
        weights = {"ce": 1.0, "crps": 20.0, "cde": 0.1 * min(t / 5, 1)}
        if t % 3 == 0:
            weights["invariance"] = loss.weights["invariance"].at(t)
        assert loss.current_weights() == pytest.approx(weights, rel=1e-15)
        assert list(values) == list(weights)
        expected = sum(weight * values[name] for name, weight in weights.items())
        torch.testing.assert_close(total, expected)
        loss.step()
    assert loss.weights["ce"] == 1.0
    assert loss.weights["cde"].current() == 0.1


def test_a_term_that_is_not_due_takes_nothing_even_where_its_keywords_come(bins, batch):
    class Never(nn.Module):
        def forward(self, logits_transformed):
            raise AssertionError

    terms = {
        "ce": (1.0, RedshiftCrossEntropy(bins)),
        "never": (WeightSchedule(1.0, every=2), Never()),
    }
    loss = TotalLoss(terms)
    with pytest.raises(TypeError, match="'never' needs the keyword 'logits_transformed'"):
        loss(logits=batch["logits"], z_spec=batch["z_spec"])
    loss.step()
    total, values = loss(**batch)
    assert list(values) == ["ce"]
    assert total == values["ce"]


def test_one_schedule_may_serve_two_terms_and_moves_once(bins, batch):
    ramp = WeightSchedule(1.0, "linear", steps=10)
    loss = TotalLoss({"ce": (ramp, RedshiftCrossEntropy(bins)), "cde": (ramp, CDELoss(bins))})
    loss.step()
    assert loss.current_weights() == {"ce": 0.1, "cde": 0.1}


SCHEMES = {
    "fixed": None,
    "uncertainty": UncertaintyWeights(["crps", "ce"]),
    "relobralo": ReLoBRaLo(["crps", "ce"], alpha=0.7, rho=0.5),
}
every_scheme = pytest.mark.parametrize("weighting", SCHEMES.values(), ids=SCHEMES)


@every_scheme
def test_covered_terms_add_what_the_weighting_makes_of_them(weighting, bins, batch):
    weighting, alone = copy.deepcopy(weighting), copy.deepcopy(weighting)
    loss = scheduled(bins, weighting)
    for t in range(6):
        total, values = loss(**inputs(loss, batch, t))
        expected = sum(
            weight.current() * values[name]
            for name, weight in loss.weights.items()
            if name in values and isinstance(weight, WeightSchedule)
        )
        covered = {"ce": values["ce"], "crps": 20.0 * values["crps"]}
        expected = expected + (sum(covered.values()) if alone is None else alone(covered))
        torch.testing.assert_close(total, expected)
        if alone is not None:
            factors = alone.factors()
            assert loss.current_weights()["ce"] == factors["ce"].item()
            assert loss.current_weights()["crps"] == 20.0 * factors["crps"].item()
        loss.step()


@pytest.mark.parametrize(
    "weighting",
    [
        pytest.param(scheme, marks=() if name == "relobralo" else pytest.mark.slow, id=name)
        for name, scheme in SCHEMES.items()
    ],
)
def test_a_compiled_sum_has_one_graph_for_steps_with_the_term_and_one_for_those_without(
    weighting, bins, batch
):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    plain, twin = (scheduled(bins, copy.deepcopy(weighting)) for _ in range(2))
    compiled = torch.compile(twin, fullgraph=True, backend=counter)
    for t in range(14):  # past both ramps
        given, again = inputs(plain, batch, t), inputs(twin, batch, t)
        expected, values = plain(**given)
        total, terms = compiled(**again)
        assert terms.keys() == values.keys()
        expected.backward()
        total.backward()
        torch.testing.assert_close(total, expected)
        torch.testing.assert_close(again["logits"].grad, given["logits"].grad)
        for one, two in zip(plain.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(two.grad, one.grad)
        plain.step()
        twin.step()
    assert counter.frame_count == 2


@every_scheme
def test_a_run_goes_on_from_its_checkpoint_copy_or_pickle(weighting, bins, batch):
    whole = scheduled(bins, copy.deepcopy(weighting))

    def run(loss, steps):
        totals = []
        for t in steps:
            totals.append(loss(**inputs(loss, batch, t))[0].item())
            loss.step()
        return totals

    expected = run(whole, range(12))
    first, fresh = (scheduled(bins, copy.deepcopy(weighting)) for _ in range(2))
    assert run(first, range(5)) == expected[:5]
    fresh.load_state_dict(first.state_dict())
    for resumed in (fresh, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert all(resumed.weights[name] is part for name, part in resumed.schedules.items())
        assert run(resumed, range(5, 12)) == expected[5:]


def test_a_checkpoint_of_a_schedule_holds_its_step_and_no_more(bins):
    loss = scheduled(bins)
    loss.step()
    names = ["schedules.cde._extra_state", "schedules.invariance._extra_state"]
    assert loss.state_dict() == dict.fromkeys(names, 1)
    assert loss.bfloat16().weights["cde"].value.dtype == torch.float64
    text = repr(scheduled(bins, ReLoBRaLo(["ce", "crps"])))
    assert "ce: 1 x ReLoBRaLo, crps: 20 x ReLoBRaLo, cde: (0 to 0.1 linear over 5 steps" in text


def test_a_weighting_of_ones_own_needs_names_and_a_forward(bins, batch):
    class Root(nn.Module):
        names = ("ce", "crps")

        def forward(self, terms):
            return (terms["ce"] * terms["crps"]).sqrt()

    total, values = TotalLoss(
        {"ce": (1.0, RedshiftCrossEntropy(bins)), "crps": (2.0, CRPSLoss(bins))}, weighting=Root()
    )(**batch)
    torch.testing.assert_close(total, (2 * values["ce"] * values["crps"]).sqrt())
    with pytest.raises(TypeError, match=r"weighting must have factors\(\), .* got Root without"):
        TotalLoss(
            {name: (1.0, RedshiftCrossEntropy(bins)) for name in Root.names}, weighting=Root()
        ).current_weights()


def calls_until_warned(loss, calls, step_every=None):
    """Number of the first of so many training calls that warns, or None."""
    for call in range(1, calls + 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss(x=torch.ones(()))
        if caught:
            assert "without step()" in str(caught[0].message)
            assert caught[0].filename == __file__
            return call
        if step_every and call % step_every == 0:
            loss.step()
    return None


class Given(torch.nn.Module):
    """A term that is what it is given."""

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("weight", "step_every", "training", "first"),
    [
        (WeightSchedule(0.1, "linear", steps=10), None, True, 1000),
        (WeightSchedule(0.1, "linear", steps=2000), 900, True, None),
        (WeightSchedule(0.1, "linear", steps=10), None, False, None),
        (WeightSchedule(0.1), None, True, None),
        (0.1, None, True, None),
    ],
    ids=["forgotten", "accumulated gradients", "eval", "constant", "no schedule"],
)
def test_a_forgotten_step_is_told_once(weight, step_every, training, first):
    loss = TotalLoss({"x": (weight, Given())}).train(training)
    assert calls_until_warned(loss, 1100, step_every) == first
    assert calls_until_warned(loss, 100, step_every) is None


class _Given(nn.Module):
    """A term that is handed its own value, by the name that it has."""

    def forward(self, value):
        return value


class _Other(nn.Module):
    def forward(self, other):
        return other


def given(first: float, second: float, weights=(1.0, 1.0), weighting=None, dtype=torch.float32):
    """Total of two terms with these values."""
    pairs = {"first": (weights[0], _Given()), "second": (weights[1], _Other())}
    values = [torch.tensor(value, dtype=dtype) for value in (first, second)]
    return TotalLoss(pairs, weighting=weighting)(value=values[0], other=values[1])[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_term_in_half_precision_is_not_lost_beside_a_large_one(dtype):
    total = given(1.0, 0.001, dtype=dtype)
    assert total.dtype == torch.float32
    expected = 1 + torch.tensor(0.001, dtype=dtype).float()
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    assert given(60000.0, 60000.0, dtype=torch.float16) == 120_000


@pytest.mark.parametrize("weighting", [None, ReLoBRaLo(["first", "second"])])
def test_a_total_that_overflows_is_refused_whoever_weighs(weighting):
    with pytest.raises(ValueError, match=r"first and second must give a loss that torch\.float32"):
        given(1e9, 1e10, (1e30, 1e30), weighting)


def test_terms_that_overflow_to_both_sides_are_no_nan():
    with pytest.raises(ValueError, match="first and second must give a loss"):
        given(1e10, -1e10, (1e30, 1e30))


class InHalf(torch.nn.Module):
    """A weighting of somebody's own, which overflows by itself."""

    names = ("first", "second")

    def forward(self, terms):
        return sum(terms.values()).half() * 1e4


def test_a_weighting_that_overflows_is_named():
    with pytest.raises(ValueError, match=r"weighting gave inf in torch\.float16 .* in float32"):
        given(10.0, 20.0, weighting=InHalf())
    with pytest.raises(ValueError, match=r"weighting gave inf .* first, second: .* factors"):
        given(10.0, 20.0, weighting=Gives(torch.tensor(torch.inf)))
    own = Gives(torch.tensor(torch.inf))
    own.s = torch.nn.Parameter(torch.tensor(-100.0))
    with pytest.raises(ValueError, match=r"for finite first, second, weighting\.s of -100: have"):
        given(10.0, 20.0, weighting=own)
    with pytest.raises(ValueError, match="first and second must give a loss"):  # no weights' fault
        given(3e38, 3e38, weighting=Gives(torch.tensor(torch.inf)))


def test_a_weighting_is_not_blamed_for_what_another_term_did():
    pairs = {name: (1.0, _Given()) for name in InHalf.names} | {"other": (1e30, _Other())}
    with pytest.raises(ValueError, match="other must give a loss"):
        TotalLoss(pairs, weighting=InHalf())(value=torch.tensor(0.1), other=torch.tensor(1e10))


@pytest.mark.parametrize("names", ["ab", {"a", "b"}, iter(["a", "b"]), ["a", 1]])
def test_names_of_a_weighting_are_a_sequence_of_text(names):
    weighting = Gives(torch.tensor(1.0))
    weighting.names = names
    with pytest.raises(TypeError, match=r"names.* must be a sequence of str, got "):
        TotalLoss({"a": (1.0, _Given()), "b": (1.0, _Given())}, weighting=weighting)


class Gives(torch.nn.Module):
    names = ("first", "second")

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, terms):
        return self.value


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (torch.ones(1), ValueError, r"weighting gave shape \(1,\), a sum needs scalars"),
        (1.0, TypeError, "weighting gave 1.0: return a tensor"),
        (None, TypeError, "weighting gave None: return a tensor"),
        (torch.tensor(1j), TypeError, "weighting gave torch.complex64: return a tensor of a real"),
    ],
)
def test_what_a_weighting_gives_is_a_scalar(value, error, says):
    with pytest.raises(error, match=says):
        given(1.0, 2.0, weighting=Gives(value))


def test_a_complex_term_is_refused():
    with pytest.raises(TypeError, match=r"term 'first' gave torch\.complex64: return a tensor"):
        given(1j, 2.0, dtype=torch.complex64)


def test_no_weight_at_all_gives_zero_whatever_the_term():
    assert given(float("inf"), 1.0, (0.0, 0.0)) == 0


@pytest.mark.parametrize("weight", [np.float32(0.5), np.int64(2)])
def test_a_weight_may_be_a_number_of_numpy(weight):
    assert given(4.0, 1.0, (weight, 0.0)) == 4 * float(weight)


def test_a_learned_weight_that_overflows_is_named():
    weighting = UncertaintyWeights(["first", "second"])
    torch.nn.init.constant_(weighting.log_variances, -100.0)
    with pytest.raises(ValueError, match=r"second and weighting\.log_variances must give .* -100:"):
        given(1.0, 2.0, weighting=weighting)


def test_a_term_that_does_not_enter_hides_no_overflow_and_one_that_does_stays_visible():
    with pytest.raises(ValueError, match="first must give a loss"):
        given(1e10, torch.nan, (1e30, 0.0))
    assert given(1e10, torch.nan, (1e30, 1.0)).isnan()
    assert given(torch.inf, 1.0).isinf()


class _Factor(nn.Module):
    """A weighting of one's own, whose factor is a buffer."""

    names = ("first",)

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, terms):
        return self.factor * terms["first"]

    def factors(self):
        return {"first": self.factor}


@pytest.mark.parametrize("factor", [torch.nan, torch.inf])
def test_a_weighting_of_ones_own_that_is_not_finite_stays_visible(factor):
    assert not given(1.0, 1.0, weighting=_Factor(factor)).isfinite()


def test_a_loss_of_ones_own_may_update_and_compute():
    class Teacher(_Given):
        def update(self): ...

        def compute(self): ...

    total, _ = TotalLoss({"own": (2.0, Teacher())})(value=torch.tensor(1.5))
    assert total == 3

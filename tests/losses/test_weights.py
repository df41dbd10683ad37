"""Schedules, learned weights, relative balancing, each against its witness."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounterWithBackend

from photoz_losses import ReLoBRaLo, UncertaintyWeights, WeightSchedule

NAMES = ["ce", "flux", "crps"]


def through_a_file(state):
    """A checkpoint as it is read back: with nothing but tensors and plain containers."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def scalars(values, dtype=torch.float64):
    return {name: torch.tensor(x, dtype=dtype) for name, x in zip(NAMES, values, strict=False)}


# WeightSchedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.3] * 6),
        ({"kind": "linear", "steps": 4}, [0, 0.075, 0.15, 0.225, 0.3, 0.3]),
        ({"kind": "linear", "steps": 2, "start": 0.7}, [0.7, 0.5, 0.3, 0.3, 0.3, 0.3]),
        ({"kind": "linear", "steps": 1}, [0, 0.3, 0.3, 0.3, 0.3, 0.3]),
        (
            {"kind": "cosine", "steps": 4},
            [0, 0.3 * (0.5 - 8**-0.5), 0.15, 0.3 * (0.5 + 8**-0.5), 0.3, 0.3],
        ),
        ({"kind": "cosine", "steps": 3, "start": 0.1}, [0.1, 0.15, 0.25, 0.3, 0.3, 0.3]),
    ],
)
def test_a_ramp_is_what_its_formula_says(options, expected):
    schedule = WeightSchedule(0.3, **options)
    seen = []
    for _ in expected:
        seen.append(schedule.value.item())
        assert schedule.current() == schedule.at(len(seen) - 1) == seen[-1]
        schedule.step()
    assert seen == pytest.approx(expected, rel=1e-15, abs=1e-17)
    assert seen[-1] == 0.3  # exactly, once the ramp is over


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_term_is_due_on_each_kth_step_with_its_weight_as_stated(every):
    schedule = WeightSchedule(0.5, every=every)
    due = []
    for _ in range(7):
        due.append(schedule.active)
        assert schedule.value == 0.5
        schedule.step()
    assert due == [t % every == 0 for t in range(7)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_scheduled_term_is_at_least_single_and_the_weight_keeps_its_digits(dtype):
    schedule = WeightSchedule(0.1, "linear", steps=1000).to(dtype)
    for _ in range(301):  # 301 is no bfloat16
        schedule.step()
    term = torch.tensor([2.0, -3.0], dtype=dtype, requires_grad=True)
    product = schedule(term)
    assert product.dtype == torch.promote_types(dtype, torch.float32)
    assert schedule.value.item() == pytest.approx(0.0301, rel=1e-15)
    torch.testing.assert_close(product, (0.0301 * term.double()).to(product.dtype))
    schedule.step()  # before the backward
    product.sum().backward()
    torch.testing.assert_close(term.grad, torch.full((2,), 0.0301, dtype=dtype))


def test_a_schedule_goes_on_from_its_checkpoint():
    options = {"kind": "cosine", "steps": 50, "every": 4}
    one, two = WeightSchedule(0.1, **options), WeightSchedule(0.1, **options)
    for _ in range(13):
        one.step()
    two.load_state_dict(through_a_file(one.state_dict()))
    for twin in (two, copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        reached = WeightSchedule(0.1, **options)
        reached.load_state_dict(one.state_dict())
        for _ in range(40):
            assert (twin.value, twin.active) == (reached.value, reached.active)
            twin.step(), reached.step()
    assert one.current() == two.at(13) > 0
    assert list(one.state_dict()) == ["_extra_state"]


def test_a_schedule_shows_itself():
    assert repr(WeightSchedule(0.1)) == "WeightSchedule(0.1, at step 0)"
    ramp = WeightSchedule(0.1, "linear", steps=500, every=4)
    ramp.step()
    assert repr(ramp) == "WeightSchedule(0 to 0.1 linear over 500 steps, every 4, at step 1)"


# UncertaintyWeights ------------------------------------------------------------------------------


def test_uncertainty_weights_are_their_equation_and_its_derivatives():
    weighting = UncertaintyWeights(NAMES).double()
    s = [0.3, -1.2, 2.0]
    weighting.log_variances.data.copy_(torch.tensor(s, dtype=torch.float64))
    L = [4.1, 0.2, 0.03]
    terms = {name: value.requires_grad_() for name, value in scalars(L).items()}
    total = weighting(terms)
    total.backward()
    assert total.item() == pytest.approx(
        sum(0.5 * math.exp(-a) * b + 0.5 * a for a, b in zip(s, L, strict=True)), rel=1e-14
    )
    for j, name in enumerate(NAMES):
        factor = 0.5 * math.exp(-s[j])
        assert terms[name].grad.item() == pytest.approx(factor, rel=1e-14)
        assert weighting.factors()[name].item() == pytest.approx(factor, rel=1e-14)
        slope = 0.5 - 0.5 * math.exp(-s[j]) * L[j]
        assert weighting.log_variances.grad[j].item() == pytest.approx(slope, rel=1e-13)
    assert not any(factor.requires_grad for factor in weighting.factors().values())


def test_uncertainty_weights_agree_with_torchjd():
    other = pytest.importorskip("torchjd.scalarization", reason="a witness, of the examples").UW(3)
    ours = UncertaintyWeights(NAMES)
    for weights in (ours.log_variances, other.log_var):
        weights.data.copy_(torch.tensor([0.5, -0.5, 1.0]))
    L = [1.5, 2.0, 0.1]
    one, two = ours(scalars(L, torch.float32)), other(torch.tensor(L))
    one.backward(), two.backward()
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(ours.log_variances.grad, other.log_var.grad)


def test_log_variances_go_to_the_logarithm_of_the_terms():
    weighting = UncertaintyWeights(NAMES)
    optimizer = torch.optim.LBFGS(weighting.parameters(), lr=0.5, max_iter=200)
    terms = scalars([4.0, 0.1, 0.02], torch.float32)

    def closure():
        optimizer.zero_grad()
        total = weighting(terms)
        total.backward()
        return total

    optimizer.step(closure)
    expected = torch.tensor([4.0, 0.1, 0.02]).log()
    torch.testing.assert_close(weighting.log_variances.data, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weighting(terms).data, 0.5 * (1 + expected).sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_uncertainty_weights_in_half_precision_are_summed_in_single(dtype):
    total = UncertaintyWeights(NAMES).to(dtype)(scalars([4.0, 0.5, 0.25], dtype))
    assert total.dtype == torch.float32
    assert total.item() == 0.5 * 4.75


# ReLoBRaLo ---------------------------------------------------------------------------------------


class Slow:
    """The two equations as loops over Python numbers."""

    def __init__(self, m, alpha, temperature, rho, seed=0):
        self.alpha, self.temperature, self.rho = alpha, temperature, rho
        self.weights, self.first, self.previous, self.state = [1.0] * m, None, None, 1 + seed

    def balance(self, now, then):
        exponents = [math.exp(a / (self.temperature * b)) for a, b in zip(now, then, strict=True)]
        return [len(now) * e / sum(exponents) for e in exponents]

    def step(self, now):
        self.state = 48271 * self.state % 2147483647
        keep = 1.0 if self.state / 2147483647 < self.rho else 0.0
        if self.first is None:  # the weights start at 1
            self.first = now
        else:
            start, last = self.balance(now, self.first), self.balance(now, self.previous)
            for j, weight in enumerate(self.weights):
                history = keep * weight + (1 - keep) * start[j]
                self.weights[j] = self.alpha * history + (1 - self.alpha) * last[j]
        self.previous = now
        return sum(w * x for w, x in zip(self.weights, now, strict=True))


def descent(steps=60):
    """Three terms that fall at different rates, with noise."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(steps, 3, generator=generator, dtype=torch.float64)
    t = torch.arange(steps, dtype=torch.float64)
    falls = torch.stack([5 * (-t / 30).exp(), 0.2 / (1 + t / 5), 0.03 + 0 * t], -1)
    return (falls * (1 + 0.3 * noise)).tolist()


@pytest.mark.parametrize(
    ("alpha", "temperature", "rho"),
    [(0.999, 1.0, 0.999), (0.9, 0.1, 0.5), (0.0, 2.0, 0.3), (1.0, 1.0, 0.8), (0.5, 1e3, 0.0)],
)
def test_relobralo_is_its_equations_written_as_a_loop(alpha, temperature, rho):
    options = {"alpha": alpha, "temperature": temperature, "rho": rho}
    fast, slow = ReLoBRaLo(NAMES, **options), Slow(3, **options)
    seen = set()
    for values in descent():
        total = fast(scalars(values))
        assert total.item() == pytest.approx(slow.step(values), rel=1e-12)
        assert fast.weights.tolist() == pytest.approx(slow.weights, rel=1e-12)
        assert list(fast.factors()) == NAMES
        seen.add(tuple(fast.weights.tolist()))
    assert len(seen) > 40 or (alpha, rho) == (1.0, 0.8)


def test_the_draws_are_those_of_the_c_plus_plus_standard():
    """Its 10,000th number of `minstd_rand` is stated there, in [rand.predef]."""
    weighting = ReLoBRaLo(["a", "b"])
    terms = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    for _ in range(100):
        weighting(terms)
    assert weighting.draw == pow(48271, 100, 2**31 - 1)
    weighting.draw.fill_(pow(48271, 9999, 2**31 - 1))
    weighting(terms)
    assert weighting.draw == 399268537


def test_the_share_of_looks_back_is_one_minus_rho():
    weighting = ReLoBRaLo(["a", "b"], alpha=1.0, rho=0.7, seed=5)
    looks = 0
    for t in range(2000):
        weighting.weights.copy_(torch.tensor([0.5, 1.5]))  # which a look back overwrites
        weighting({"a": torch.tensor(1.0 + t), "b": torch.tensor(1.0)})
        looks += weighting.weights[0].item() != 0.5
    assert abs(looks / 2000 - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5


@given(st.lists(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3), min_size=1, max_size=8))
def test_weights_sum_to_their_number_and_know_no_units(steps):
    options = {"alpha": 0.6, "rho": 0.5}
    one, two = ReLoBRaLo(NAMES, **options), ReLoBRaLo(NAMES, **options)
    for values in steps:
        one(scalars(values))
        two(scalars([x * scale for x, scale in zip(values, (2.0, 64.0, 0.125), strict=True)]))
        assert one.weights.sum().item() == pytest.approx(3, rel=1e-12)
        assert (one.weights >= 0).all()
        torch.testing.assert_close(one.weights, two.weights)


def test_a_run_goes_on_from_its_checkpoint_with_the_same_draws():
    values = descent(80)
    whole, first = (ReLoBRaLo(NAMES, alpha=0.9, rho=0.5) for _ in range(2))
    expected = [whole(scalars(x)).item() for x in values]
    seen = [first(scalars(x)).item() for x in values[:31]]
    second = ReLoBRaLo(NAMES, alpha=0.9, rho=0.5, seed=99)
    second.load_state_dict(through_a_file(first.state_dict()))
    seen += [second(scalars(x)).item() for x in values[31:]]
    assert seen == expected
    for twin in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert twin(scalars(values[31])).item() == expected[31]


def test_weights_stand_still_in_evaluation_and_carry_no_gradient():
    weighting = ReLoBRaLo(NAMES, alpha=0.5)
    for values in descent(5):
        weighting(scalars(values))
    before = copy.deepcopy(weighting.state_dict())
    terms = {name: x.requires_grad_() for name, x in scalars([9.0, 9.0, 9.0]).items()}
    weighting.eval()(terms).backward()
    assert [x.grad.item() for x in terms.values()] == before["weights"].tolist()
    for name, value in weighting.state_dict().items():
        assert torch.equal(value, before[name]), name
    terms = {name: x.requires_grad_() for name, x in scalars([4.0, 0.1, 0.03]).items()}
    totals = [weighting.train()(terms) for _ in range(2)]  # two micro-batches, then one backward
    expected = [
        torch.autograd.grad(total, list(terms.values()), retain_graph=True) for total in totals
    ]
    assert [x.item() for x in expected[1]] == weighting.weights.tolist()
    assert not any(parameter.requires_grad for parameter in weighting.buffers())


def test_a_zero_is_no_known_progress_and_a_nan_moves_nothing():
    weighting = ReLoBRaLo(["a", "b"], alpha=0.0, rho=0.0)
    for a, b in ((0.0, 4.0), (3.0, 4.0)):  # an invariance term of a network that starts flat
        weighting({"a": torch.tensor(a), "b": torch.tensor(b)})
        torch.testing.assert_close(weighting.weights, torch.ones(2, dtype=torch.float64))
    assert weighting.first.tolist() == [3.0, 4.0]
    weighting({"a": torch.tensor(1.5), "b": torch.tensor(4.0)})
    expected = 2 * torch.tensor([0.5, 1.0], dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(weighting.weights, expected)
    for bad in (torch.nan, torch.inf):
        total = weighting({"a": torch.tensor(bad), "b": torch.tensor(1.0)})
        assert not total.isfinite()
        torch.testing.assert_close(weighting.weights, expected)
        assert weighting.previous.tolist() == [1.5, 4.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_cast_rounds_no_state(dtype):
    exact, cast = ReLoBRaLo(NAMES, rho=0.5), ReLoBRaLo(NAMES, rho=0.5).to(dtype)
    for values in descent(20):
        total = exact(scalars(values, torch.float32))
        assert torch.equal(cast(scalars(values, torch.float32)), total)
    for name, value in exact.state_dict().items():
        assert torch.equal(cast.state_dict()[name], value)
    assert total.dtype == torch.float32


# Both --------------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("scheme", [UncertaintyWeights, ReLoBRaLo])


@BOTH
def test_a_negative_term_is_refused_where_looking_is_free_and_poisons_elsewhere(scheme):
    terms = {name: x.requires_grad_() for name, x in scalars([2.0, -1.0, 3.0]).items()}
    weighting = scheme(NAMES)
    with pytest.raises(ValueError, match=r"'flux' adds -1, .* leave it out of names"):
        weighting(terms)
    before = copy.deepcopy(weighting.state_dict())
    total = torch.compile(weighting, fullgraph=True, backend="eager")(terms)
    total.backward()
    assert total.isnan()
    assert terms["flux"].grad.isnan()
    for name, value in weighting.state_dict().items():
        assert torch.equal(value, before[name]) or name == "draw"


@BOTH
def test_a_compiled_scheme_is_compiled_once_and_says_the_same(scheme):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    plain = scheme(NAMES, alpha=0.9, rho=0.5) if scheme is ReLoBRaLo else scheme(NAMES)
    twin = copy.deepcopy(plain)
    compiled = torch.compile(twin, fullgraph=True, backend=counter)
    for values in descent(12):
        terms = scalars(values, torch.float32)
        torch.testing.assert_close(compiled(terms), plain(terms))
    assert counter.frame_count == 1
    torch.testing.assert_close(twin.factors(), plain.factors())


@BOTH
def test_a_scheme_shows_what_it_covers(scheme):
    assert repr(scheme(["ce", "flux"])).startswith(f"{scheme.__name__}(ce, flux")


@pytest.mark.parametrize("scheme", [UncertaintyWeights, ReLoBRaLo])
def test_weights_are_loaded_for_the_same_names_in_the_same_order(scheme):
    saved = scheme(["ce", "flux"]).state_dict()
    scheme(["ce", "flux"]).load_state_dict(through_a_file(saved))
    for names in (["flux", "ce"], ["ce", "crps"]):
        with pytest.raises(ValueError, match=r"same names .* got \['ce', 'flux'\] for "):
            scheme(names).load_state_dict(saved)
    with pytest.raises(TypeError, match="state must be a vector, got list"):
        scheme(["ce", "flux"]).set_extra_state(["ce", "flux"])
    for damaged in (torch.tensor([300, -1]), torch.tensor([torch.nan])):
        with pytest.raises(ValueError, match="state must be of the same names"):
            scheme(["ce", "flux"]).set_extra_state(damaged)


@pytest.mark.parametrize("scheme", [UncertaintyWeights, ReLoBRaLo])
def test_a_state_of_other_names_is_refused_before_any_number_is_copied(scheme):
    saved = scheme(["ce", "flux"]).state_dict()
    saved |= {name: value + 1 for name, value in saved.items() if name != "_extra_state"}
    other = scheme(["flux", "ce"])
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="same names"):
        other.load_state_dict(saved)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("scheme", [UncertaintyWeights, ReLoBRaLo])
def test_states_of_before_of_other_types_and_of_other_devices_are_loaded(scheme):
    saved = scheme(["ce", "flux"]).state_dict()
    scheme(["ce", "flux"]).load_state_dict({name: value.half() for name, value in saved.items()})
    del saved["_extra_state"]
    scheme(["ce", "flux"]).load_state_dict(saved)
    with torch.device("meta"):
        weighting = scheme(["ce", "flux"])
        state = weighting.state_dict()
    assert state["_extra_state"].device.type == "cpu"
    weighting.load_state_dict(scheme(["ce", "flux"]).state_dict(), assign=True)
    assert not any(value.is_meta for value in weighting.state_dict().values())
    scheme(["ce", "flux"]).load_state_dict(
        {n: value.to("meta") for n, value in state.items()}, assign=True
    )


def test_a_term_may_have_the_name_of_a_parameter():
    weighting = UncertaintyWeights(["log_variances", "b"])
    assert weighting({"log_variances": torch.tensor(1.0), "b": torch.tensor(2.0)}) == 1.5


@pytest.mark.parametrize("scheme", [UncertaintyWeights, ReLoBRaLo])
def test_terms_in_half_precision_are_weighed_in_single(scheme):
    terms = {name: torch.tensor(6e4, dtype=torch.float16) for name in ("ce", "flux")}
    total = scheme(list(terms))(terms)
    assert total.dtype == torch.float32
    assert total == scheme(list(terms))({name: term.float() for name, term in terms.items()})
    assert WeightSchedule(1e6)(terms["ce"]) == 1e6 * terms["ce"].float()


def test_a_learned_weight_that_overflows_is_refused():
    weighting = UncertaintyWeights(["ce"])
    torch.nn.init.constant_(weighting.log_variances, -100.0)
    with pytest.raises(
        ValueError, match=r"ce and weighting\.log_variances must give .* got 2 and -100"
    ):
        weighting({"ce": torch.tensor(2.0)})

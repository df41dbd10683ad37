"""Derivatives: right to rounding, and finite wherever the network may go."""

from functools import partial

import pytest
import torch
from contract.inputs import NETWORK, batch
from contract.laws import (
    PROMISED,
    arguments,
    function_of,
    law,
    leaves,
    module_of,
    named,
    run,
    unreduced,
)
from contract.surface import SURFACE
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import logits as drawn_logits

GIVEN = (
    "z_spec",
    "weight",
    "weights",
    "ivar",
    "by",
    "rows",
)  # what no network makes: no gradient is asked for
AT = torch.arange(4), torch.tensor([0, 1, 3, 4])  # where the logits of a galaxy are largest


def differentiable(entry, galaxies: int = 2) -> list[torch.Tensor]:
    values = batch(galaxies)
    return [values[name].clone().requires_grad_(name not in GIVEN) for name in entry.inputs]


def differentiated(entry, **options):
    """The function of an entry, but a metric itself."""
    if entry.kind == "metric":
        return lambda *values: run(entry, module_of(entry), list(values))
    return partial(function_of(entry), **options)


@law(*PROMISED)
def test_derivatives(entry):
    function = differentiated(entry, **({"reduction": "mean"} if entry.reduces else {}))
    assert any(y.requires_grad for y in leaves(function(*differentiable(entry))))
    assert torch.autograd.gradcheck(lambda *x: tuple(leaves(function(*x))), differentiable(entry))


@law(*PROMISED)
def test_second_derivatives(entry):
    function, (first, *others) = differentiated(entry), differentiable(entry)
    others = [x.detach() for x in others]

    def smooth(x):  # what a step or a constant leaves is not differentiable twice
        return tuple(y for y in leaves(function(x, *others)) if y.requires_grad)

    assert smooth(first)
    assert torch.autograd.gradgradcheck(smooth, (first,))


@law(*PROMISED)
def test_keeps_no_graph(entry):
    values = [x.requires_grad_(x.is_floating_point()) for x in arguments(entry)]
    assert not any(part.requires_grad for part in leaves(unreduced(entry, values)))


@law(*PROMISED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_saturated_values_stay_finite(entry, dtype, size):
    """Logits of ±1e4, masses that are 0 or 1 to the bit, true redshifts at the grid's two ends.

    The logits of another view are sure of other bins; their derivative is as large.
    """
    values = dict(zip(entry.inputs, arguments(entry), strict=True))
    extreme = torch.full((4, 5), -size, dtype=dtype)
    extreme[AT] = size
    saturated = {
        "logits": extreme,
        "other": extreme.roll(1, -1),
        "derivative": extreme.flip(-1),
        "probs": extreme.float().softmax(-1).to(dtype),
    }
    values |= {name: saturated[name] for name in saturated.keys() & values.keys()}
    if "z_spec" in values:
        values["z_spec"] = torch.tensor([0.0, 0.4, 0.1, 0.2])
    if "pit_values" in values:
        values["pit_values"] = torch.tensor([0.0, 1.0, 0.5, 1e-9]).to(dtype)
    first = values[entry.inputs[0]] = values[entry.inputs[0]].detach().requires_grad_()
    half = dtype if dtype != torch.float32 else torch.bfloat16
    with torch.autocast("cpu", half, enabled=dtype == half):
        result = named(run(entry, module_of(entry), list(values.values())))
    for name, part in result.items():
        if name in entry.unknown:
            assert part.isnan().all(), name
        elif name in entry.infinite:
            assert not part.isnan().any(), name
        else:
            assert part.isfinite().all(), name
    graph = {name: part for name, part in result.items() if part.requires_grad}
    if graph.keys() - entry.infinite:
        parts = [part.sum() for name, part in graph.items() if name not in entry.infinite]
        torch.stack(parts).double().sum().backward()
        assert first.grad.isfinite().all()
    assert graph or entry.kind in ("statistic", "metric") or entry.name.startswith("coverage")


@pytest.mark.parametrize(
    ("entry", "name"),
    [(x, name) for x in SURFACE for name in sorted(x.infinite)],
    ids=lambda x: str(x),
)
def test_what_may_be_infinite_is(entry, name):
    values = dict(zip(entry.inputs, arguments(entry), strict=True))
    if "pit_values" in values:
        values["pit_values"] = torch.tensor([0.0, 1.0, 0.5, 0.1])
    else:
        values |= {"probs": torch.eye(5)[:4], "z_spec": torch.tensor([0.39, 0.01, 0.1, 0.2])}
    result = named(run(entry, module_of(entry), [values[key] for key in entry.inputs]))
    assert result[name].isinf().any()


@law("loss")
@given(data=st.data())
@settings(max_examples=15)
def test_any_logits_give_finite_values_and_gradients(entry, data):
    _, *others = arguments(entry)
    logits = data.draw(drawn_logits(5, batch=4, size=1e4)).requires_grad_()
    value = function_of(entry)(logits, *others)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@law("loss")
def test_a_step_on_the_meta_device_has_a_backward(entry):
    values = arguments(entry)
    module = module_of(entry).to("meta")
    logits, *others = (x.to("meta") for x in values)
    logits.requires_grad_()
    module(logits, *others).backward()
    assert logits.grad.shape == (4, 5)


@law("photometry")
def test_photometry_has_a_backward_on_meta(entry):
    values = dict(zip(entry.inputs, arguments(entry), strict=True))
    values = {name: x.to("meta") for name, x in values.items()}
    wanted = [name for name in ("spectrum", "z_spec") if name in values]
    for name in wanted:
        values[name].requires_grad_()
    results = leaves(module_of(entry).to("meta")(*values.values()))
    sum(part.sum() for part in results if part.requires_grad).backward()
    for name in wanted:
        assert values[name].grad.shape == values[name].shape


@law(*PROMISED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_changes_nothing(entry, dtype):
    values = arguments(entry, dtype=torch.float32)
    expected = leaves(unreduced(entry, values))
    with torch.autocast("cpu", dtype=dtype):
        actual = leaves(unreduced(entry, values))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@law(*PROMISED)
@pytest.mark.parametrize(
    "given", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
def test_any_type_gives_at_least_float32(entry, given):
    """float64 is kept, half precision becomes float32; samples are counted in float64."""
    values = [
        x.to(given) if name in NETWORK else x
        for name, x in zip(entry.inputs, arguments(entry), strict=True)
    ]
    exact = [x.double() if x.is_floating_point() else x for x in values]
    if "probs" in entry.inputs:  # a row is divided by its sum, in the type of the row
        place = entry.inputs.index("probs")
        wide = values[place].to(torch.promote_types(given, torch.float32))
        exact[place] = (wide / wide.sum(-1, keepdim=True)).double()
    expected = named(unreduced(entry, exact))
    actual = named(unreduced(entry, values))
    for (name, one), other in zip(actual.items(), expected.values(), strict=True):
        if one.is_floating_point():
            kept = torch.promote_types(given, torch.float32)
            assert one.dtype == (torch.float64 if is_counted(entry, name) else kept), name
        torch.testing.assert_close(
            one.double(), other.double(), rtol=2e-5, atol=2e-6, equal_nan=True
        )


def is_counted(entry, name: str) -> bool:
    """Whether a number is made of counts or of a sample, in float64 whatever came in."""
    by_name = entry.name.startswith(("coverage", "credibility")) or name.startswith("credibility")
    return entry.kind in ("statistic", "metric") or by_name

"""Graphs: torch.compile, torch.func and torch.export take every body whole, without a warning."""

import copy
import warnings
from contextlib import contextmanager

import pytest
import torch
from contract.laws import (
    PROMISED,
    arguments,
    assert_same,
    backward,
    is_class,
    law,
    leaves,
    module_of,
    of_option,
    run,
)
from contract.surface import excuse

WITH_INDUCTOR = ("FluxLoss",)  # the rest of them: -m slow


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    torch.compiler.reset()
    # Dynamo times the guards of every graph, for its own log, and flushes the caches before it
    timing = "torch._dynamo.guards.profile_guard_manager"
    monkeypatch.setattr(timing, lambda *_: 0.0, raising=False)


@contextmanager
def no_warnings():
    """Dynamo swallows what the filters raise: what was recorded has to be nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # torch's own rule for vmap expands what is looked for
        warnings.filterwarnings("ignore", r"torch.searchsorted\(\): input value tensor is non")
        yield
    assert not caught, [str(warning.message) for warning in caught]


def skip_what_dynamo_cannot(entry):
    if torch.__version__ >= (2, 5):
        return
    if entry.name == "standard_error":
        pytest.skip("Dynamo of torch 2.4 does not trace inspect.Signature.bind")
    if entry.kind == "metric":
        pytest.skip("Dynamo of torch 2.4 does not trace torchmetrics")


def compiled_is_eager(entry, backend: str) -> None:
    """Values, and the gradient of the first argument where they have one."""
    given, *others = arguments(entry, dtype=torch.float32)
    both = []
    for compiled in (False, True):
        torch.manual_seed(0)
        module = module_of(entry)
        call = torch.compile(module, fullgraph=True, backend=backend) if compiled else module
        first = given.clone().requires_grad_()
        values = [first, *others]
        by_name = dict(zip(entry.inputs, values, strict=True)) if is_class(module) else {}
        result = leaves(call(**by_name) if by_name else call(*values))
        backward(result)
        both.append((result, first.grad))
    (expected, slope), (actual, compiled_slope) = both
    assert_same(actual, expected, rtol=1e-5, atol=1e-6)
    assert (slope is None) == (compiled_slope is None)
    if slope is not None:
        torch.testing.assert_close(compiled_slope, slope, rtol=1e-4, atol=1e-6)


@law(*PROMISED, dear=lambda entry: entry.option or entry.kind == "metric")
def test_compiles_whole(entry):
    skip_what_dynamo_cannot(entry)
    with no_warnings():
        compiled_is_eager(entry, "inductor" if entry.name in WITH_INDUCTOR else "aot_eager")


@pytest.mark.slow
@law("reading", "weighting", "image", "photometry", "calibration")
def test_compiles_whole_as_well(entry):
    with no_warnings():
        compiled_is_eager(entry, "aot_eager")


def without_a_break(entry):
    return not (excuse(entry, "compiles_whole") or excuse(entry, "compiles_whole_as_well"))


@pytest.mark.slow
@law(*PROMISED, "reading", "image", "photometry", "calibration", where=without_a_break)
def test_compiles_whole_with_inductor(entry):
    skip_what_dynamo_cannot(entry)
    compiled_is_eager(entry, "inductor")


@law(*PROMISED, "weighting", dear=of_option)
def test_vmap_is_the_loop(entry):
    values = arguments(entry)
    module, two = module_of(entry), [torch.stack([x, x.flip(0)]) for x in values]

    def call(*x):
        return leaves(module(*x))

    with no_warnings():
        mapped = torch.func.vmap(call)(*two)
    looped = [call(*(x[i] for x in two)) for i in range(2)]
    assert_same(mapped, [torch.stack(parts) for parts in zip(*looped, strict=True)])
    copy.deepcopy(module)  # keeps no tensor of torch.func


@law(*PROMISED, "weighting", dear=of_option)
def test_grad_of_func(entry):
    first, *others = arguments(entry)
    module = module_of(entry)

    def total(x):
        return torch.stack([part.double().sum() for part in leaves(module(x, *others))]).sum()

    with no_warnings():
        slope = torch.func.grad(total)(first)
    leaf = first.clone().requires_grad_()
    total(leaf).backward()
    torch.testing.assert_close(slope, leaf.grad)
    copy.deepcopy(module)


@law(*PROMISED, dear=of_option)
def test_exports(entry):
    skip_what_dynamo_cannot(entry)
    values = tuple(arguments(entry, dtype=torch.float32))
    module = module_of(entry)
    with no_warnings():
        program = torch.export.export(module, values)
        actual = program.module()(*values)
    assert_same(actual, run(entry, module, list(values)))


@law("transform")
def test_a_transform_compiles_to_one_graph(entry):
    images = arguments(entry, dtype=torch.float32)[0]
    compiled = torch.compile(module_of(entry), fullgraph=True, backend="aot_eager")
    assert compiled(images).shape[:2] == (4, 3)


@pytest.mark.slow
@law("transform")
def test_a_transform_with_a_generator_compiles_with_a_break(entry):
    images = arguments(entry, dtype=torch.float32)[0]
    expected, module = (entry.build(generator=torch.Generator().manual_seed(1)) for _ in range(2))
    compiled = torch.compile(module, backend="aot_eager")
    torch.testing.assert_close(compiled(images), expected(images))

"""What makes a test the law of every entry of some kinds, and what the laws call."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from contract.inputs import STANDS_ON, batch
from contract.surface import SURFACE, Entry, excuse
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from photoz_losses.metrics._table import MetricTable

PROMISED = (
    "loss",
    "score",
    "statistic",
    "metric",
)  # kinds for which every law holds, or is excused
COMPUTES = (
    *PROMISED,
    *("reading", "weighting", "transform", "image", "photometry", "calibration", "view"),
)
LAWS: dict[str, list[Entry]] = {}  # entries with a cell, by law
WITHOUT: dict[str, list[Entry]] = {}  # entries that are excused from it
TESTS: dict[str, Callable[..., None]] = {}


def never(_: Entry) -> bool:
    return False


def of_option(entry: Entry) -> bool:
    return entry.option


def law(
    *kinds: str,
    where: Callable[[Entry], object] = bool,
    dear: Callable[[Entry], object] = never,
) -> Callable[[Callable[..., None]], Any]:
    """Mark a test as the law of its name, for every entry of these kinds that is not excused.

    On entries that are `dear` to it, it is tried only in the slow profile.
    """

    def mark(test: Callable[..., None]) -> Any:
        name = test.__name__.removeprefix("test_")
        concerned = [entry for entry in SURFACE if entry.kind in kinds and where(entry)]
        LAWS[name] = [entry for entry in concerned if not excuse(entry, name)]
        WITHOUT[name] = [entry for entry in concerned if excuse(entry, name)]
        TESTS[name] = test
        cells = [
            pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] * bool(dear(entry)))
            for entry in LAWS[name]
        ]
        return pytest.mark.cell(pytest.mark.parametrize("entry", cells)(test))

    return mark


class Called(nn.Module):
    """A public function as a Module, so that what it stands on moves with it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        takes = inspect.signature(function).parameters
        self.stands_on = nn.ModuleDict(
            {name: make() for name, make in STANDS_ON.items() if name in takes}
        )
        self.function = function

    def forward(self, *values: Tensor, **options: Any) -> Any:
        stands_on = dict(self.stands_on.items())  # Dynamo of torch 2.4 unpacks no ModuleDict
        return self.function(*values, **stands_on, **options)


def function_of(entry: Entry) -> Called:
    """The function of an entry, or of the entry that a class names."""
    if entry.function is not None:
        return Called(entry.function)
    (named,) = [other for other in SURFACE if other.name == entry.of and other.kind != "metric"]
    return Called(named.function)


def module_of(entry: Entry, **options: Any) -> nn.Module:
    """The Module of an entry; of a function, one that calls it."""
    return Called(entry.function) if entry.build is None else entry.build(**options)


def is_class(module: nn.Module) -> bool:
    return isinstance(module, Metric | MetricCollection)


def run(entry: Entry, module: nn.Module, values: list[Tensor], **options: Any) -> Any:
    """What a module gives; a metric takes the batch in and computes."""
    if not is_class(module):
        return module(*values, **options)
    module.update(**dict(zip(entry.inputs, values, strict=True)))
    return module.compute()


def unreduced(entry: Entry, values: list[Tensor], module: nn.Module | None = None) -> Any:
    """Of each galaxy where an entry has that, else of the sample; of its function if it has one."""
    if module is None:
        module = module_of(entry) if entry.kind == "metric" else function_of(entry)
    return run(entry, module, values, **({"reduction": "none"} if entry.reduces else {}))


def arguments(entry: Entry, **options: Any) -> list[Tensor]:
    values = batch(**options)
    return [values[name] for name in entry.inputs]


def named(result: Any) -> dict[str, Tensor]:
    """Tensors of a result by their names; one alone, or of a tuple, has its number for a name."""
    if isinstance(result, Mapping):
        return {
            name if key == "0" else f"{name}.{key}": tensor
            for name, value in result.items()
            for key, tensor in named(value).items()
        }
    return {str(number): tensor for number, tensor in enumerate(leaves(result))}


def leaves(result: Any) -> list[Tensor]:
    """Every tensor of a result; torch takes a table for one leaf."""
    if isinstance(result, MetricTable):
        return [tensor for value in result.values() for tensor in leaves(value)]
    found = torch.utils._pytree.tree_leaves(result)
    parts = [leaves(leaf) if isinstance(leaf, MetricTable) else [leaf] for leaf in found]
    return [leaf for part in parts for leaf in part if isinstance(leaf, Tensor)]


def backward(parts: list[Tensor]) -> None:
    """Backward of the sum of every tensor with a graph, if there is one."""
    graph = [part.double().sum() for part in parts if part.requires_grad]
    if graph:
        torch.stack(graph).sum().backward()


def assert_same(actual: Any, expected: Any, **tolerances: Any) -> None:
    """Results of the same structure and values, NaN and infinity for themselves."""
    ours, theirs = leaves(actual), leaves(expected)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True, **tolerances)

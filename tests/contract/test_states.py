"""What a metric holds is its own, and what is merged into it is what it has seen."""

import pytest
import torch
from contract.laws import arguments, assert_same, law, leaves, module_of, run
from torchmetrics import Metric, MetricCollection


def rows(entry, *which):
    """Arguments of some of the batch's galaxies, by name."""
    index = torch.tensor(which, dtype=torch.int64)
    values = arguments(entry, dtype=torch.float64)
    return dict(zip(entry.inputs, (value[index] for value in values), strict=True))


def seen(entry, *batches):
    metric = module_of(entry)
    for batch in batches:
        metric.update(**batch)
    return metric


def merge(one, other):
    """Into a metric, or a collection's metrics one by one."""
    if isinstance(one, Metric):
        one.merge_state(other)
        return
    for name, metric in one.items(keep_base=True, copy_state=False):
        metric.merge_state(other[name])


@law("metric")
def test_what_is_merged_is_seen(entry):
    """After a result was computed, of some galaxies or of none, as before."""
    first, second, none = rows(entry, 0, 1), rows(entry, 2, 3), rows(entry)
    together = seen(entry, second, first).compute()  # torchmetrics puts the other's in front
    one, empty, unused = seen(entry, first), seen(entry, none), module_of(entry)
    one.compute()
    empty.compute()
    for metric in (one, empty, unused):
        merge(metric, seen(entry, second))
    assert_same(one.compute(), together, rtol=1e-14, atol=0)
    for metric in (empty, unused):  # without a warning that it has seen nothing
        assert_same(metric.compute(), seen(entry, second).compute(), rtol=1e-14, atol=0)


@law("metric")
def test_a_refused_merge_changes_nothing(entry):
    metric = seen(entry, rows(entry, 0, 1, 2))
    expected = metric.compute()
    parts = metric.values() if isinstance(metric, MetricCollection) else [metric]
    for part in parts:
        some = dict(list(part.metric_state.items())[:-1]) | {"more": torch.tensor(0.0)}
        for other in (some, torch.nn.Identity()):
            with pytest.raises((ValueError, TypeError), match="incoming_state must be"):
                part.merge_state(other)
    metric.update(**rows(entry))  # forgets the result
    assert_same(metric.compute(), expected, rtol=0, atol=0)


@law("metric")
def test_what_is_given_and_what_is_returned_may_be_changed(entry):
    """By whoever fills a batch anew, or scales a result."""
    expected = run(entry, module_of(entry), arguments(entry, dtype=torch.float64))
    metric = module_of(entry)
    values = arguments(entry, dtype=torch.float64)
    result = run(entry, metric, values)
    assert_same(result, expected, rtol=0, atol=0)
    for value in (*values, *leaves(result)):
        value.zero_()
    assert_same(metric.compute(), expected, rtol=0, atol=0)
    metric.update(**rows(entry))
    assert_same(metric.compute(), expected, rtol=0, atol=0)

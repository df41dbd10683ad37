"""Copies: deepcopy, pickle and a checkpoint give back what was copied."""

import copy
import io

import torch
from contract.laws import (
    PROMISED,
    arguments,
    assert_same,
    is_class,
    law,
    module_of,
    run,
)

from photoz_losses import WeightSchedule


def result(entry, module):
    """What a module gives, a step on; of a metric that saw a batch before, of that and this one."""
    torch.manual_seed(0)
    found = run(entry, module, arguments(entry))
    for part in module.modules():
        if isinstance(part, WeightSchedule):
            part.step()
    return found


def has_state(entry):
    return entry.build is not None


@law(
    *(*PROMISED, "weighting", "transform", "photometry", "calibration"),
    where=lambda entry: has_state(entry) or entry.kind in PROMISED,
)
def test_copies_and_pickles_give_the_same(entry):
    module = module_of(entry)
    assert has_state(entry), "a function is the same everywhere"
    if is_class(module):
        result(entry, module)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    twins = [copy.deepcopy(module), torch.load(buffer, weights_only=False)]
    expected = result(entry, module)
    for twin in twins:
        assert_same(result(entry, twin), expected, rtol=0, atol=0)


@law(*PROMISED, "weighting", "calibration", where=has_state)
def test_a_checkpoint_gives_the_same(entry):
    module, fresh = module_of(entry), module_of(entry)
    if is_class(module):
        module.persistent(True)
        fresh.persistent(True)
    if entry.kind != "calibration":
        result(entry, module)  # a metric holds galaxies now, a weighting its progress
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert_same(result(entry, fresh), result(entry, module), rtol=0, atol=0)


@law("loss")
def test_a_checkpoint_does_not_change_when_a_loss_is_added(entry):
    assert not module_of(entry).state_dict()


@law("metric")
def test_a_checkpoint_holds_no_galaxies_unless_asked_to(entry):
    metric = module_of(entry)
    result(entry, metric)
    assert not metric.state_dict()


@law("metric", "loss")
def test_a_cast_changes_nothing(entry):
    """Grids, levels and what was seen stay in float64 under ``.half()`` and ``.to(dtype)``."""
    expected = result(entry, module_of(entry))
    for dtype in (torch.float16, torch.float32):
        assert_same(result(entry, module_of(entry).to(dtype)), expected, rtol=0, atol=0)
        cast = module_of(entry).half()
        if is_class(cast):
            cast = cast.set_dtype(dtype)
        assert_same(result(entry, cast), expected, rtol=0, atol=0)

"""Every public callable and method has at least one case of bad input, or a word that excuses it.

A case is of the callable that its name begins with: "metrics.crps: ...", "bins.cdf: ...".
"""

import inspect
import re

import pytest
from errors.messages import ROOMS
from public import methods, objects

import photoz_losses

EXCUSED = {
    "metrics.PRESETS": "data",
    "metrics.Preset": "data",
    "metrics.PerBin": "a result",
    "Views": "a result",
    "transforms.SourceMask": "a result",
    "metrics.PhotoZMetrics": "made by photo_z_metrics",
}
OBJECTS = objects()
KINDS = {name: value for name, value in OBJECTS.items() if inspect.isclass(value)}
NAMED = {"bins": "RedshiftBins", "photometry": "SyntheticPhotometry", "templates": "Templates"}
OF_CALLS = {"forward", "update"}  # a Module's or a metric's cases call it
EXCUSED_METHODS = {
    "metrics.PhotoZMetrics.forward": "by photo_z_metrics",
    "metrics.PhotoZMetrics.update": "by photo_z_metrics",
    "metrics.Binned.persistent": "torchmetrics'",
    "photometry.FluxTable.to": "torch's own errors",
    "photometry.Spectra.to": "torch's own errors",
    "WeightSchedule.at": "plain arithmetic",
    "WeightSchedule.set_extra_state": "torch's",
    **dict.fromkeys(
        ("UncertaintyWeights.set_extra_state", "ReLoBRaLo.set_extra_state"), "its test"
    ),
    **{
        f"RedshiftBins.{name}": "by every loss or metric"
        for name in (
            *("read_logits", "read_probs", "shape_of", "locate", "overlap", "below_edges"),
            *("mass_below", "quantile_below", "mean_of", "mode_of"),
        )
    },
}


def called() -> set[str]:
    """Dotted names that the cases begin with; an instance stands for its class."""
    names = [re.split(r"[: ]", parameters.id)[0] for room in ROOMS for parameters in room.case]
    parts = [name.rpartition(".") for name in names]
    return {f"{NAMED.get(owner, owner)}{dot}{name}" for owner, dot, name in parts}


def takes_arguments(kind: str, name: str) -> bool:
    method = inspect.getattr_static(KINDS[kind], name)
    if isinstance(method, property):
        return False
    bound = isinstance(method, classmethod | staticmethod)
    return len(inspect.signature(getattr(KINDS[kind], name)).parameters) > (not bound)


SEEN = called()
METHODS = {f"{kind}.{name}" for kind, name in methods() if takes_arguments(kind, name)}


def aliases(name: str) -> set[str]:
    """A public name, and without its module where no other name ends so."""
    last = name.rpartition(".")[2]
    alike = {id(value) for key, value in OBJECTS.items() if key.rpartition(".")[2] == last}
    return {name, last} if len(alike) == 1 else {name}


def seen(name: str) -> bool:
    """Whether a case is of this public name."""
    return not SEEN.isdisjoint(aliases(name))


@pytest.mark.parametrize("name", OBJECTS)
def test_every_public_callable_has_a_case(name):
    assert seen(name) != (name in EXCUSED), f"{name}: a case in tests/errors, or a word in EXCUSED"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_public_method_has_a_case(name):
    kind, _, method = name.rpartition(".")
    by_call = method in OF_CALLS and seen(kind)
    by_name = any(f"{alias}.{method}" in SEEN for alias in aliases(kind))
    seen_here, excused = by_call or by_name, name in EXCUSED_METHODS
    assert seen_here != excused, f"{name}: a case in tests/errors, or a word in EXCUSED_METHODS"


def test_every_excuse_is_of_something_public():
    assert set(EXCUSED) <= set(OBJECTS)
    assert set(EXCUSED_METHODS) <= METHODS
    assert set(NAMED.values()) <= {key.rpartition(".")[2] for key in KINDS}
    assert photoz_losses.__name__ not in SEEN

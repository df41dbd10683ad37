"""Every public callable has at least one case of bad input; the others are excused by name."""

import re
from inspect import ismodule

import pytest
from errors.messages import ROOMS

import photoz_losses
from photoz_losses import calibration, io, metrics, photometry, plots, report, transforms

MODULES = (photoz_losses, calibration, io, metrics, photometry, plots, report, transforms)
EXCUSED = {
    "PRESETS": "data",
    "Preset": "data",
    "PerBin": "a result",
    "Views": "a result",
    "SourceMask": "a result",
    "PhotoZMetrics": "made by photo_z_metrics",
}
NAMES = " ".join(parameters.id.split(": ")[0] for room in ROOMS for parameters in room.case)
SEEN = set(re.findall(r"\w+", NAMES))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_callable_has_a_case(module):
    public = {name for name in module.__all__ if not ismodule(getattr(module, name))}
    assert public - SEEN - set(EXCUSED) == set()


def test_every_excuse_is_needed():
    assert set(EXCUSED) & SEEN == set()

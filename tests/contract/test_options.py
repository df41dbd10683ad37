"""A function and the class that stores its options have the same ones, with the same defaults."""

import inspect

import pytest
from public import objects
from torch import nn

OBJECTS = objects()
EMPTY = inspect.Parameter.empty
PAIRS = {  # class: function
    "RedshiftCrossEntropy": "cross_entropy",
    "CDELoss": "cde_loss",
    "CRPSLoss": "crps_loss",
    "FluxLoss": "flux_loss",
    "SpectrophotometricFluxLoss": "flux_residual",
    "InvarianceLoss": "invariance_loss",
    "RotationDerivativeLoss": "rotation_derivative_loss",
    "L2Penalty": "l2_penalty",
    "metrics.MAD": "metrics.mad",
    "metrics.Bias": "metrics.bias",
    "metrics.OutlierRate": "metrics.outlier_rate",
    "metrics.SigmaIQR": "metrics.sigma_iqr",
    "metrics.RMS": "metrics.rms",
    "metrics.CDELoss": "metrics.cde_loss",
    "metrics.CRPS": "metrics.crps",
    "metrics.LogScore": "metrics.log_score",
    "metrics.Brier": "metrics.brier",
    "metrics.Entropy": "metrics.entropy",
    "metrics.PIT": "metrics.pit",
    "metrics.PITStatistics": "metrics.pit_statistics",
    "metrics.Coverage": "metrics.coverage",
    "metrics.Binned": "metrics.binned",
    "transforms.RandomDihedral": "transforms.dihedral",
    "transforms.RandomRotation": "transforms.rotate",
    "transforms.ResampleBackground": "transforms.resample_background",
}
ALONE = {
    "RedshiftBins": "the grid",
    "TotalLoss": "a sum of Modules",
    "WeightSchedule": "has a state",
    "UncertaintyWeights": "has a state",
    "ReLoBRaLo": "has a state",
    "metrics.PhotoZMetrics": "made by photo_z_metrics",
    "photometry.SyntheticPhotometry": "a function would make its weights anew",
    "calibration.TemperatureScaling": "has a state",
    "calibration.PITRecalibration": "has a state",
}
EXCUSED = {  # class: parameters that only one of the two has, and why
    "FluxLoss": {"bins": "checks the number of logits"},
    "SpectrophotometricFluxLoss": {
        "logits": "the loss of these residuals",
        "reduction": "the loss of these residuals",
    },
    **{
        f"metrics.{name}": {"approximate": "what is kept of the galaxies seen"}
        for name in ("MAD", "Bias", "OutlierRate", "SigmaIQR", "RMS")
    },
    **{
        f"metrics.{name}": {"reduction": "a class gives the mean over all galaxies seen"}
        for name in ("CDELoss", "CRPS", "LogScore", "Brier", "Entropy", "Coverage")
    },
    "metrics.PITStatistics": {
        "approximate": "what is kept of the galaxies seen",
        "pit_values": "those of probs and z_spec",
        **dict.fromkeys(("bins", "probs", "z_spec"), "what PIT values come of"),
    },
    "metrics.Binned": {
        "n_boot": "draws from all galaxies, which a class does not keep",
        "generator": "draws from all galaxies, which a class does not keep",
    },
    "transforms.RandomDihedral": {"element": "drawn", "generator": "draws it"},
    "transforms.RandomRotation": {"angle": "drawn", "generator": "draws it"},
}


def defaults(*functions) -> dict[str, object]:
    """Default of every parameter that has a name, `EMPTY` where it has none."""
    collects = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: each.default
        for function in functions
        for name, each in inspect.signature(function).parameters.items()
        if each.kind not in collects and name != "self"
    }


def differing(kind, function) -> dict[str, tuple[object, object]]:
    """Parameters that only one has, or that have another default: the class's, the function's."""
    call = kind.update if hasattr(kind, "update") else kind.forward
    own, its = defaults(kind.__init__, call), defaults(function)
    pairs = {name: (own.get(name, "missing"), its.get(name, "missing")) for name in own | its}
    return {name: (a, b) for name, (a, b) in pairs.items() if a is not b and a != b}


@pytest.mark.parametrize("name", PAIRS)
def test_a_class_has_the_options_of_its_function(name):
    assert differing(OBJECTS[name], OBJECTS[PAIRS[name]]).keys() == EXCUSED.get(name, {}).keys()


def test_every_public_module_has_a_function_or_a_word():
    kinds = {
        name
        for name, value in OBJECTS.items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    }
    assert kinds == PAIRS.keys() | ALONE.keys()


def test_another_option_and_another_default_are_noticed():
    class Kind(nn.Module):
        def __init__(self, power: float = 2.0, *, old: int = 1) -> None:
            super().__init__()

        def forward(self, logits, rows=None):
            return logits

    def function(logits, *, rows=None, power=1.0, new=0):
        return logits

    found = {"power": (2.0, 1.0), "old": (1, "missing"), "new": ("missing", 0)}
    assert differing(Kind, function) == found

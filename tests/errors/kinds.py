"""Bad input: an argument of a wrong kind, for every argument of every call.

A set, which is no number, no name, no tensor and not hashable; and None, where it has no meaning.
"""

from errors.table import Cases
from fuzz.calls import CALLS

case = Cases()

OPTIONAL = {  # None is the default, or one of the answers
    *("validate", "generator", "weights", "approximate", "n_boot", "chunk_size"),
    *("valid", "ivar", "band_weight", "variance", "rows", "cosmology", "chunk_bytes"),
    *("mask", "sources", "crop", "views", "reach", "weighting", "ax"),
}
ONE_OF = {  # names of an answer: ValueError whatever is given instead
    *("reduction", "quadrature", "dimming", "distance", "space", "interval", "statistic"),
    *("denominator", "preset", "keep", "missing", "interpolation", "outside", "out_of_range"),
    *("kind",),
}
BY_BINS = {
    "InvarianceLoss",
    "invariance_loss",
    "RotationDerivativeLoss",
    "rotation_derivative_loss",
}
NAME = (
    "TotalLoss",
    "name",
)  # of a term: a key of the mapping, which Python itself asks to be hashable
DEFAULT = {  # None is the default here, not elsewhere
    *{("save_predictions", key) for key in ("z_spec", "object_id")},
    *{("FluxTable.build", key) for key in ("z_spec", "object_ids", "min_snr", "path")},
    *{("plot_binned", key) for key in ("errors", "counts")},
    *{("plot_coverage", key) for key in ("galaxies", "label")},
    *{("plot_redshifts", key) for key in ("low", "high")},
    *{(name, "z_spec") for name in ("plot_densities", "plot_gallery")},
    *{("plot_gallery", key) for key in ("rgb", "axes")},
    ("write_report", "by"),
}
OTHER = {  # errors of another class
    ("FluxTable", "index"): IndexError,
    ("FluxTable.build", "dtype"): ValueError,
    ("FluxTable.build", "z_spec"): ValueError,  # Spectra carry theirs
}
SAID = {"new": "logits", "term": ""}  # under which name, where not under its own


def spoilt(name, key, value):
    """The call with one argument replaced."""
    arguments = CALLS[name].fresh()
    arguments[key] = value
    return CALLS[name].function(**arguments)


for name, call in CALLS.items():
    for key in call.arguments:
        error = OTHER.get((name, key), ValueError if key in ONE_OF else TypeError)
        said = SAID.get(key, key)
        of_set = ValueError if key == "cosmology" else error
        if (name, key) == NAME:
            continue
        case(
            f"{name}: {key} a set",
            lambda n=name, k=key: spoilt(n, k, {1, 2}), of_set, said,
        )  # fmt: skip
        if key in OPTIONAL or (name, key) in DEFAULT or (key == "bins" and name in BY_BINS):
            continue
        case(
            f"{name}: {key} None",
            lambda n=name, k=key: spoilt(n, k, None), error, said,
        )  # fmt: skip

"""Bad input: arguments swapped, wherever the call can tell them apart.

It cannot for logits and logits_transformed, for logits and derivative, for z_phot and z_spec, which
are alike in shape, type and range; nor for a residual and a spectrum of the same shape.
"""

from errors.table import Cases
from fuzz.calls import CALLS

case = Cases()


def swapped(name, first, second):
    """The call with two arguments in one another's place."""
    arguments = CALLS[name].fresh()
    arguments[first], arguments[second] = arguments[second], arguments[first]
    return CALLS[name].function(**arguments)


PAIRS = {
    ("logits", "z_spec"): ("logits", ValueError),
    ("z_spec", "bins"): ("bins", TypeError),
    ("logits", "residual"): ("", ValueError),
    ("residual", "band_weight"): ("residual", ValueError),
    ("flux", "z_spec"): ("flux", ValueError),
    ("photometry", "bins"): ("photometry", TypeError),
    ("flux", "photometry"): ("photometry", TypeError),
    ("probs", "z_spec"): ("probs", ValueError),
    ("probs", "bins"): ("bins", TypeError),
    ("probs", "z"): ("probs", ValueError),
    ("probs", "q"): ("probs", ValueError),
    ("logits", "rows"): ("logits", TypeError),
    ("images", "element"): ("images", TypeError),
    ("images", "angle"): ("images", ValueError),
    ("model", "images"): ("", TypeError),
    ("images", "view"): ("images", TypeError),
    ("flux", "nu"): ("flux", ValueError),
    ("ivar", "nu"): ("ivar", ValueError),
    ("flux", "valid"): ("", TypeError),
    ("ivar", "valid"): ("", TypeError),
    ("wavelength", "flux"): ("wavelength", ValueError),
    ("flux", "z"): ("", ValueError),
    ("filters", "wavelength"): ("filters", TypeError),
    ("wavelengths", "responses"): ("wavelengths", ValueError),
    ("names", "wavelengths"): ("", TypeError),
    ("names", "terms"): ("terms", TypeError),
    ("terms", "parameters"): ("terms", TypeError),
    ("z_min", "z_max"): ("z_min", ValueError),
    ("weight", "kind"): ("kind", ValueError),
    ("weight", "term"): ("", TypeError),
    ("metric", "z_phot"): ("metric", TypeError),
    ("by", "edges"): ("by", TypeError),
    ("distance", "space"): ("distance", ValueError),
    ("quadrature", "dimming"): ("quadrature", ValueError),
    ("coefficients", "wavelength"): ("wavelength", ValueError),
}
for (first, second), (says, error) in PAIRS.items():
    for name, call in CALLS.items():
        if {first, second} <= set(call.arguments):
            case(
                f"{name}: {first} and {second} swapped",
                lambda n=name, a=first, b=second: swapped(n, a, b), error, says,
            )  # fmt: skip

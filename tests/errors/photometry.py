"""Bad input: filters, spectra, synthetic photometry and the residuals of fluxes."""

import torch
from astropy import units
from astropy.table import Column
from errors.table import (
    BINS,
    BOX,
    FLUX,
    GRID,
    INF,
    LOGITS,
    NAN,
    PHOTOMETRY,
    VALID,
    Cases,
    Z,
    changed,
)

from photoz_losses import SpectrophotometricFluxLoss, flux_residual
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    read_sdss_spectra,
    relative_variance,
)

case = Cases()

for fault, wavelength, *says in (
    ("decreasing", GRID.flip(0), "increase strictly", "sort"),
    ("NaN", changed(GRID, 3, NAN), "finite"),
    ("repeated", changed(GRID, 3, 4200.0), "increase strictly", "index 2"),
    ("in nm", GRID / 10, "reaches no filter", "Angstrom, not in nm"),
    ("logarithmic", GRID.log10(), "reaches no filter", "logarithm"),
    ("negative", GRID - 5000, "positive", "Angstrom"),
    ("one pixel", GRID[:1], "at least 2"),
    ("2-D", GRID.unsqueeze(0), "vector", "(1, 41)"),
):
    case(
        f"SyntheticPhotometry: wavelength {fault}",
        lambda w=wavelength: SyntheticPhotometry(BOX, w), ValueError, "wavelength", *says,
    )  # fmt: skip
case(
    "SyntheticPhotometry: denominator",
    lambda: SyntheticPhotometry(BOX, GRID, denominator="all"),
    ValueError, "denominator", "'covered', 'full'", "'all'",
)  # fmt: skip
for value in (0, -1, -(2**24)):
    case(
        f"SyntheticPhotometry: chunk_bytes {value}",
        lambda v=value: SyntheticPhotometry(BOX, GRID, chunk_bytes=v),
        ValueError, "chunk_bytes", "at least 1", str(value),
    )  # fmt: skip
NU = torch.ones(2, 1)
for fault, arguments, error, *says in (
    ("flux of other pixels", (FLUX[:, 1:], NU), ValueError, "flux", "41)", "(2, 40)"),
    ("flux integer", (FLUX.long(), NU), TypeError, "flux", "int64", "flux.float()"),
    ("flux NaN", (changed(FLUX, (0, 3), NAN), NU), ValueError, "flux", "valid=flux.isfinite()"),
    ("nu zero", (FLUX, 0 * NU), ValueError, "nu", "positive"),
    ("nu NaN", (FLUX, NAN * NU), ValueError, "nu", "finite"),
    ("nu scalar", (FLUX, torch.tensor(1.0)), ValueError, "nu", "(..., C)", "reshape(1)"),
    ("nu integer", (FLUX, NU.long()), TypeError, "nu", "int64"),
    ("valid float", (FLUX, NU, VALID.float()), TypeError, "valid", "bool", "ivar > 0"),
    ("valid of other pixels", (FLUX, NU, VALID[:, 1:]), ValueError, "valid", "(2, 41)", "(2, 40)"),
):
    case(f"SyntheticPhotometry: {fault}", lambda a=arguments: PHOTOMETRY(*a), error, *says)
for fault, arguments, error, *says in (
    ("ivar of other pixels", (FLUX[:, 1:], NU), ValueError, "ivar", "41)", "(2, 40)"),
    ("ivar integer", (FLUX.long(), NU), TypeError, "ivar", "int64", "ivar.float()"),
    ("ivar bool", (VALID, NU), TypeError, "ivar", "bool"),
    ("ivar negative", (changed(FLUX, (0, 3), -1.0), NU), ValueError, "ivar", "negative", "0 marks"),
    ("ivar NaN", (changed(FLUX, (0, 3), NAN), NU), ValueError, "ivar", "valid=ivar.isfinite()"),
    ("ivar infinite", (changed(FLUX, (0, 3), INF), NU), ValueError, "ivar", "finite"),
    ("nu zero", (FLUX, 0 * NU), ValueError, "nu", "positive"),
    ("nu scalar", (FLUX, torch.tensor(1.0)), ValueError, "nu", "(..., C)", "reshape(1)"),
    ("nu of another batch", (FLUX, torch.ones(3, 1)), ValueError, "ivar and nu", "(2,) and (3,)"),
    ("valid of other pixels", (FLUX, NU, VALID[:, 1:]), ValueError, "valid", "(2, 41) of ivar"),
):
    case(f"variance: {fault}", lambda a=arguments: PHOTOMETRY.variance(*a), error, *says)


def residual_with(flux=FLUX, **options):
    return flux_residual(PHOTOMETRY, flux, Z, BINS, **options)


FLUX_OPTIONS = (
    ({"quadrature": "simpson"}, "quadrature", "'midpoint', 'trapezoid'", "'simpson'"),
    ({"dimming": "tired light"}, "dimming", "'none'", "'tired light'"),
    ({"dimming": "distance"}, "cosmology", "Planck18"),
    ({"cosmology": "Planck18"}, "cosmology", "go together"),
    ({"min_coverage": -0.1}, "min_coverage", "[0, 1]", "-0.1"),
    ({"min_coverage": 50.0}, "min_coverage", "[0, 1]", "50"),
    ({"min_coverage": NAN}, "min_coverage", "[0, 1]", "nan"),
    ({"min_snr": -1.0}, "min_snr", "finite and not negative", "-1"),
    ({"min_snr": INF}, "min_snr", "finite", "inf"),
    ({"min_snr": NAN}, "min_snr", "finite", "nan"),
)
for options, *says in FLUX_OPTIONS:
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"flux_residual: {name}", lambda o=options: residual_with(**o), ValueError, *says)
    case(
        f"SpectrophotometricFluxLoss: {name}",
        lambda o=options: SpectrophotometricFluxLoss(BINS, PHOTOMETRY, **o), ValueError, *says,
    )  # fmt: skip
for fault, options, error, *says in (
    ("one spectrum without a batch", {"flux": FLUX[0]}, ValueError, "flux", "(N, L)", "unsqueeze"),
    ("flux of other pixels", {"flux": FLUX[:, 1:]}, ValueError, "flux", "41)", "(2, 40)"),
    ("flux NaN", {"flux": changed(FLUX, (1, 0), NAN)}, ValueError, "flux", "finite"),
    ("flux integer", {"flux": FLUX.long()}, TypeError, "flux", "int64"),
    ("flux that overflows", {"flux": 1e303 * FLUX.double()}, ValueError, "flux", "1e+303", "scale"),
    ("valid of other pixels", {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 40)"),
    ("valid of another batch", {"valid": VALID[:1]}, ValueError, "valid", "(1, 41)"),
    ("valid float", {"valid": VALID.float()}, TypeError, "valid", "bool"),
):
    case(f"flux_residual: {fault}", lambda o=options: residual_with(**o), error, *says)
case(
    "SpectrophotometricFluxLoss: flux that overflows",
    lambda: SpectrophotometricFluxLoss(BINS, PHOTOMETRY)(LOGITS, 1e303 * FLUX.double(), Z),
    ValueError, "flux", "finite residuals", "1e+303", "scale",
)  # fmt: skip
NOISY = {
    "flux_residual": lambda ivar, **options: residual_with(ivar=ivar, min_snr=3.0, **options),
    "relative_variance": lambda ivar, **options: relative_variance(
        PHOTOMETRY, options.pop("flux", FLUX), ivar, **options
    ),
    "SpectrophotometricFluxLoss": lambda ivar, flux=FLUX, **options: SpectrophotometricFluxLoss(
        BINS, PHOTOMETRY, min_snr=3.0
    )(LOGITS, flux, Z, ivar=ivar, **options),
}
for name, call in NOISY.items():
    for fault, ivar, options, error, *says in (
        ("ivar of other pixels", FLUX[:, 1:], {}, ValueError, "ivar", "(2, 41) of flux", "(2, 40)"),
        ("ivar of another batch", FLUX[:1], {}, ValueError, "ivar", "(2, 41) of flux", "(1, 41)"),
        ("ivar integer", FLUX.long(), {}, TypeError, "ivar", "int64", "ivar.float()"),
        ("ivar NumPy", FLUX.numpy(), {}, TypeError, "ivar", "torch.as_tensor"),
        ("ivar negative", changed(FLUX, (1, 3), -1.0), {}, ValueError, "ivar", "negative"),
        ("ivar NaN", changed(FLUX, (1, 3), NAN), {}, ValueError, "ivar", "finite"),
        ("ivar infinite", changed(FLUX, (1, 3), INF), {}, ValueError, "ivar", "finite"),
        (
            "ivar with a valid of other pixels",
            FLUX, {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 41) of flux", "(2, 40)",
        ),
        ("ivar with valid float", FLUX, {"valid": FLUX}, TypeError, "valid", "bool"),
    ):  # fmt: skip
        case(f"{name}: {fault}", lambda c=call, i=ivar, o=options: c(i, **o), error, *says)
for name, call in (
    ("flux_residual", lambda: residual_with(min_snr=3.0)),
    (
        "SpectrophotometricFluxLoss",
        lambda: SpectrophotometricFluxLoss(BINS, PHOTOMETRY, min_snr=3.0)(LOGITS, FLUX, Z),
    ),
):
    case(f"{name}: min_snr without ivar", call, ValueError, "min_snr = 3.0", "needs ivar")
for value in (-1.0, INF):
    case(
        f"FluxTable: min_snr {value}",
        lambda v=value: FluxTable.build([], BINS, PHOTOMETRY, min_snr=v),
        ValueError, "min_snr", "finite",
    )  # fmt: skip
case(
    "FluxTable: no variance",
    lambda: FluxTable.build(
        Spectra(GRID, FLUX, FLUX, Z.double(), VALID), BINS, PHOTOMETRY, progress=False
    ).variance,
    AttributeError, "no variance", "min_snr=0.0",
)  # fmt: skip

CURVE = ([5000.0, 5500.0, 6000.0], [0.0, 1.0, 0.0])
for fault, arguments, *says in (
    ("no bands", ([], [], []), "names, wavelengths and responses", "at least one"),
    ("one name as a string", ("r", [CURVE[0]], [CURVE[1]]), "names", "'r'"),
    ("fewer curves than names", (["g", "r"], [CURVE[0]], [CURVE[1]]), "as many"),
    ("a name twice", (["r", "r"], [CURVE[0]] * 2, [CURVE[1]] * 2), "names", "different"),
    ("wavelengths decreasing", (["r"], [CURVE[0][::-1]], [CURVE[1]]), "wavelengths of r", "sort"),
    ("wavelengths not positive", (["r"], [[-1.0, 1.0, 2.0]], [CURVE[1]]), "r must be positive"),
    ("one response too few", (["r"], [CURVE[0]], [CURVE[1][1:]]), "responses of r", "(3,)", "(2,)"),
    ("responses negative", (["r"], [CURVE[0]], [[0, -1, 0]]), "responses of r", "not negative"),
    ("responses NaN", (["r"], [CURVE[0]], [[0, NAN, 0]]), "responses of r", "finite"),
    ("responses zero", (["r"], [CURVE[0]], [[0, 0, 0]]), "responses of r", "positive somewhere"),
):
    case(f"FilterSet: {fault}", lambda a=arguments: FilterSet(*a), ValueError, *says)
for fault, wavelengths, *says in (
    ("a column in km/s", [Column(CURVE[0], unit="km/s")], "of r must be in Angstrom", "km / s"),
    ("in seconds", [CURVE[0] * units.s], "of r must be in Angstrom", "numbers in s", ".value"),
    ("without a unit", [CURVE[0] * units.one], "of r must be in Angstrom", "without a unit"),
    ("a list in Hz", [[c * units.Hz for c in CURVE[0]]], "of r must be in Angstrom", "in Hz"),
    ("one column of lists", Column([CURVE[0]], unit="s"), "must be in Angstrom", "numbers in s"),
):
    case(
        f"FilterSet: wavelengths {fault}",
        lambda w=wavelengths: FilterSet(["r"], w, [CURVE[1]]), TypeError, "wavelengths", *says,
    )  # fmt: skip
case(
    "FilterSet: responses with a unit",
    lambda: FilterSet(["r"], [CURVE[0]], [Column(CURVE[1], unit="m2")]),
    TypeError, "responses of r must have no unit", "m2", ".value",
)  # fmt: skip
case(
    "SyntheticPhotometry: wavelength a column in Hz",
    lambda: SyntheticPhotometry(BOX, Column(GRID.numpy(), unit="Hz")),
    TypeError, "wavelength must be in Angstrom", "numbers in Hz", ".value",
)  # fmt: skip
case(
    "FilterSet.from_speclite: a group",
    lambda: FilterSet.from_speclite("sdss2010"),
    ValueError, "names", "'sdss2010'", "'sdss2010-*'",
)  # fmt: skip
for fault, names, error, *says in (
    ("a list", (["sdss2010-r", "decam2014-*"],), TypeError, "names", "list", "(*names)"),
    ("a number among names", ("sdss2010-r", 5), TypeError, "names", "got 5", "(*names)"),
    ("no names", (), ValueError, "names", "at least one", "'sdss2010-*'"),
    ("an unknown band", ("sdss2010-q",), ValueError, "names", "'sdss2010-q'", "sdss2010-u, sdss"),
    ("another pattern", ("sdss2010-r*",), ValueError, "names", "'sdss2010-r*'", "'sdss2010-*'"),
    ("an unknown group", ("sdss-r",), ValueError, "names", "'sdss-r'", "filter_group_names"),
    ("an unknown group, whole", ("sdss",), ValueError, "names", "'sdss'", "group_names"),
):
    case(
        f"FilterSet.from_speclite: {fault}",
        lambda n=names: FilterSet.from_speclite(*n), error, *says,
    )  # fmt: skip
case(
    "FilterSet: names no strings",
    lambda: FilterSet([["g"]], [[4000.0, 5000.0]], [[1.0, 1.0]]),
    TypeError, "names must be strings", "got list",
)  # fmt: skip

SPECTRA = {"wavelength": GRID, "flux": FLUX, "ivar": FLUX, "z": Z, "valid": VALID}
for fault, options, error, *says in (
    ("wavelength decreasing", {"wavelength": GRID.flip(0)}, ValueError, "wavelength", "sort"),
    ("flux of one spectrum", {"flux": FLUX[0]}, ValueError, "flux", "(N, L)"),
    ("flux of other pixels", {"flux": FLUX[:, 1:]}, ValueError, "flux", "(2, 40)"),
    ("flux NaN", {"flux": NAN * FLUX}, ValueError, "flux", "finite", "invalid"),
    ("ivar of other pixels", {"ivar": FLUX[:, 1:]}, ValueError, "ivar", "(2, 40)"),
    ("ivar negative", {"ivar": -FLUX}, ValueError, "ivar", "negative", "0 marks"),
    ("ivar NaN", {"ivar": NAN * FLUX}, ValueError, "ivar", "NaN"),
    ("z of another batch", {"z": Z[:1]}, ValueError, "z must have", "(1,)"),
    ("z of shape (N, 1)", {"z": Z.unsqueeze(-1)}, ValueError, "z must have", "squeeze(-1)"),
    ("valid float", {"valid": FLUX}, TypeError, "valid", "bool"),
    ("valid of other pixels", {"valid": VALID[:, 1:]}, ValueError, "valid", "(2, 40)"),
):
    case(f"Spectra: {fault}", lambda o=options: Spectra(**{**SPECTRA, **o}), error, *says)
for fault, index, *says in (
    ("a word", "a", "index", "integers", "'a'"),
    ("a slice to a word", slice("a"), "index", "slice", "'a'"),
    ("a fraction", 0.5, "index", "integers", "0.5"),
    ("None", None, "index", "integers", "None"),
    ("a spectrum that is not there", 5, "index 5", "2 galaxies"),
    ("one that was not found", [0, -1], "index", "negative", "-1"),
    ("a mask of others", [True], "mask", "(2,)", "(1,)"),
):
    case(f"Spectra: index {fault}", lambda i=index: Spectra(**SPECTRA)[i], IndexError, *says)
case(
    "Spectra: index a tuple",
    lambda: Spectra(**SPECTRA)[0, 1], TypeError, "index", "a tuple of 2", "spectra[[0, 1]]",
)  # fmt: skip
case("read_sdss_spectra: no paths", lambda: read_sdss_spectra([]), ValueError, "paths", "empty")
for fault, paths, error, *says in (
    ("a number", 5, TypeError, "paths", "iterable of paths", "5"),
    ("None", None, TypeError, "paths", "iterable of paths", "None"),
    ("bytes", b"a.fits", TypeError, "paths", "Path", "b'a.fits'"),
    ("numbers", [5], TypeError, "paths", "Path", "5"),
    ("a path that is None", [__file__, None], TypeError, "paths", "Path", "None"),
    ("NUL", ["a\0"], ValueError, "paths", "NUL"),
):
    case(f"read_sdss_spectra: {fault}", lambda p=paths: read_sdss_spectra(p), error, *says)
case(
    "read_sdss_spectra: missing file",
    lambda: read_sdss_spectra(["nowhere/spec-1-2-3.fits"]),
    FileNotFoundError, "nowhere/spec-1-2-3.fits",
)  # fmt: skip
case(
    "read_sdss_spectra: not FITS",
    lambda: read_sdss_spectra(__file__),
    ValueError, "photometry.py", "no whole SDSS spectrum", "loglam",
)  # fmt: skip

"""Valid calls of the public surface: what the laws change one argument of, or all, and call again.

`CALLS` maps the name of a call to the call and its valid arguments, made anew each time.
"""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from types import MappingProxyType
from typing import Any

import torch
from fuzz.examples import NIGHTLY
from matplotlib import pyplot
from torch import Tensor, nn

import photoz_losses as p
from photoz_losses import RedshiftBins, metrics, plots, transforms
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.io import from_qp, save_predictions, to_qp
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    Templates,
    flux_residual,
    relative_variance,
)
from photoz_losses.report import write_report

C, N, BANDS, L = 4, 2, 2, 41
BINS = RedshiftBins.uniform(0.0, 0.4, C)
GRID = torch.linspace(4000.0, 8000.0, L, dtype=torch.float64)
FILTERS = FilterSet(["t", "u"], [[4800, 5200, 5600], [5500, 5900, 6400]], [[0, 1, 0], [0, 1, 0]])
PHOTOMETRY = SyntheticPhotometry(FILTERS, GRID)
REST = torch.linspace(1000.0, 20000.0, 191, dtype=torch.float64)
TEMPLATES = Templates(REST, torch.stack([5000.0 / REST, REST / 5000.0]))
LOGITS = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 1.0, -3.0, 1.0]])
PROBS = LOGITS.softmax(-1)
Z = torch.tensor([0.05, 0.31])
FLUX = torch.linspace(1.0, 2.0, N * L).reshape(N, L)
VALID = torch.ones(N, L, dtype=torch.bool)
IMAGES = torch.linspace(-1.0, 1.0, N * BANDS * 36).reshape(N, BANDS, 6, 6).sin()
MASK = torch.zeros(N, 6, 6, dtype=torch.bool)
MANY = LOGITS.repeat(20, 1)
TRUTHS = torch.tensor([0.25, 0.15, 0.05, 0.35]).repeat(10)


@dataclass(frozen=True)
class Call:
    """A public callable, or what calls it, and valid arguments by name."""

    function: Callable[..., Any]
    arguments: dict[str, Any]

    @property
    def of(self) -> Callable[..., Any]:
        """What is called and documented."""
        return getattr(self.function, "of", self.function)

    def fresh(self) -> dict[str, Any]:
        """Arguments of the call's own; bins and what is not data are shared."""
        return {
            key: copy.deepcopy(value) if isinstance(value, Tensor | list | dict) else value
            for key, value in self.arguments.items()
        }


CALLS: dict[str, Call] = {}


def add(name: str, function: Callable[..., Any], /, **arguments: Any) -> None:
    """A row of the table."""
    CALLS[name] = Call(function, arguments)


def calls(of: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, marked as what calls a public one."""
    function.of = of
    return function


def module(kind: Callable[..., Any], *inputs: str) -> Callable[..., Any]:
    """A function that makes the Module from the options and calls it with the `inputs`."""

    def call(**arguments: Any) -> Any:
        given = {key: arguments.pop(key) for key in inputs if key in arguments}
        return kind(**arguments)(**given)

    return calls(kind, call)


def streaming(kind: Callable[..., Any], *inputs: str) -> Callable[..., Any]:
    """A function that makes the metric from the options, takes in the `inputs` and computes."""

    def call(**arguments: Any) -> Any:
        given = {key: arguments.pop(key) for key in inputs if key in arguments}
        metric = kind(**arguments)
        metric.update(**given)
        return metric.compute()

    return calls(kind, call)


def pixels(images: Tensor) -> Tensor:
    """A model of C bins."""
    return images.flatten(1)[:, :C] - 5


def turn(images: Tensor, *inputs: Any) -> Tensor:
    """A view, whatever it is given besides."""
    return images.rot90(1, (-2, -1))


# Bins ---------------------------------------------------------------------------------------------

add("RedshiftBins", RedshiftBins, edges=[0.0, 0.1, 0.4], validate=None)
RANGE = {"z_min": 0.0, "z_max": 0.4, "n_bins": 4, "validate": None}
for name in ("uniform", "log1p"):
    add(f"RedshiftBins.{name}", getattr(RedshiftBins, name), **RANGE)
add(
    "RedshiftBins.from_quantiles",
    RedshiftBins.from_quantiles,
    z_spec=TRUTHS,
    n_bins=3,
    validate=None,
)
for name in ("density", "mean", "median", "mode"):
    add(f"bins.{name}", getattr(BINS, name), probs=PROBS)
for name in ("pdf", "cdf"):
    add(f"bins.{name}", getattr(BINS, name), probs=PROBS, z=Z)
add("bins.quantile", BINS.quantile, probs=PROBS, q=torch.tensor([0.1, 0.9]))
add("bins.best", BINS.best, probs=PROBS, threshold=0.15)
add("bins.index", BINS.index, z=Z, out_of_range="clip")
add("rebin", p.rebin, probs=PROBS, bins=BINS, new_bins=BINS, outside="renormalize")

# Losses -------------------------------------------------------------------------------------------

OF_Z = {"logits": LOGITS, "z_spec": Z, "bins": BINS, "reduction": "mean"}
for function, kind in (
    (p.cde_loss, p.CDELoss),
    (p.crps_loss, p.CRPSLoss),
):
    add(function.__name__, function, **OF_Z)
    add(kind.__name__, module(kind, "logits", "z_spec"), **OF_Z)
add("cross_entropy", p.cross_entropy, **OF_Z, label_smoothing=0.1)
add(
    "RedshiftCrossEntropy",
    module(p.RedshiftCrossEntropy, "logits", "z_spec"),
    **OF_Z,
    label_smoothing=0.1,
)
RESIDUAL = torch.linspace(-1, 1, N * C * BANDS).reshape(N, C, BANDS)
OF_TABLE = {
    "logits": LOGITS,
    "residual": RESIDUAL,
    "band_weight": torch.ones(N, BANDS),
    "variance": torch.ones(N, BANDS),
    "reduction": "sum",
}
add("flux_loss", p.flux_loss, **OF_TABLE)
add(
    "FluxLoss",
    module(p.FluxLoss, "logits", "residual", "band_weight", "variance"),
    bins=BINS,
    **OF_TABLE,
)
OPTIONS = {
    "quadrature": "trapezoid",
    "min_coverage": 0.5,
    "min_snr": 3.0,
    "dimming": "f_nu",
    "cosmology": None,
}
OF_SPECTRA = {"flux": FLUX, "z_spec": Z, "valid": VALID, "ivar": torch.ones(N, L)}
add("flux_residual", flux_residual, photometry=PHOTOMETRY, bins=BINS, **OF_SPECTRA, **OPTIONS)
add(
    "SpectrophotometricFluxLoss",
    module(p.SpectrophotometricFluxLoss, "logits", "flux", "z_spec", "valid", "ivar"),
    bins=BINS,
    photometry=PHOTOMETRY,
    logits=LOGITS,
    **OF_SPECTRA,
    **OPTIONS,
    reduction="none",
)
INVARIANCE = {"distance": "cramer", "space": "probs", "bins": BINS, "temperature": 2.0}
VIEWS = {"logits": LOGITS, "logits_transformed": -LOGITS, "rows": torch.tensor([1, 0])}
add("invariance_loss", p.invariance_loss, **VIEWS, **INVARIANCE, reduction="mean")
add(
    "InvarianceLoss",
    module(p.InvarianceLoss, "logits", "logits_transformed", "rows"),
    **VIEWS,
    **INVARIANCE,
    reduction="mean",
)
SPEED = {"logits": LOGITS, "derivative": LOGITS.sin()}
add("rotation_derivative_loss", p.rotation_derivative_loss, **SPEED, **INVARIANCE, reduction="none")
add(
    "RotationDerivativeLoss",
    module(p.RotationDerivativeLoss, "logits", "derivative"),
    **SPEED,
    **INVARIANCE,
    reduction="none",
)
add("l2_penalty", p.l2_penalty, parameters=[LOGITS])
add("L2Penalty", module(p.L2Penalty, "parameters"), parameters=[LOGITS])


def total(*, weight: Any, term: Any, weighting: Any, **inputs: Any) -> Any:
    return p.TotalLoss({"ce": (weight, term)}, weighting=weighting)(**inputs)


add(
    "TotalLoss",
    calls(p.TotalLoss, total),
    weight=1.0,
    term=p.RedshiftCrossEntropy(BINS),
    weighting=None,
    logits=LOGITS,
    z_spec=Z,
)
add("TotalLoss terms", p.TotalLoss, terms={"ce": (1.0, p.RedshiftCrossEntropy(BINS))})
TERMS = {"ce": torch.tensor(2.0), "flux": torch.tensor(0.1)}
add(
    "UncertaintyWeights",
    module(p.UncertaintyWeights, "terms"),
    names=["ce", "flux"],
    terms=TERMS,
)
add(
    "ReLoBRaLo",
    module(p.ReLoBRaLo, "terms"),
    names=["ce", "flux"],
    alpha=0.9,
    temperature=1.0,
    rho=0.9,
    seed=3,
    terms=TERMS,
)
add(
    "WeightSchedule",
    module(p.WeightSchedule, "term"),
    weight=0.1,
    kind="linear",
    steps=10,
    start=0.0,
    every=2,
    term=torch.tensor(0.5),
)
THETA = nn.Parameter(LOGITS.clone())
PULLS = MappingProxyType({"ce": THETA.square().sum(), "flux": THETA.sum()})  # not copied: a graph
add("gradient_norms", p.gradient_norms, terms=PULLS, parameters=(THETA,))

# Metrics ------------------------------------------------------------------------------------------

OF_PAIR = {"z_phot": Z + 0.01, "z_spec": Z, "weights": torch.ones(N)}
POINT = {
    "mad": ("MAD", {"centered": True, "factor": 1.0}),
    "bias": ("Bias", {"statistic": "median"}),
    "outlier_rate": ("OutlierRate", {"threshold": 0.05}),
    "sigma_iqr": ("SigmaIQR", {"factor": 1.0}),
    "rms": ("RMS", {}),
}
for name, (kind, options) in POINT.items():
    add(f"metrics.{name}", getattr(metrics, name), **OF_PAIR, **options)
    call = streaming(getattr(metrics, kind), "z_phot", "z_spec", "weights")
    add(f"metrics.{kind}", call, **OF_PAIR, **options, approximate=10)
OF_PROBS = {"probs": PROBS, "z_spec": Z, "bins": BINS}
for name, kind in (
    ("cde_loss", "CDELoss"),
    ("crps", "CRPS"),
    ("log_score", "LogScore"),
    ("brier", "Brier"),
):
    add(f"metrics.{name}", getattr(metrics, name), **OF_PROBS, reduction="none")
    add(f"metrics.{kind}", streaming(getattr(metrics, kind), "probs", "z_spec"), **OF_PROBS)
add("metrics.entropy", metrics.entropy, probs=PROBS, bins=BINS, reduction="mean")
add("metrics.Entropy", streaming(metrics.Entropy, "probs"), probs=PROBS, bins=BINS)
add("metrics.pit", metrics.pit, **OF_PROBS, randomized=False, generator=None)
add(
    "metrics.PIT",
    streaming(metrics.PIT, "probs", "z_spec"),
    **OF_PROBS,
    randomized=True,
    generator=None,
)
add(
    "metrics.PITStatistics",
    streaming(metrics.PITStatistics, "probs", "z_spec"),
    **OF_PROBS,
    n_bins=5,
    approximate=10,
)
COVERAGE = {"level": [0.5, 0.68], "interval": "highest_density"}
add("metrics.coverage", metrics.coverage, **OF_PROBS, **COVERAGE, reduction="mean")
add("metrics.Coverage", streaming(metrics.Coverage, "probs", "z_spec"), **OF_PROBS, **COVERAGE)
add("metrics.credibility", metrics.credibility, **OF_PROBS, interval="central")
add("metrics.galaxy_scores", metrics.galaxy_scores, **OF_PROBS)
PIT = torch.tensor([0.2, 0.7])
add("metrics.pit_histogram", metrics.pit_histogram, pit_values=PIT, n_bins=5)
add("metrics.pit_statistics", metrics.pit_statistics, pit_values=PIT, n_bins=5)
add(
    "metrics.photo_z_metrics",
    streaming(metrics.photo_z_metrics, "probs", "z_spec"),
    **OF_PROBS,
    preset="rail",
    approximate=10,
)


def standard_error(*, metric: Any, z_phot: Any, z_spec: Any, **options: Any) -> Any:
    return metrics.standard_error(metric, z_phot, z_spec, **options)


def binned(*, metric: Any, z_phot: Any, z_spec: Any, **options: Any) -> Any:
    return metrics.binned(metric, z_phot, z_spec, **options)


def Binned(*, metric: Any, edges: Any, z_phot: Any, z_spec: Any, by: Any) -> Any:  # noqa: N802
    return streaming(metrics.Binned, "z_phot", "z_spec", "by")(
        metric=metric, edges=edges, z_phot=z_phot, z_spec=z_spec, by=by
    )


PAIR = {"z_phot": Z + 0.01, "z_spec": Z}
add(
    "metrics.standard_error",
    calls(metrics.standard_error, standard_error),
    metric=metrics.mad,
    **PAIR,
    n_boot=3,
    generator=None,
    chunk_size=2,
)
BY = {"by": Z.clone(), "edges": [0.0, 0.2, 0.4]}
add(
    "metrics.binned",
    calls(metrics.binned, binned),
    metric=metrics.mad,
    **PAIR,
    **BY,
    n_boot=2,
    generator=None,
)
add("metrics.Binned", calls(metrics.Binned, Binned), metric=metrics.MAD(), **PAIR, **BY)

# Calibration --------------------------------------------------------------------------------------


def calibrated(kind: Callable[..., Any]) -> Callable[..., Any]:
    def call(*, bins: Any, logits: Any, z_spec: Any, new: Any, **options: Any) -> Any:
        return kind(bins, **options).fit(logits, z_spec)(new)

    return calls(kind, call)


CALIBRATION = {"bins": BINS, "logits": MANY, "z_spec": TRUTHS, "new": LOGITS}
add("TemperatureScaling", calibrated(TemperatureScaling), **CALIBRATION)
add("PITRecalibration", calibrated(PITRecalibration), **CALIBRATION, n_segments=5, prior=10.0)

# Photometry ---------------------------------------------------------------------------------------

add(
    "FilterSet",
    FilterSet,
    names=["t"],
    wavelengths=[[4800.0, 5200.0, 5600.0]],
    responses=[[0.0, 1.0, 0.0]],
)
add(
    "SyntheticPhotometry",
    SyntheticPhotometry,
    filters=FILTERS,
    wavelength=GRID,
    denominator="full",
    chunk_bytes=2**16,
)
NU = torch.tensor([[1.0, 0.9], [1.0, 1.1]])
add("photometry", PHOTOMETRY.forward, flux=FLUX, nu=NU, valid=VALID)
add("photometry.evaluate", PHOTOMETRY.evaluate, flux=FLUX, nu=NU, valid=VALID)
add("photometry.variance", PHOTOMETRY.variance, ivar=FLUX, nu=NU, valid=VALID)
add(
    "relative_variance",
    relative_variance,
    photometry=PHOTOMETRY,
    flux=FLUX,
    ivar=FLUX,
    valid=VALID,
)
SPECTRA = {"wavelength": GRID, "flux": FLUX, "ivar": FLUX, "z": Z, "valid": VALID}
add("Spectra", Spectra, **SPECTRA)
add(
    "Spectra.extend",
    Spectra(**SPECTRA).extend,
    templates=TEMPLATES,
    reach=(4000.0, 9000.0),
    joint=200.0,
)
add("Templates", Templates, wavelength=REST, flux=TEMPLATES.flux)
add("templates.fit", TEMPLATES.fit, wavelength=GRID, flux=FLUX, ivar=FLUX, z=Z)
add("templates.reach", TEMPLATES.reach, z=Z)
add(
    "templates.spectrum",
    TEMPLATES.spectrum,
    coefficients=torch.ones(N, 2, dtype=torch.float64),
    wavelength=GRID,
    z=Z,
)

# Transforms and views -----------------------------------------------------------------------------

add("dihedral", transforms.dihedral, images=IMAGES, element=torch.tensor([0, 5]))
add("RandomDihedral", module(transforms.RandomDihedral, "images"), images=IMAGES, generator=None)
ROTATION = {"crop": 2, "interpolation": "bicubic"}
add("rotate", transforms.rotate, images=IMAGES, angle=torch.tensor([0.1, 2.0]), **ROTATION)
add(
    "RandomRotation",
    module(transforms.RandomRotation, "images"),
    images=IMAGES,
    **ROTATION,
    generator=None,
)
SKY = {"sigma": 1.0, "iterations": 2, "unbiased": True, "correlated": True, "generator": None}
add("resample_background", transforms.resample_background, images=IMAGES, **SKY)
add(
    "resample_background masked",
    transforms.resample_background,
    images=IMAGES,
    mask=MASK,
    sources=MASK,
    **SKY,
)
add("ResampleBackground", module(transforms.ResampleBackground, "images"), images=IMAGES, **SKY)
add(
    "ResampleBackground masked",
    module(transforms.ResampleBackground, "images", "sources"),
    images=IMAGES,
    mask=MASK[0],
    sources=MASK,
    **SKY,
)
add(
    "source_mask",
    transforms.source_mask,
    images=IMAGES,
    keep="all",
    missing="keep",
    n_sigma=2.5,
    n_pixels=2,
    fwhm=2.0,
    grow=1.0,
    deblend=False,
)
add("tangent_image", transforms.tangent_image, images=IMAGES)
add(
    "two_views",
    p.two_views,
    model=pixels,
    images=IMAGES,
    view=turn,
    view_inputs=[MASK],
    fraction=0.5,
    detach=False,
    generator=None,
)
add("average_views", p.average_views, model=pixels, images=IMAGES, views=None)
add("rotation_derivative", p.rotation_derivative, model=pixels, images=IMAGES)

# Densities for others -----------------------------------------------------------------------------

add("to_qp", to_qp, probs=PROBS, bins=BINS)
add("from_qp", from_qp, ensemble=to_qp(PROBS, BINS), bins=BINS, max_outside=0.1)


def within(folder: str, path: Any) -> Any:
    """`path` itself, or where it is text, in the folder."""
    return Path(folder, path.replace("/", "_")) if isinstance(path, str) else path


def save(*, path: Any, **arguments: Any) -> None:
    with TemporaryDirectory() as folder:
        save_predictions(within(folder, path), **arguments)


add(
    "save_predictions",
    calls(save_predictions, save),
    path="p.npz",
    probs=PROBS,
    bins=BINS,
    z_spec=Z,
    object_id=[1, 2],
    r=Z,
)

# Tables -------------------------------------------------------------------------------------------


def table(*, spectra: Any, path: Any = None, **arguments: Any) -> FluxTable:
    with TemporaryDirectory() as folder:
        return FluxTable.build(within(folder, spectra), path=within(folder, path), **arguments)


add(
    "FluxTable.build",
    calls(FluxTable.build, table),
    spectra=Spectra(**SPECTRA),
    bins=BINS,
    photometry=PHOTOMETRY,
    z_spec=None,
    object_ids=["a", "b"],
    path=None,
    dtype=torch.float32,
    chunk=1,
    progress=False,
    **OPTIONS,
)
TABLE = table(spectra=Spectra(**SPECTRA), bins=BINS, photometry=PHOTOMETRY, progress=False)
add("FluxTable", calls(FluxTable, lambda index: TABLE[index]), index=torch.tensor([1, 0]))

# Pictures and the report --------------------------------------------------------------------------


def drawn(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that draws and closes the figures; one that it refuses must leave none."""

    def call(**arguments: Any) -> None:
        function(**arguments)
        pyplot.close("all")

    return calls(function, call)


add("plot_pit", drawn(plots.plot_pit), pit=PIT, n_bins=5, ax=None)
add("plot_pp", drawn(plots.plot_pp), pit=PIT, ax=None)
add("plot_nz", drawn(plots.plot_nz), **OF_PROBS, ax=None)
OF_GALAXY = {"probs": PROBS, "bins": BINS, "z_spec": torch.tensor(0.1)}
add("plot_densities", drawn(plots.plot_densities), **OF_GALAXY, ax=None)
add("plot_gallery", drawn(plots.plot_gallery), image=IMAGES[0], **OF_GALAXY, rgb=None, axes=None)
ENDS = {"low": Z - 0.01, "high": Z + 0.02, "bars": 2}
add("plot_redshifts", drawn(plots.plot_redshifts), **PAIR, threshold=0.1, **ENDS, ax=None)
add(
    "plot_binned",
    drawn(plots.plot_binned),
    edges=[0.0, 0.1, 0.4],
    values=Z,
    errors=Z,
    counts=[3, 4],
    xlabel="redshift",
    ylabel="MAD",
    ax=None,
)
LEVELS = torch.tensor([0.5, 0.68])
add(
    "plot_coverage",
    drawn(plots.plot_coverage),
    level=LEVELS,
    coverage=LEVELS,
    galaxies=9,
    label="central",
    ax=None,
)


def report(*, output: Any, **arguments: Any) -> dict[str, Any] | None:
    """`write_report` into a folder, whose files are read; they take seconds, so in the night only.

    By default as far as its folder, in whose place is a file.
    """
    if not NIGHTLY:
        with NamedTemporaryFile() as file, suppress(FileExistsError):
            write_report(**arguments, output=file.name if isinstance(output, str) else output)
        return None
    with TemporaryDirectory() as folder:
        written = Path(folder, "report") if isinstance(output, str) else output
        numbers = write_report(**arguments, output=written)
        assert {file.name for file in written.iterdir()} == {"report.html", "report.json"}
        assert json.loads((written / "report.json").read_text("utf-8")) == numbers
        page = (written / "report.html").read_text("utf-8")
        assert page.startswith("<!doctype html>")
        assert page.rstrip().endswith("</html>")
        assert "<script" not in page
    return numbers


add(
    "write_report",
    calls(write_report, report),
    **OF_PROBS,
    output="report",
    preset="paper",
    by={"r": Z},
    n_boot=2,
    seed=0,
)

# What takes no user's numbers, or only paths and what files hold ----------------------------------

EXCUSED = {
    "Views": "a result",
    "metrics.PRESETS": "data",
    "metrics.PerBin": "a result",
    "metrics.PhotoZMetrics": "made by photo_z_metrics",
    "metrics.Preset": "data",
    "io.Predictions": "a result",
    "io.load_predictions": "a path: tests/files damages what it reads",
    "photometry.read_sdss_spectra": "a path: tests/files damages what it reads",
    "transforms.SourceMask": "a result",
}

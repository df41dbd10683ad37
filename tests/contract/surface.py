"""The whole public surface, one entry a name or a pair of names, and what each is excused from.

A public name that is in no entry fails `test_api.py`, whose inventory this is; a public method
without a cell or a word in `METHODS`, and a loss or a metric for which a law is neither tested nor
excused here, fail `test_surface.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from contract import inputs
from contract.inputs import MIN_SNR, grid, photometry
from public import modules
from torch import Tensor, nn

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    average_views,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    gradient_norms,
    invariance_loss,
    l2_penalty,
    metrics,
    rebin,
    rotation_derivative,
    rotation_derivative_loss,
    two_views,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.photometry import flux_residual, relative_variance
from photoz_losses.transforms import (
    RandomDihedral,
    RandomRotation,
    ResampleBackground,
    dihedral,
    resample_background,
    rotate,
    tangent_image,
)


@dataclass(frozen=True)
class Entry:
    """A part of the public surface, and how a law gets hold of it.

    Attributes
    ----------
    name : str
        Of its cells.
    kind : str
        Loss; score (a metric of each galaxy), statistic (one of a sample), metric (a class of
        either); reading, weighting, transform, photometry, calibration, view; or what no law
        concerns, since it computes nothing on a device: data, file, drawing, page.
    public : str
        The public names, each with its module in front ("metrics.crps"; none for the package).
    inputs : tuple of str
        Names in `inputs.batch`, in the order of the arguments; for a class those of ``update``.
    function : callable, optional
        Of these inputs, by place, and of what it stands on (``bins``, ...), by keyword.
    build : callable, optional
        Without arguments: the Module, or the metric.
    reduces : bool
        Whether there is an option `reduction`.
    each : bool
        Whether the result has one number for each galaxy.
    of : str, optional
        Entry of the function that a class computes over everything seen.
    tested : str, optional
        Test file of what no law concerns, below tests/.
    excused : mapping of str to str
        Laws that do not hold for it, and why.
    keeps : set of str
        Laws that hold for it, though not for its kind.
    infinite : set of str
        What of its result may be infinite, as documented: "0" where there are no names.
    unknown : set of str
        What of its result is NaN, as documented.
    option : bool
        Whether it is of an option of another entry: most dear laws are slow for it.
    """

    name: str
    kind: str
    public: str
    inputs: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None
    build: Callable[..., Any] | None = None
    reduces: bool = False
    each: bool = False
    of: str | None = None
    tested: str | None = None
    excused: Mapping[str, str] = field(default_factory=dict)
    keeps: frozenset[str] = frozenset()
    infinite: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    option: bool = False

    def __str__(self) -> str:
        return self.name


# Why a law does not concern a kind ----------------------------------------------------------------

DETACHED = "takes no part in training: results carry no graph, which a law of their own holds"
FUNCTION = "a function has no state"
BY_CLASS = "held by the cell of the class, which names it; without a class there is no pair"
STATE = "torchmetrics adds to states in Python: export or map the function instead"
EXCUSED = {
    "score": {
        "function_equals_module": BY_CLASS,
        "copies_and_pickles_give_the_same": FUNCTION,
        "keeps_no_graph": "differentiable in the masses",
    },
    "statistic": {
        "function_equals_module": BY_CLASS,
        "reductions_agree": "one value of a sample: there is nothing to reduce",
        "a_batch_is_its_singles": "a property of a sample",
        "derivatives": DETACHED,
        "second_derivatives": DETACHED,
        "grad_of_func": DETACHED,
        "copies_and_pickles_give_the_same": FUNCTION,
    },
    "metric": {
        "reductions_agree": "a class takes no reduction",
        "derivatives": DETACHED,
        "second_derivatives": DETACHED,
        "vmap_is_the_loop": STATE,
        "grad_of_func": DETACHED,
        "exports": STATE,
    },
    "loss": {"keeps_no_graph": "it is there to be trained with"},
}

# Losses -------------------------------------------------------------------------------------------


class InUnitsOfError(FluxLoss):
    """FluxLoss with the keyword `variance`, by place."""

    def forward(self, logits: Tensor, residual: Tensor, weight: Tensor, variance: Tensor) -> Tensor:
        return super().forward(logits, residual, weight, variance=variance)


class FromNoisySpectra(SpectrophotometricFluxLoss):
    """SpectrophotometricFluxLoss with the keyword `ivar`, by place."""

    def forward(self, logits: Tensor, flux: Tensor, z_spec: Tensor, ivar: Tensor) -> Tensor:
        return super().forward(logits, flux, z_spec, ivar=ivar)


class OfTwoTensors(L2Penalty):
    """L2Penalty of two parameters, by place."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return super().forward([one, other])


def _from_spectra(logits, spectrum, z_spec, *, bins, photometry, **options):
    return flux_loss(logits, *flux_residual(photometry, spectrum, z_spec, bins), **options)


def _from_noisy_spectra(logits, spectrum, z_spec, ivar, *, bins, photometry, **options):
    noise = {"ivar": ivar, "min_snr": MIN_SNR}
    return flux_loss(logits, *flux_residual(photometry, spectrum, z_spec, bins, **noise), **options)


def _loss(
    name: str, public: str, module, function, *takes: str, option: bool = False, **excused: str
) -> Entry:
    each = {"reduces": True, "each": True, "option": option, "excused": excused}
    return Entry(name, "loss", public, ("logits", *takes), function, module, **each)


def _in_units_of_error(logits, residual, weight, variance, **options):
    return flux_loss(logits, residual, weight, variance=variance, **options)


def _in_logits(logits, other, **options):
    return invariance_loss(logits, other, space="logits", **options)


class OfRows(InvarianceLoss):
    """InvarianceLoss of some galaxies' views, by place."""

    def forward(self, logits: Tensor, other: Tensor, rows: Tensor) -> Tensor:
        return super().forward(logits, other, rows=rows)


def _of_rows(logits, other, rows, **options):
    return invariance_loss(logits, other, rows=rows, **options)


def _between_views(distance: str) -> list[Entry]:
    def view(logits, other, *, bins, **options):
        return invariance_loss(logits, other, distance=distance, bins=bins, **options)

    def turn(logits, derivative, *, bins, **options):
        options |= {"distance": distance, "temperature": 2.0}
        return rotation_derivative_loss(logits, derivative, bins=bins, **options)

    def module(kind, **fixed):
        return lambda **options: kind(distance, bins=grid(), **fixed, **options)

    return [
        _loss(
            f"InvarianceLoss[{distance}]",
            "InvarianceLoss invariance_loss",
            module(InvarianceLoss),
            view,
            "other",
        ),
        _loss(
            f"RotationDerivativeLoss[{distance}]",
            "RotationDerivativeLoss rotation_derivative_loss",
            module(RotationDerivativeLoss, temperature=2.0),
            turn,
            "derivative",
        ),
    ]


IN_THEIR_BATCH = "rows are the numbers of galaxies in their batch"
OF_A_BATCH = dict.fromkeys(
    ("a_batch_is_its_singles", "a_permutation_permutes", "leading_dimensions_are_free"),
    IN_THEIR_BATCH,
)
OPTIONS = [
    _loss(
        "RedshiftCrossEntropy[label_smoothing]",
        "RedshiftCrossEntropy cross_entropy",
        lambda **options: RedshiftCrossEntropy(grid(), 0.1, **options),
        lambda x, z, *, bins, **options: cross_entropy(x, z, bins, label_smoothing=0.1, **options),
        "z_spec",
        option=True,
    ),
    _loss(
        "InvarianceLoss[logits]",
        "InvarianceLoss invariance_loss",
        lambda **options: InvarianceLoss(space="logits", **options),
        _in_logits,
        "other",
        option=True,
    ),
    _loss(
        "InvarianceLoss[rows]",
        "InvarianceLoss invariance_loss",
        OfRows,
        _of_rows,
        *("other", "rows"),
        option=True,
        **OF_A_BATCH,
    ),
]
REFUSED_BY_THE_SHIFT = {
    "an_unknown_redshift_that_no_check_saw_is_never_a_score": "refused: no shift is NaN"
}
NO_GALAXIES = "a sum over parameters: there are no galaxies"
LOSSES = [
    _loss(
        "RedshiftCrossEntropy",
        "RedshiftCrossEntropy cross_entropy",
        lambda **options: RedshiftCrossEntropy(grid(), **options),
        lambda logits, z, *, bins, **options: cross_entropy(logits, z, bins, **options),
        "z_spec",
    ),
    _loss(
        "CDELoss",
        "CDELoss cde_loss",
        lambda **options: CDELoss(grid(), **options),
        lambda logits, z, *, bins, **options: cde_loss(logits, z, bins, **options),
        "z_spec",
    ),
    _loss(
        "CRPSLoss",
        "CRPSLoss crps_loss",
        lambda **options: CRPSLoss(grid(), **options),
        lambda logits, z, *, bins, **options: crps_loss(logits, z, bins, **options),
        "z_spec",
    ),
    _loss(
        "FluxLoss",
        "FluxLoss flux_loss",
        lambda **options: FluxLoss(grid(), **options),
        flux_loss,
        *("residual", "weight"),
    ),
    _loss(
        "FluxLoss[variance]",
        "FluxLoss flux_loss",
        lambda **options: InUnitsOfError(grid(), **options),
        _in_units_of_error,
        *("residual", "weight", "variance"),
    ),
    _loss(
        "SpectrophotometricFluxLoss",
        "SpectrophotometricFluxLoss",
        lambda **options: SpectrophotometricFluxLoss(grid(), photometry(), **options),
        _from_spectra,
        *("spectrum", "z_spec"),
        **REFUSED_BY_THE_SHIFT,
    ),
    _loss(
        "SpectrophotometricFluxLoss[ivar]",
        "SpectrophotometricFluxLoss",
        lambda **options: FromNoisySpectra(grid(), photometry(), min_snr=MIN_SNR, **options),
        _from_noisy_spectra,
        *("spectrum", "z_spec", "ivar"),
        **REFUSED_BY_THE_SHIFT,
        option=True,
    ),
    *(entry for distance in ("l2", "symmetric_kl", "cramer") for entry in _between_views(distance)),
    *OPTIONS,
    Entry(
        "L2Penalty",
        "loss",
        "L2Penalty l2_penalty",
        ("logits", "other"),
        lambda one, other: l2_penalty([one, other]),
        OfTwoTensors,
        excused={
            "reductions_agree": NO_GALAXIES,
            "a_batch_is_its_singles": NO_GALAXIES,
            "an_empty_batch_gives_an_empty_answer": "0, which the sum over nothing is",
            "a_shift_of_all_logits_changes_nothing": "its arguments are no logits",
        },
    ),
]

# Metrics ------------------------------------------------------------------------------------------

A_COUNT = "a count of galaxies, flat almost everywhere"
ON_THE_HOST = "SciPy's p-values: it runs on the host, after the last batch"
ONE_COLUMN = "takes a table of galaxies, one row each"
DICTIONARY = "each number of the table is a cell of its own"
NO_HALF = "redshifts in half precision are refused: z_spec and z_phot keep float32"


UNSEEN = dict.fromkeys(
    (
        "a_redshift_outside_that_no_check_saw_is_never_a_score",
        "an_unknown_redshift_that_no_check_saw_is_never_a_score",
    ),
    DICTIONARY,
)


def _attributes(excused: dict[str, Any]) -> dict[str, Any]:
    """`keeps`, `infinite`, `unknown` and `option` of an entry, and what is left excused."""
    sets = {key: frozenset(excused.pop(key, ())) for key in ("keeps", "infinite", "unknown")}
    return {**sets, "option": excused.pop("option", False), "excused": excused}


def _score(name, function=None, *, reduces=True, takes=("probs", "z_spec"), **excused):
    function = function or getattr(metrics, name)

    def on_bins(*values, bins, **options):
        return function(*values, bins, **options)

    if not reduces:
        excused["reductions_agree"] = "one number for each galaxy, which no one reduces"
    public = f"metrics.{name.split('[')[0]}"
    return Entry(
        name, "score", public, takes, on_bins, reduces=reduces, each=True, **_attributes(excused)
    )


def _with(function, **fixed):
    return lambda *values, **options: function(*values, **fixed, **options)


def _named(name):
    """`metrics.binned` and `metrics.standard_error` of the function, as a mapping of tensors."""
    if name == "binned":

        def function(z_phot, z_spec, by):
            part = metrics.binned(metrics.mad, z_phot, z_spec, by=by, edges=[0.0, 0.5, 1.0])
            return {"value": part.value, "count": part.count, "outside": part.outside}
    else:

        def function(z_phot, z_spec):
            value, error = metrics.standard_error(metrics.rms, z_phot, z_spec, n_boot=None)
            return {"value": value, "error": error}

    return function


def _statistic(name, function=None, *, takes=("z_phot", "z_spec"), public=None, **excused) -> Entry:
    function = function or getattr(metrics, name.split("[")[0])
    public = public or f"metrics.{name.split('[')[0]}"
    return Entry(name, "statistic", public, takes, function, **_attributes(excused))


def _collection(probs, z_spec, *, bins):
    z_phot = bins.mean(probs)
    point = {"mad": metrics.mad, "bias": metrics.bias, "outlier_rate": metrics.outlier_rate}
    scores = {name: getattr(metrics, name) for name in ("cde_loss", "crps", "log_score")}
    return {
        **{name: function(z_phot, z_spec) for name, function in point.items()},
        **{name: function(probs, z_spec, bins) for name, function in scores.items()},
        **metrics.pit_statistics(metrics.pit(probs, z_spec, bins)),
    }


def _of_rail(probs, z_spec, *, bins):
    chosen, pair = metrics.PRESETS["rail"], (bins.mode(probs), z_spec)
    return _collection(probs, z_spec, bins=bins) | {
        "mad": metrics.mad(*pair, centered=True),
        "bias": metrics.bias(*pair, statistic="median"),
        "outlier_rate": metrics.outlier_rate(*pair, threshold="sigma_iqr"),
        "sigma_iqr": metrics.sigma_iqr(*pair, factor=chosen.iqr_factor),
    }


def _metric(name, of, build, function=None, *, takes=None, each=False, **excused) -> Entry:
    takes = takes or next(entry.inputs for entry in FUNCTIONS if entry.name == of)
    public = f"metrics.{name.split('[')[0]}"
    return Entry(
        name, "metric", public, takes, function, build, each=each, of=of, **_attributes(excused)
    )


LOOKS = "looks at the values once, on the host, to refuse those outside [0, 1]"
WHERE = "takes the rows of each bin out, and their number depends on values"
ON_ROWS = dict.fromkeys(("compiles_whole", "vmap_is_the_loop", "exports"), WHERE)
ON_VALUES = dict.fromkeys(
    ("compiles_whole", "vmap_is_the_loop", "exports", "runs_on_fake_cuda", "waits_for_no_device"),
    LOOKS,
)
STEPS = {"derivatives": A_COUNT, "second_derivatives": A_COUNT, "grad_of_func": A_COUNT}
DRAWS = "draws a place in its bin for each galaxy"
ON_HOST = "draws by a generator on the host, whose numbers are sent"
SENDS = dict.fromkeys(("sends_nothing_to_a_device", "waits_for_no_device"), ON_HOST)
OF_DRAWS = dict.fromkeys(("a_batch_is_its_singles", "a_permutation_permutes"), DRAWS)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _weighted(name):
    def function(z_phot, z_spec, weights):
        return getattr(metrics, name)(z_phot, z_spec, weights=weights)

    return function


LEVELS = {"level": [0.5, 0.68], "interval": "highest_density"}
WEIGHTED = {"mad": "MAD", "bias": "Bias", "outlier_rate": "OutlierRate"}
WEIGHTED |= {"sigma_iqr": "SigmaIQR", "rms": "RMS"}
FUNCTIONS = [
    _score("cde_loss"),
    _score("crps"),
    _score("log_score", infinite={"0"}),
    _score("brier"),
    _score("entropy", takes=("probs",)),
    _score("pit", reduces=False),
    _score("credibility", reduces=False),
    _score(
        "credibility[highest_density]",
        _with(metrics.credibility, interval="highest_density"),
        reduces=False,
    ),
    _score("coverage", keeps={"keeps_no_graph"}, **STEPS),
    _score(
        "coverage[highest_density]",
        _with(metrics.coverage, interval="highest_density", level=0.5),
        keeps={"keeps_no_graph"},
        **STEPS,
    ),
    _score("galaxy_scores", reduces=False, infinite={"log_score"}, **UNSEEN),
    _score(
        "pit[randomized]",
        lambda *given: metrics.pit(*given, randomized=True, generator=_seeded()),
        reduces=False,
        option=True,
        **OF_DRAWS,
        **SENDS,
        compiles_whole="seeds a generator, which is no part of a graph",
        vmap_is_the_loop="torch.func asks for its own option where random numbers are drawn",
    ),
    _statistic("mad"),
    _statistic("mad[centered]", _with(metrics.mad, centered=True)),
    _statistic("sigma_iqr"),
    _statistic("bias"),
    _statistic("bias[median]", _with(metrics.bias, statistic="median")),
    _statistic("outlier_rate"),
    _statistic("outlier_rate[sigma_iqr]", _with(metrics.outlier_rate, threshold="sigma_iqr")),
    _statistic("rms"),
    _statistic("pit_histogram", takes=("pit_values",), **ON_VALUES),
    _statistic(
        "pit_statistics",
        takes=("pit_values",),
        **dict.fromkeys(ON_VALUES, ON_THE_HOST),
        infinite={"ad"},
    ),
    *(
        _statistic(
            f"{name}[weights]",
            _weighted(name),
            takes=("z_phot", "z_spec", "weights"),
            option=True,
        )
        for name in WEIGHTED
    ),
    _statistic("standard_error", _named("standard_error"), leading_dimensions_are_free=ONE_COLUMN),
    _statistic(
        "binned",
        _named("binned"),
        public="metrics.binned metrics.PerBin",
        takes=("z_phot", "z_spec", "by"),
        leading_dimensions_are_free=ONE_COLUMN,
        **ON_ROWS,
        runs_on_fake_cuda=WHERE,
        waits_for_no_device=WHERE,
    ),
]
HOST = dict.fromkeys(("compiles_whole", "runs_on_fake_cuda", "waits_for_no_device"), ON_THE_HOST)
CLASSES = [
    _metric("CDELoss", "cde_loss", lambda: metrics.CDELoss(grid())),
    _metric("CRPS", "crps", lambda: metrics.CRPS(grid())),
    _metric("LogScore", "log_score", lambda: metrics.LogScore(grid()), infinite={"0"}),
    _metric("Brier", "brier", lambda: metrics.Brier(grid())),
    _metric("Entropy", "entropy", lambda: metrics.Entropy(grid())),
    _metric("PIT", "pit", lambda: metrics.PIT(grid()), each=True),
    _metric("Coverage", "coverage", lambda: metrics.Coverage(grid())),
    _metric("MAD", "mad", metrics.MAD),
    _metric(
        "MAD[approximate]",
        "mad",
        lambda: metrics.MAD(approximate=16),
        function_equals_module="off by half a bin, as documented and tested with the histograms",
    ),
    _metric("MAD[centered]", "mad[centered]", lambda: metrics.MAD(centered=True)),
    _metric("SigmaIQR", "sigma_iqr", metrics.SigmaIQR),
    _metric("Bias", "bias", metrics.Bias),
    _metric("OutlierRate", "outlier_rate", metrics.OutlierRate),
    _metric("RMS", "rms", metrics.RMS),
    _metric(
        "PITStatistics",
        "pit_statistics",
        lambda: metrics.PITStatistics(grid()),
        lambda probs, z, *, bins: metrics.pit_statistics(metrics.pit(probs, z, bins)),
        takes=("probs", "z_spec"),
        **HOST,
        infinite={"ad"},
    ),
    _metric(
        "PITStatistics[approximate]",
        "pit_statistics",
        lambda: metrics.PITStatistics(grid(), approximate=32),
        lambda probs, z, *, bins: metrics.pit_statistics(metrics.pit(probs, z, bins)),
        takes=("probs", "z_spec"),
        option=True,
        **HOST,
        function_equals_module="of a histogram, with the errors that are documented and tested",
        unknown={"ad", "ad_pvalue"},
    ),
    _metric(
        "PIT[randomized]",
        "pit[randomized]",
        lambda: metrics.PIT(grid(), randomized=True, generator=_seeded()),
        each=True,
        option=True,
        a_permutation_permutes=DRAWS,
        what_is_merged_is_seen=DRAWS,
        **SENDS,
        compiles_whole=ON_HOST,
        a_checkpoint_gives_the_same="a checkpoint holds no generator",
    ),
    _metric(
        "Coverage[levels]",
        "coverage",
        lambda: metrics.Coverage(grid(), **LEVELS),
        lambda probs, z, *, bins: metrics.coverage(probs, z, bins, **LEVELS),
        option=True,
    ),
    *(
        _metric(f"{kind}[weights]", f"{name}[weights]", getattr(metrics, kind), option=True)
        for name, kind in WEIGHTED.items()
    ),
    _metric(
        "Binned",
        "binned",
        lambda: metrics.Binned(metrics.MAD(), edges=[0.0, 0.5, 1.0]),
        leading_dimensions_are_free=ONE_COLUMN,
        compiles_whole=WHERE,
        runs_on_fake_cuda=WHERE,
        updates_on_fake_cuda=WHERE,
        waits_for_no_device=WHERE,
    ),
    Entry(
        "PhotoZMetrics",
        "metric",
        "metrics.PhotoZMetrics metrics.photo_z_metrics metrics.PRESETS metrics.Preset",
        ("probs", "z_spec"),
        _collection,
        lambda: metrics.photo_z_metrics(grid()),
        excused=HOST,
        infinite=frozenset({"log_score", "ad"}),
    ),
    Entry(
        "PhotoZMetrics[rail]",
        "metric",
        "metrics.PhotoZMetrics",
        ("probs", "z_spec"),
        _of_rail,
        lambda: metrics.photo_z_metrics(grid(), "rail"),
        excused=HOST,
        infinite=frozenset({"log_score", "ad"}),
        option=True,
    ),
]

# The reading of the bins, and what else computes on a device --------------------------------------


class Weighed(nn.Module):
    """A sum of terms, by place."""

    def __init__(self, weighting: nn.Module | None = None) -> None:
        super().__init__()
        ramp = WeightSchedule(0.1, "linear", steps=3, start=0.05)
        terms = {
            "ce": (1.0, RedshiftCrossEntropy(grid())),
            "crps": (1.0, CRPSLoss(grid())),
            "cde": (ramp, CDELoss(grid())),
        }
        self.sum = TotalLoss(terms, weighting=weighting)

    def forward(self, logits: Tensor, z_spec: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result: tuple[Tensor, dict[str, Tensor]] = self.sum(logits=logits, z_spec=z_spec)
        return result


class Viewed(nn.Module):
    """A network on views of its images."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.run = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), run
        with torch.no_grad():
            self.model[1].weight.copy_(torch.linspace(-1, 1, 5 * 192).reshape(5, 192).sin())
            self.model[1].bias.zero_()
        self.eval()

    def forward(self, images: Tensor) -> Any:
        return self.run(self.model, images)


def _twice(model, images):
    return tuple(two_views(model, images, RandomDihedral(), fraction=0.5))


def _oriented(model, images):
    return average_views(model, images, None)


def _fitted(calibration):
    def build():
        logits = inputs.batch(40)["logits"].unsqueeze(1).repeat(1, 5, 1)
        return calibration(grid()).fit(logits.flatten(0, 1), torch.linspace(0.01, 0.39, 200))

    return build


def _norms(logits, z_spec, *, bins):
    logits = logits.detach().requires_grad_()
    return gradient_norms({"ce": cross_entropy(logits, z_spec, bins)}, [logits])


READINGS = [
    Entry(f"RedshiftBins.{name}", "reading", "RedshiftBins", takes, function)
    for name, takes, function in [
        ("index", ("z_spec",), lambda z, *, bins: bins.index(z)),
        ("pdf", ("probs", "z_spec"), lambda probs, z, *, bins: bins.pdf(probs, z)),
        ("cdf", ("probs", "z_spec"), lambda probs, z, *, bins: bins.cdf(probs, z)),
        ("quantile", ("probs", "by"), lambda probs, q, *, bins: bins.quantile(probs, q)),
        ("density", ("probs",), lambda probs, *, bins: bins.density(probs)),
        ("mean", ("probs",), lambda probs, *, bins: bins.mean(probs)),
        ("median", ("probs",), lambda probs, *, bins: bins.median(probs)),
        ("mode", ("probs",), lambda probs, *, bins: bins.mode(probs)),
        ("best", ("probs",), lambda probs, *, bins: bins.best(probs)),
    ]
] + [
    Entry(
        "rebin",
        "reading",
        "rebin",
        ("probs",),
        lambda probs, *, bins, new_bins: rebin(probs, bins, new_bins),
    )
]
WEIGHTINGS = [
    Entry(
        "WeightSchedule",
        "weighting",
        "WeightSchedule",
        ("logits",),
        build=lambda: WeightSchedule(0.3, "linear", steps=3, start=0.1),
    ),
    Entry("TotalLoss", "weighting", "TotalLoss", ("logits", "z_spec"), build=Weighed),
    Entry(
        "UncertaintyWeights",
        "weighting",
        "UncertaintyWeights",
        ("logits", "z_spec"),
        build=lambda: Weighed(UncertaintyWeights(["ce", "crps"])),
    ),
    Entry(
        "ReLoBRaLo",
        "weighting",
        "ReLoBRaLo",
        ("logits", "z_spec"),
        build=lambda: Weighed(ReLoBRaLo(["ce", "crps"])),
        excused=dict.fromkeys(
            ("vmap_is_the_loop", "grad_of_func"),
            "keeps its progress in buffers as it trains, to which torch.func lets nobody write",
        ),
    ),
    Entry(
        "gradient_norms",
        "weighting",
        "gradient_norms",
        ("logits", "z_spec"),
        _norms,
        excused={
            "compiles_whole_as_well": "calls torch.autograd.grad, not for a compiled step",
            "runs_on_fake_cuda": "torch's backward asks for a device that is really there",
            "vmap_is_the_loop": "calls torch.autograd.grad, which torch.func cannot go through",
            "grad_of_func": "calls torch.autograd.grad, which torch.func cannot go through",
        },
    ),
]
DISC = torch.ones(8, 8).tril().bool()
TRANSFORMS = [
    Entry(name, "transform", f"transforms.{name.split('[')[0]}", ("images",), build=build)
    for name, build in {
        "RandomDihedral": RandomDihedral,
        "RandomRotation": lambda **source: RandomRotation(2, **source),
        "RandomRotation[bicubic]": lambda **s: RandomRotation(interpolation="bicubic", **s),
        "ResampleBackground": lambda **source: ResampleBackground(unbiased=True, **source),
        "ResampleBackground[correlated]": lambda **s: ResampleBackground(correlated=True, **s),
        "ResampleBackground[mask]": lambda **source: ResampleBackground(mask=DISC, **source),
        "ResampleBackground[mask, correlated]": lambda **source: ResampleBackground(
            mask=DISC, correlated=True, **source
        ),
    }.items()
]
IMAGES = [  # functions that the transforms call
    Entry("dihedral", "image", "transforms.dihedral", ("images", "element"), dihedral),
    Entry("rotate", "image", "transforms.rotate", ("images", "angle"), rotate),
    Entry(
        "resample_background",
        "image",
        "transforms.resample_background",
        ("images",),
        resample_background,
        excused={"compiles_whole_with_inductor": "inductor draws random numbers of its own"},
    ),
    Entry("tangent_image", "image", "transforms.tangent_image", ("images",), tangent_image),
]
PHOTOMETRY = [
    Entry(
        "SyntheticPhotometry",
        "photometry",
        "photometry photometry.SyntheticPhotometry photometry.FilterSet",
        ("spectrum", "nu"),
        build=photometry,
    ),
    *(
        Entry(
            f"flux_residual[{', '.join(map(str, options.values()))}]",
            "photometry",
            "flux_residual photometry.flux_residual",
            ("spectrum", "z_spec"),
            lambda flux, z, *, bins, photometry, _options=options: flux_residual(
                photometry, flux, z, bins, **_options
            ),
        )
        for options in ({"quadrature": "midpoint"}, {"quadrature": "trapezoid", "dimming": "f_nu"})
    ),
    Entry(
        "flux_residual[ivar]",
        "photometry",
        "flux_residual photometry.flux_residual",
        ("spectrum", "z_spec", "ivar"),
        lambda flux, z, ivar, *, bins, photometry: flux_residual(
            photometry, flux, z, bins, ivar=ivar, min_snr=MIN_SNR, valid=ivar > 1
        ),
    ),
    Entry(
        "relative_variance",
        "photometry",
        "photometry.relative_variance",
        ("spectrum", "ivar"),
        lambda flux, ivar, *, photometry: relative_variance(photometry, flux, ivar),
        excused={"photometry_has_a_backward_on_meta": "a weight, without gradient, as documented"},
    ),
]
OTHERS = [
    Entry(name, "calibration", f"calibration.{name}", ("logits",), build=_fitted(calibration))
    for name, calibration in [
        ("TemperatureScaling", TemperatureScaling),
        ("PITRecalibration", PITRecalibration),
    ]
] + [
    Entry(name.split()[0], "view", name, ("images",), build=lambda _run=run: Viewed(_run))
    for name, run in [
        ("two_views Views", _twice),
        ("average_views", _oriented),
        ("rotation_derivative", rotation_derivative),
    ]
]

# What no law concerns: it reads, writes or draws on the host, with a test file of its own ---------

HOST_ONLY = [
    Entry("FluxTable", "table", "photometry.FluxTable", tested="photometry/test_table.py"),
    Entry("Spectra", "data", "photometry.Spectra", tested="photometry/test_spectra.py"),
    Entry("Templates", "data", "photometry.Templates", tested="photometry/test_templates.py"),
    Entry(
        "source_mask",
        "data",
        "transforms transforms.source_mask transforms.SourceMask",
        tested="transforms/test_sources.py",
    ),
    Entry(
        "read_sdss_spectra",
        "file",
        "photometry.read_sdss_spectra",
        tested="photometry/test_spectra.py",
    ),
    Entry(
        "predictions",
        "file",
        "io.Predictions io.load_predictions io.save_predictions io.from_qp io.to_qp",
        tested="test_io.py",
    ),
    Entry("write_report", "page", "report.write_report", tested="test_report.py"),
    *(
        Entry(name, "drawing", f"plots.{name}", tested="plots/test_plots.py")
        for name in (
            *("plot_binned", "plot_coverage", "plot_densities", "plot_gallery"),
            *("plot_nz", "plot_pit", "plot_pp", "plot_redshifts"),
        )
    ),
]
# Public methods that are no cell, and what they are. (A class with a cell is built, called, updated
# merged and printed by the laws: `forward`, `update`, `compute`, `merge_state`, `extra_repr`.)
METHODS = {
    "metrics.Binned": {"reset persistent": "torchmetrics'"},
    "photometry.FilterSet": {"from_speclite": "constructor", "digest": "attribute"},
    "photometry.FluxTable": {
        "build load": "constructor",
        "save": "file",
        "to": "device",
        "residual band_weight variance z_spec clamped object_ids dtype": "attribute",
    },
    "calibration.PITRecalibration": {"fit": "fitting"},
    "ReLoBRaLo": {"factors": "step", "get_extra_state set_extra_state": "torch's"},
    "RedshiftBins": {
        "uniform log1p from_quantiles": "constructor",
        "read_logits read_probs shape_of locate overlap": "rooms'",
        "below_edges mass_below quantile_below mean_of mode_of": "rooms'",
        "extra_repr": "printed",
    },
    "photometry.Spectra": {"extend": "filling", "to": "device"},
    "SpectrophotometricFluxLoss": {"unusable": "attribute"},
    "photometry.SyntheticPhotometry": {"evaluate variance": "photometry"},
    "calibration.TemperatureScaling": {"fit": "fitting"},
    "photometry.Templates": {"from_kcorrect": "constructor", "fit spectrum reach": "filling"},
    "TotalLoss": {"step": "step", "active current_weights": "attribute"},
    "UncertaintyWeights": {"factors": "step", "get_extra_state set_extra_state": "torch's"},
    "WeightSchedule": {
        "step": "step",
        "at current value step_number moves": "attribute",
        "get_extra_state set_extra_state": "torch's",
    },
}
BY_LAWS = ("forward", "update", "compute", "merge_state", "extra_repr")
SURFACE = [
    *(*LOSSES, *FUNCTIONS, *CLASSES),
    *(*READINGS, *WEIGHTINGS, *TRANSFORMS, *IMAGES, *PHOTOMETRY, *OTHERS, *HOST_ONLY),
]


def public_names() -> dict[str, set[str]]:
    """Names in the table by module, "" for the package."""
    names: dict[str, set[str]] = {module: set() for module in modules()}
    for entry in SURFACE:
        for public in entry.public.split():
            module, _, name = public.rpartition(".")
            names.setdefault(module, set()).add(name)
    return names


def methods_with_cells() -> set[tuple[str, str]]:
    """Class and method where an entry has the method's name, or the laws call it."""
    built = {name for entry in SURFACE if entry.build is not None for name in entry.public.split()}
    named = {(kind, name) for kind, dot, name in (x.name.rpartition(".") for x in SURFACE) if dot}
    return named | {(kind, method) for kind in built for method in BY_LAWS}


def methods_without_cells() -> set[tuple[str, str]]:
    """Class and method of `METHODS`."""
    return {
        (kind, method) for kind, of in METHODS.items() for names in of for method in names.split()
    }


def excuse(entry: Entry, law: str) -> str | None:
    """Why a law does not hold for an entry, if so."""
    if law in entry.keeps:
        return None
    if law == "sends_nothing_to_a_device" and (needed := entry.excused.get("runs_on_fake_cuda")):
        return needed
    return entry.excused.get(law) or EXCUSED.get(entry.kind, {}).get(law)

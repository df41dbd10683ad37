"""Bad input: redshift bins, and what every reader of masses asks of them."""

from collections import UserList, deque, namedtuple

import numpy as np
import torch
from astropy import units
from astropy.table import Column
from errors.table import BINS, INF, LOGITS, NAN, PROBS, Cases, Z

from photoz_losses import RedshiftBins, metrics, rebin

case = Cases()

for name, edges, says in (
    ("decreasing", [0.4, 0.2, 0.0], ("increase strictly", "0.4 followed by 0.2", "sort")),
    ("repeated", [0.0, 0.2, 0.2, 0.4], ("increase strictly", "index 1", "drop repeated")),
    ("NaN", [0.0, NAN, 0.4], ("finite", "drop")),
    ("infinite", [0.0, 0.2, INF], ("finite", "drop")),
    ("too few", [0.0, 0.4], ("at least 3", "(2,)")),
    ("empty", [], ("at least 3",)),
    ("2-D", [[0.0, 0.2, 0.4]], ("vector", "(1, 3)")),
    ("at -1", [-1.0, 0.0, 0.4], ("above -1", "got -1", "not their logarithms")),
    ("below -1", [-2.5, 0.0, 0.4], ("above -1", "got -2.5")),
    ("-1 in float32", [-1.0 + 1e-9, 0.0, 0.4], ("above -1",)),
    ("too close", [0.0, 1e-39, 0.4], ("float32 can divide", "1e-39 in bin 0", "drop an edge")),
    ("subnormal", [0.0, 5e-324, 0.4], ("float32 can divide", "bin 0")),
    ("beyond float32", [0.0, 3e38, 6e38], ("that float32 holds", "6e+38")),
    ("too far apart", [0.0, 0.4, 1e300], ("float32 can divide", "1e+300 in bin 1")),
):
    case(f"bins: edges {name}", lambda e=edges: RedshiftBins(e), ValueError, "edges", *says)

HIDDEN = np.ma.array([0.0, 9.99, 0.4], mask=[False, True, False])
ENDLESS = [0.0]
ENDLESS.append(ENDLESS)
Ends = namedtuple("Ends", "low middle high")
VELOCITY = Column([0.0, 0.2, 0.4], unit="km/s")
UNKNOWN = units.Unit("cz", parse_strict="silent")


class OfAnother(np.ndarray):
    """As unyt's arrays are: the unit is one of the array, and so is its error."""

    units = "km/s"

    def to_value(self, unit):
        raise RuntimeError(f"cannot convert to {unit!r}")


class Lazy:
    """As Dask's masked arrays are: no array before it is asked for."""

    def __array__(self, dtype=None, copy=None):
        return HIDDEN


class OfPint:
    """As pint's quantities are: no arrays, with a unit that only they convert."""

    units = "nm"

    def __array__(self, dtype=None, copy=None):
        return np.array([0.0, 0.2])


class LazySpeed:
    """What is computed has a unit."""

    def __array__(self, dtype=None, copy=None):
        return [0.0, 0.2] * units.km / units.s


for name, edges, *says in (
    ("of pint", OfPint(), "no unit", "in nm"),
    ("velocities when they are computed", LazySpeed(), "no unit", "in km / s"),
    ("of another package of units", np.array([0.0, 0.2]).view(OfAnother), "no unit", "in km/s"),
    ("logarithms", [1.0, 1.2] * units.ABmag - 1.0 * units.ABmag, "no unit", "in mag", ".value"),
    ("masked when it is computed", Lazy(), "mask", "compressed()"),
    ("masked", HIDDEN, "mask", "edges.compressed()"),
    ("masked in a list", [0.0, np.ma.masked, 0.4], "mask", "leave out"),
    ("masked in a UserList", UserList([0.0, np.ma.masked, 0.4]), "mask", "leave out"),
    ("masked in a deque", deque([0.0, np.ma.masked, 0.4]), "mask", "leave out"),
    ("masked in a named tuple", Ends(0.0, np.ma.masked, 0.4), "mask", "leave out"),
    ("masked in a list of another", [deque([0.0, np.ma.masked, 0.4])], "mask", "leave out"),
    ("a list that holds itself", ENDLESS, "at most 64 deep", "holds itself", "flat"),
    ("in Mpc", [0.0, 0.2, 0.4] * units.Mpc, "no unit", "Mpc", ".value"),
    ("a column of velocities", VELOCITY, "no unit", "numbers in km / s", ".value"),
    ("a list of velocities", [v * units.km / units.s for v in VELOCITY], "no unit", "km / s"),
    ("velocities in a list", [VELOCITY], "no unit", "numbers in km / s", ".value"),
    ("a unit unknown", Column(VELOCITY, unit=UNKNOWN), "no unit", "numbers in cz", ".value"),
    ("a column of text", Column(["a", "b", "c"], unit="km/s"), "no unit", "km / s"),
):
    case(f"bins: edges {name}", lambda e=edges: RedshiftBins(e), TypeError, "edges", *says)
case(
    "bins.from_quantiles: masked",
    lambda: RedshiftBins.from_quantiles(HIDDEN, 1), TypeError, "z_spec", "mask", "compressed()",
)  # fmt: skip
case(
    "bins.from_quantiles: a column of velocities",
    lambda: RedshiftBins.from_quantiles(VELOCITY, 1), TypeError, "z_spec", "no unit", "km / s",
)  # fmt: skip
case(
    "bins.quantile: masked",
    lambda: BINS.quantile(PROBS, HIDDEN[:2]), TypeError, "q must have no mask", "q.compressed()",
)  # fmt: skip
case(
    "bins: edges sparse",
    lambda: RedshiftBins(torch.eye(3).to_sparse()),
    TypeError, "edges", "dense", "edges.to_dense()",
)  # fmt: skip
for edges in ((180,), (0.0, 0.4, 180), (torch.tensor([0.0, 0.2, 0.4]), 180)):
    case(
        f"bins: edges {'a number' if len(edges) == 1 else f'and more, {type(edges[0]).__name__}'}",
        lambda e=edges: RedshiftBins(*e),
        TypeError, "edges must be a vector", "180", "RedshiftBins.uniform(z_min, z_max, n_bins)",
    )  # fmt: skip
case("bins.uniform: reversed", lambda: RedshiftBins.uniform(0.4, 0.0, 4), ValueError, "z_min")
case("bins.uniform: one bin", lambda: RedshiftBins.uniform(0.0, 0.4, 1), ValueError, "at least")
case("bins.log1p: z_min", lambda: RedshiftBins.log1p(-1.0, 1.0, 4), ValueError, "z_min", "-1")
case(
    "bins.from_quantiles: NaN",
    lambda: RedshiftBins.from_quantiles([0.1, NAN, 0.2], 2),
    ValueError, "z_spec", "finite", "drop",
)  # fmt: skip
case(
    "bins.from_quantiles: equal values",
    lambda: RedshiftBins.from_quantiles([0.1] * 9 + [0.2], 4),
    ValueError, "z_spec", "equal", "fewer bins",
)  # fmt: skip
case(
    "bins.from_quantiles: nearly equal values",
    lambda: RedshiftBins.from_quantiles([0.0, 0.0, 1e-40, 0.2], 3),
    ValueError, "z_spec", "equal", "fewer bins",
)  # fmt: skip
case(
    "bins.from_quantiles: no galaxies",
    lambda: RedshiftBins.from_quantiles([], 4),
    ValueError, "z_spec", "at least two",
)  # fmt: skip
case("bins.index: above", lambda: BINS.index(0.41), ValueError, "z must lie in [0, 0.4]", "0.41")
case("bins.index: NaN", lambda: BINS.index(NAN, "clip"), ValueError, "z must lie in", "nan")
case(
    "bins.index: option",
    lambda: BINS.index(0.1, "nearest"),
    ValueError, "out_of_range", "'raise', 'clip'", "nearest",
)  # fmt: skip
case(
    "bins.index: integers",
    lambda: BINS.index(torch.tensor([0, 1])),
    TypeError, "z", "floating-point", "int64", "float()",
)  # fmt: skip
case("bins.index: half", lambda: BINS.index(Z.half()), TypeError, "z must be float32", "float16")
case("bins.cdf: half", lambda: BINS.cdf(PROBS, Z.half()), TypeError, "z", "float32", "float16")
case("bins.pdf: half", lambda: BINS.pdf(PROBS, Z.half()), TypeError, "z", "float32", "float16")
case("bins.quantile: per cent", lambda: BINS.quantile(PROBS, 50.0), ValueError, "q", "fractions")
case("bins.quantile: negative", lambda: BINS.quantile(PROBS, -0.1), ValueError, "q", "[0, 1]")
case(
    "bins.pdf: grid without a dimension of its own",
    lambda: BINS.pdf(PROBS, torch.linspace(0, 0.4, 7)),
    ValueError, "z", "(7,)", "broadcast", "unsqueeze(-2)",
)  # fmt: skip

READERS = {
    "density": lambda p: BINS.density(p),
    "mean": lambda p: BINS.mean(p),
    "median": lambda p: BINS.median(p),
    "mode": lambda p: BINS.mode(p),
    "pdf": lambda p: BINS.pdf(p, 0.1),
    "cdf": lambda p: BINS.cdf(p, 0.1),
    "quantile": lambda p: BINS.quantile(p, 0.5),
    "metrics.pit": lambda p: metrics.pit(p, Z, BINS),
    "metrics.cde_loss": lambda p: metrics.cde_loss(p, Z, BINS),
    "metrics.crps": lambda p: metrics.crps(p, Z, BINS),
    "metrics.PIT": lambda p: metrics.PIT(BINS).update(p, Z),
    "metrics.CDELoss": lambda p: metrics.CDELoss(BINS).update(p, Z),
    "metrics.CRPS": lambda p: metrics.CRPS(BINS).update(p, Z),
    "metrics.log_score": lambda p: metrics.log_score(p, Z, BINS),
    "metrics.brier": lambda p: metrics.brier(p, Z, BINS),
    "metrics.entropy": lambda p: metrics.entropy(p, BINS),
    "metrics.credibility": lambda p: metrics.credibility(p, Z, BINS),
    "metrics.coverage": lambda p: metrics.coverage(p, Z, BINS),
    "metrics.galaxy_scores": lambda p: metrics.galaxy_scores(p, Z, BINS),
    "metrics.PITStatistics": lambda p: metrics.PITStatistics(BINS).update(p, Z),
    "metrics.LogScore": lambda p: metrics.LogScore(BINS).update(p, Z),
    "metrics.Brier": lambda p: metrics.Brier(BINS).update(p, Z),
    "metrics.Entropy": lambda p: metrics.Entropy(BINS).update(p),
    "metrics.Coverage": lambda p: metrics.Coverage(BINS).update(p, Z),
    "best": lambda p: BINS.best(p),
    "rebin": lambda p: rebin(p, BINS, BINS),
}
for name, read in READERS.items():
    case(
        f"{name}: logits for probs",
        lambda read=read: read(LOGITS),
        ValueError, "probs", "masses per bin", "softmax",
    )  # fmt: skip
    case(
        f"{name}: densities for probs",
        lambda read=read: read(PROBS / 0.1),
        ValueError, "probs", "masses per bin", "bins.widths",
    )  # fmt: skip
    case(
        f"{name}: NaN",
        lambda read=read: read(PROBS * NAN),
        ValueError,
        "probs",
        "NaN in 2 of 2 rows",
    )
    case(f"{name}: bins", lambda read=read: read(PROBS[:, 1:]), ValueError, "probs", "4)", "(2, 3)")
    case(
        f"{name}: integers",
        lambda read=read: read(torch.eye(4)[:2].long()),
        TypeError, "probs", "floating-point", "int64", "probs.float()",
    )  # fmt: skip

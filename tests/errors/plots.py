"""Bad input: what pictures refuse before they open a figure."""

import torch
from errors.table import BINS, INF, LOGITS, NAN, PROBS, Cases, Z
from matplotlib.figure import Figure

from photoz_losses.plots import (
    plot_binned,
    plot_coverage,
    plot_densities,
    plot_gallery,
    plot_nz,
    plot_pit,
    plot_pp,
    plot_redshifts,
)

IMAGE = torch.ones(5, 8, 8)
EDGES, VALUES, LEVEL = [0.0, 1.0, 2.0], [1.0, 2.0], [0.5]
case = Cases()


def redshifts(z_phot=Z, z_spec=Z, **options):
    plot_redshifts(z_phot, z_spec, **options)


def intervals(low=Z - 0.01, high=Z + 0.01, **options):
    redshifts(low=low, high=high, **options)


def gallery(image=IMAGE, **options):
    plot_gallery(image, PROBS, BINS, **options)


def binned(edges=EDGES, values=VALUES, **options):
    plot_binned(edges, values, **options)


def coverage(level=LEVEL, coverage=LEVEL, **options):
    plot_coverage(level, coverage, **options)


for name, call in {
    "plot_pit": lambda ax: plot_pit(Z, ax=ax),
    "plot_pp": lambda ax: plot_pp(Z, ax=ax),
    "plot_nz": lambda ax: plot_nz(PROBS, Z, BINS, ax=ax),
    "plot_densities": lambda ax: plot_densities(PROBS, BINS, ax=ax),
    "plot_redshifts": lambda ax: redshifts(ax=ax),
    "plot_binned": lambda ax: binned(ax=ax),
    "plot_coverage": lambda ax: coverage(ax=ax),
    "plot_gallery": lambda ax: gallery(axes=[ax, ax]),
}.items():
    argument = "axes" if name == "plot_gallery" else "ax"
    case(f"{name}: ax a figure", lambda c=call: c(Figure()), TypeError, argument, "Axes", "Figure")
    case(f"{name}: ax a word", lambda c=call: c("a"), TypeError, argument, "Axes", "'a'")

for fault, call, error, *says in (
    ("probs", lambda: plot_pit(PROBS), ValueError, "pit", "(2, 4)", "probs", "pit(probs"),
    ("a mask", lambda: plot_pit(Z > 0), TypeError, "pit", "numbers", "bool"),
):
    case(f"plot_pit: {fault}", call, error, *says)
case("plot_pp: probs", lambda: plot_pp(PROBS), ValueError, "pit", "(2, 4)", "pit(probs")
case("plot_nz: no bins", lambda: plot_nz(PROBS, Z, None), TypeError, "bins", "None")
for fault, call, error, *says in (
    ("no bins", lambda: plot_densities(PROBS, None), TypeError, "bins", "None"),
    ("a list", lambda: plot_densities(PROBS.tolist(), BINS), TypeError, "probs", "list"),
    ("no views", lambda: plot_densities(PROBS[:0], BINS), ValueError, "probs", "(0, 4)"),
    ("z_spec of many", lambda: plot_densities(PROBS, BINS, z_spec=Z), ValueError, "z_spec", "(2,)"),
    ("z_spec a word", lambda: plot_densities(PROBS, BINS, z_spec="a"), TypeError, "z_spec", "'a'"),
    ("z_spec NaN", lambda: plot_densities(PROBS, BINS, z_spec=NAN), ValueError, "z_spec", "nan"),
    ("z_spec out", lambda: plot_densities(PROBS, BINS, z_spec=99), ValueError, "z_spec", "99"),
):
    case(f"plot_densities: {fault}", call, error, *says)
for fault, call, error, *says in (
    ("two-dimensional", lambda: redshifts(PROBS, PROBS), ValueError, "z_spec", "vector", "(2, 4)"),
    ("z_spec below -1", lambda: redshifts(Z, Z - 2), ValueError, "z_spec", "above -1", "-1.95"),
    ("threshold a word", lambda: redshifts(threshold="sigma_iqr"), TypeError, "threshold", "iqr"),
    ("threshold NaN", lambda: redshifts(threshold=NAN), ValueError, "threshold", "0 and 1", "nan"),
    ("threshold in per cent", lambda: redshifts(threshold=15), ValueError, "15", "percentages"),
    ("threshold negative", lambda: redshifts(threshold=-1), ValueError, "threshold", "-1"),
    ("threshold infinite", lambda: redshifts(threshold=INF), ValueError, "threshold", "inf"),
    ("bars negative", lambda: intervals(bars=-1), ValueError, "bars", "at least 0", "-1"),
    ("bars a fraction", lambda: intervals(bars=2.5), TypeError, "bars", "integer", "2.5"),
    ("low a list", lambda: intervals([0.0, 0.1]), TypeError, "low", "list"),
    ("low a number", lambda: intervals(0.1), TypeError, "low", "float"),
    ("high NaN", lambda: intervals(high=Z * NAN), ValueError, "low and high", "finite"),
    ("ends swapped", lambda: intervals(Z + 1, Z), ValueError, "low", "exceed high", "2 of 2"),
):
    case(f"plot_redshifts: {fault}", call, error, *says)
for fault, call, error, *says in (
    ("image an array", lambda: gallery(IMAGE.numpy()), TypeError, "image", "ndarray"),
    ("image NaN", lambda: gallery(IMAGE * NAN), ValueError, "image", "known"),
    ("image infinite", lambda: gallery(IMAGE * INF), ValueError, "image", "infinite"),
    ("image of no bands", lambda: gallery(IMAGE[:0]), ValueError, "image", "(0, 8, 8)"),
    ("image of no pixels", lambda: gallery(IMAGE[:, :0]), ValueError, "image", "(5, 0, 8)"),
    ("rgb out", lambda: gallery(rgb=(0, 1, 7)), ValueError, "rgb", "the 5 of", "(0, 1, 7)"),
    ("rgb fractions", lambda: gallery(rgb=(0.5, 1.0, 2.0)), TypeError, "rgb", "integers", "0.5"),
    ("rgb a word", lambda: gallery(rgb="gri"), TypeError, "rgb", "integers", "'g'"),
    ("rgb a number", lambda: gallery(rgb=3), TypeError, "rgb", "three", "3"),
    ("rgb of two", lambda: gallery(rgb=(1, 2)), ValueError, "rgb", "three bands", "(1, 2)"),
    ("axes a number", lambda: gallery(axes=3), TypeError, "axes", "two Axes", "3"),
    ("axes None", lambda: gallery(axes=[None, None]), TypeError, "axes", "None"),
    ("one of axes", lambda: gallery(axes=[None]), ValueError, "axes", "two", "1"),
):
    case(f"plot_gallery: {fault}", call, error, *says)
for fault, call, error, *says in (
    ("values beyond 1e300", lambda: binned(values=[1e308, -1e308]), ValueError, "values", "1e+308"),
    ("edges infinite", lambda: binned([0, 1, INF]), ValueError, "edges", "finite"),
    ("edges decreasing", lambda: binned([0, 2, 1]), ValueError, "edges", "increase", "2 followed"),
    ("edges of edges", lambda: binned([[0, 1, 2]]), ValueError, "edges", "vector", "(1, 3)"),
    ("edges too far", lambda: binned([0, 1, 1.7e308]), ValueError, "edges", "1e300", "1.7e+308"),
    ("values of values", lambda: binned(values=[VALUES]), ValueError, "values", "(1, 2)"),
    ("errors negative", lambda: binned(errors=[-1, 1]), ValueError, "errors", "negative"),
    ("errors a word", lambda: binned(errors="ab"), TypeError, "errors", "numbers", "'ab'"),
    ("xlabel a surrogate", lambda: binned(xlabel="\ud800"), ValueError, "xlabel", "UTF-8"),
    ("ylabel NUL", lambda: binned(ylabel="a\0"), ValueError, "ylabel", "without NUL", "a\\x00"),
    ("xlabel broken", lambda: binned(xlabel="$x_$"), ValueError, "xlabel", "'$x_$'", r"\$"),
    ("ylabel broken", lambda: binned(ylabel=r"$\frac$"), ValueError, "ylabel", "frac", r"\$"),
    ("counts NaN", lambda: binned(counts=[NAN, 1]), ValueError, "counts", "finite"),
    ("counts infinite", lambda: binned(counts=[INF, 1]), ValueError, "counts", "finite"),
    ("counts negative", lambda: binned(counts=[-5, 1]), ValueError, "counts", "not negative"),
):
    case(f"plot_binned: {fault}", call, error, *says)
for fault, call, error, *says in (
    ("none", lambda: coverage([], []), ValueError, "level", "empty"),
    ("a word", lambda: coverage("a"), TypeError, "level", "numbers", "'a'"),
    ("levels of levels", lambda: coverage([LEVEL], [LEVEL]), ValueError, "level", "(1, 1)"),
    ("no galaxies", lambda: coverage(galaxies=0), ValueError, "galaxies", "at least 1", "0"),
    ("galaxies negative", lambda: coverage(galaxies=-3), ValueError, "galaxies", "-3"),
    ("galaxies a fraction", lambda: coverage(galaxies=2.5), TypeError, "galaxies", "integer"),
    ("label a surrogate", lambda: coverage(label="\ud800"), ValueError, "label", "UTF-8"),
    ("label broken", lambda: coverage(label="$x_$"), ValueError, "label", "'$x_$'", r"\$"),
    ("galaxies a word", lambda: coverage(galaxies="a"), TypeError, "galaxies", "integer", "'a'"),
):
    case(f"plot_coverage: {fault}", call, error, *says)

for name, call, error, *says in (
    ("plot_pit: no bins", lambda: plot_pit(Z, n_bins=0), ValueError, "n_bins", "at least 2", "0"),
    ("plot_pit: a fraction", lambda: plot_pit(Z, n_bins=2.5), TypeError, "n_bins", "integer"),
    ("plot_pit: outside", lambda: plot_pit(Z + 1), ValueError, "pit", "[0, 1]"),
    ("plot_pit: masses", lambda: plot_pit(PROBS), ValueError, "(2, 4)", "probs", "pit(probs,"),
    ("plot_pp: masses", lambda: plot_pp(PROBS), ValueError, "(2, 4)", "probs", "pit(probs,"),
    ("plot_pit: words", lambda: plot_pit(["a"]), TypeError, "pit", "numbers"),
    ("plot_pp: empty", lambda: plot_pp(Z[:0]), ValueError, "pit", "at least one"),
    ("plot_nz: no batch", lambda: plot_nz(PROBS[0], Z, BINS), ValueError, "probs", "(4,)"),
    ("plot_nz: a list", lambda: plot_nz(PROBS.tolist(), Z, BINS), TypeError, "probs", "list"),
    ("plot_nz: outside", lambda: plot_nz(PROBS, Z + 1, BINS), ValueError, "z_spec", "[0, 0.4]"),
    ("plot_densities: logits", lambda: plot_densities(LOGITS, BINS), ValueError, "probs", "masses"),
    ("plot_redshifts: NaN", lambda: plot_redshifts(NAN * Z, Z), ValueError, "finite", "2 of 2"),
    ("plot_redshifts: 0", lambda: plot_redshifts(Z, Z, threshold=0.0), ValueError, "threshold"),
    ("plot_redshifts: inf", lambda: plot_redshifts(Z, Z, threshold=torch.inf), ValueError, "inf"),
    ("plot_redshifts: batch", lambda: plot_redshifts(Z, Z[:1]), ValueError, "z_spec", "(1,)"),
    ("plot_redshifts: one end", lambda: plot_redshifts(Z, Z, low=Z), ValueError, "low and high"),
    ("plot_redshifts: a list", lambda: plot_redshifts([0.1], [0.1]), TypeError, "z_phot", "list"),
    ("plot_coverage: per cent", lambda: plot_coverage([68.0], [0.5]), ValueError, "level"),
    ("plot_binned: numbers", lambda: plot_binned([0.0, 1.0], [1.0, 2.0]), ValueError, "values"),
    (
        "plot_gallery: no image",
        lambda: plot_gallery(IMAGE[0], PROBS[0], BINS), ValueError, "image", "(8, 8)",
    ),
):  # fmt: skip
    case(name, call, error, *says)

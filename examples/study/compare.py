"""Paired differences over seeds, with intervals, from the kept results of a study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Run = Mapping[str, Any]  # group, seed and, by test set, results
METRICS = {  # heading with its unit, and how many of the unit make one
    "mad": ("MAD, 10⁻³", 1e3),
    "bias": ("bias, 10⁻³", 1e3),
    "outliers_005": ("outliers, %", 1e2),
    "cde_loss": ("CDE loss", 1.0),
    "crps": ("CRPS, 10⁻³", 1e3),
    "pit_ks": ("PIT KS, %", 1e2),
    "distance": ("distance between views, 10⁻³", 1e3),
}
ROUNDING = 1e-12  # what is smaller is none
SIZED = {"bias": "size of the bias, 10⁻³"}  # headings where the sign is left out


class Difference(NamedTuple):
    """Mean of a paired difference; 95 % intervals by the bootstrap over seeds and of Student's t.

    The bootstrap of a few values is too narrow: of 5 normal ones it holds the mean 5 times in 6.
    """

    mean: float
    low: float
    high: float
    t_low: float
    t_high: float


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours less theirs, pair by pair: the same seed, galaxies, order and first weights."""
    pairs = np.asarray(ours) - np.asarray(theirs)
    if len(pairs) < 2:
        raise ValueError(f"an interval needs at least two seeds, got {len(pairs)}")
    if np.ptp(pairs) == 0:  # of the reference with itself
        return Difference(*5 * [float(pairs[0])])
    ends = stats.bootstrap(
        (pairs,), np.mean, n_resamples=10_000, method="percentile", random_state=0
    ).confidence_interval
    student = stats.ttest_1samp(pairs, 0.0).confidence_interval()
    return Difference(*map(float, (pairs.mean(), *ends, *student)))


def values(runs: Sequence[Run], group: str, test: str, metric: str) -> list[float]:
    """One metric of a group on a test set, in the order of the seeds."""
    chosen = sorted((run for run in runs if run["group"] == group), key=lambda run: run["seed"])
    return [run["results"][test][metric] for run in chosen]


def against(
    runs: Sequence[Run],
    reference: str,
    test: str = "as trained",
    reference_test: str | None = None,
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, dict[str, Difference]]:
    """Every group's differences to a reference, by group and metric, over the seeds of both."""
    seeds = {run["seed"] for run in runs if run["group"] == reference}
    result = {}
    for group in dict.fromkeys(run["group"] for run in runs):
        both = seeds & {run["seed"] for run in runs if run["group"] == group}
        paired = [run for run in runs if run["seed"] in both]
        result[group] = {
            metric: difference(
                sizes(paired, group, test, metric),
                sizes(paired, reference, reference_test or test, metric),
            )
            for metric in metrics
        }
    return result


def sizes(runs: Sequence[Run], group: str, test: str, metric: str) -> list[float]:
    """A metric of which less is better: the bias without its sign."""
    signed = values(runs, group, test, metric)
    return [abs(value) for value in signed] if metric == "bias" else signed


def value_table(
    runs: Sequence[Run], test: str, metrics: Sequence[str] = tuple(METRICS)
) -> list[list[str]]:
    """Means of the seeds ± their standard deviation: a row for each group, heads first."""
    rows = [["", *(METRICS[metric][0] for metric in metrics)]]
    for group in dict.fromkeys(run["group"] for run in runs):
        numbers = {metric: np.array(values(runs, group, test, metric)) for metric in metrics}
        cells = [spread(METRICS[metric][1] * number) for metric, number in numbers.items()]
        rows.append([group, *cells])
    return rows


def spread(seeds: Any) -> str:
    """Mean ± standard deviation, to two digits of the latter; of one seed, its value."""
    if len(seeds) == 1:
        return f"{seeds[0]:.3g}".replace("-", "−")
    mean, deviation = np.mean(seeds), np.std(seeds, ddof=1)
    shown = decimals(deviation, mean)
    return f"{rounded(mean, shown)} ± {rounded(deviation, shown)}"


def difference_table(
    differences: Mapping[str, Mapping[str, Difference]], reference: str | None = None
) -> list[list[str]]:
    """Differences with their bootstrap intervals, bold where Student's leaves zero out as well.

    Without the row of the reference, which differs from itself by nothing.
    """
    metrics = list(next(iter(differences.values())))
    rows = [["", *(SIZED.get(metric, METRICS[metric][0]) for metric in metrics)]]
    for group, by_metric in differences.items():
        if group == reference:
            continue
        cells = [group]
        for metric, value in by_metric.items():
            mean, low, high = (METRICS[metric][1] * one for one in value[:3])
            shown = decimals((high - low) / 2, mean)
            mid, left, right = (rounded(one, shown, "+") for one in (mean, low, high))
            apart = value.t_low * value.t_high > 0 and abs(mean) > ROUNDING
            cells.append(
                f"**{mid} ({left} to {right})**" if apart else f"{mid} ({left} to {right})"
            )
        rows.append(cells)
    return rows


def decimals(spread: float, mean: float) -> int:
    """How many show two digits of the spread; where that is rounding, two of the mean."""
    size = spread if spread > ROUNDING * max(1.0, abs(mean)) else abs(mean)
    return max(0, 1 - math.floor(math.log10(size))) if size > ROUNDING else 0


def rounded(value: float, shown: int, sign: str = "") -> str:
    """With the minus of typesetting, and a zero without a sign."""
    text = f"{value:{sign},.{shown}f}"
    return text.replace("-", "−") if text.strip("+-0.") else text.lstrip("+-")

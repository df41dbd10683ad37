"""The numbers of the report: every metric, over all galaxies and in bins of columns."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from photoz_losses import metrics
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._table import MetricTable

Numbers = dict[str, Any]
Call = tuple[Callable[..., Tensor], tuple[Any, ...], dict[str, Any]]
NAMES = {
    "mad": "scatter, 1.4826 MAD of Δ",
    "sigma_iqr": "scatter from the interquartile range of Δ",
    "outlier_rate": "fraction of outliers",
    "rms": "root mean square of Δ",
    "cde_loss": "CDE loss, per unit redshift",
    "crps": "CRPS, in redshift",
    "log_score": "log score, nats",
    "brier": "Brier score",
    "entropy": "entropy of the densities, nats",
    "coverage_68": "share of truths in central 68 % intervals",
    "coverage_95": "share of truths in central 95 % intervals",
}
LEVELS = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)


def names_of(preset: str) -> dict[str, str]:
    """What the page calls each metric in the convention, and its unit."""
    return NAMES | {"bias": f"bias, {metrics.PRESETS[preset].bias} of Δ"}


def take_numbers(
    probs: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    preset: str,
    by: Mapping[str, Tensor],
    n_boot: int,
    generator: torch.Generator,
) -> Numbers:
    """All that ``report.json`` holds."""
    options: dict[str, Any] = {"n_boot": n_boot, "generator": generator}
    calls = _calls(probs, z_spec, bins, metrics.PRESETS[preset])
    numbers: Numbers = _plain(
        {
            "preset": preset,
            "galaxies": len(probs),
            "bins": {"number": len(bins), "z_min": bins.edges[0], "z_max": bins.edges[-1]},
            "n_boot": n_boot,
            "metrics": {name: _overall(*call, **options) for name, call in calls.items()},
            "pit": metrics.pit_statistics(metrics.pit(probs, z_spec, bins)),
            "coverage": {"level": LEVELS}
            | {
                kind: metrics.coverage(probs, z_spec, bins, level=LEVELS, interval=kind)
                for kind in ("central", "highest_density")
            },
            "by": {name: _per_bin(calls, column, **options) for name, column in by.items()},
        }
    )
    tables = {key: MetricTable(numbers[key]) for key in ("metrics", "pit")}
    return MetricTable(numbers | tables)


def _calls(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, preset: metrics.Preset
) -> dict[str, Call]:
    """Every metric of the table, what it takes, and its options."""
    point = (getattr(bins, preset.estimate)(probs), z_spec)
    iqr = {} if preset.iqr_factor is None else {"factor": preset.iqr_factor}
    density = (probs, z_spec, bins)
    calls: dict[str, Call] = {
        "mad": (metrics.mad, point, {"centered": preset.centered, "factor": preset.mad_factor}),
        "sigma_iqr": (metrics.sigma_iqr, point, iqr),
        "bias": (metrics.bias, point, {"statistic": preset.bias}),
        "outlier_rate": (metrics.outlier_rate, point, {"threshold": preset.threshold}),
        "rms": (metrics.rms, point, {}),
        "cde_loss": (metrics.cde_loss, density, {}),
        "crps": (metrics.crps, density, {}),
        "log_score": (metrics.log_score, density, {}),
        "brier": (metrics.brier, density, {}),
        "entropy": (metrics.entropy, (probs, bins), {}),
    }
    for level in (68, 95):
        calls[f"coverage_{level}"] = (metrics.coverage, density, {"level": level / 100})
    return calls


def _error_options(arguments: tuple[Any, ...], n_boot: int, generator: Any) -> dict[str, Any]:
    """A bootstrap for what stands on point estimates; means over galaxies have closed forms."""
    point = len(arguments) == 2 and isinstance(arguments[1], Tensor)
    return {"n_boot": n_boot, "generator": generator} if point else {"n_boot": None}


def _overall(
    metric: Callable[..., Tensor], arguments: tuple[Any, ...], options: dict[str, Any], **boot: Any
) -> Numbers:
    errors = _error_options(arguments, **boot)
    value, error = metrics.standard_error(metric, *arguments, **options, **errors)
    return {"value": value, "error": error}


def _per_bin(calls: Mapping[str, Call], column: Tensor, **boot: Any) -> Numbers:
    """Every metric in bins of a column that hold equal numbers of galaxies."""
    finite = column[column.isfinite()].double().numpy()
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, min(8, len(finite)) + 1)))
    if len(edges) < 2:
        edges = np.array([edges[0], np.nextafter(edges[0], np.inf)])
    result: Numbers = {"edges": torch.from_numpy(edges), "metrics": {}}
    for key, (metric, arguments, options) in calls.items():
        errors = _error_options(arguments, **boot)
        part = metrics.binned(
            metric, *arguments, by=column.double(), edges=edges, **options, **errors
        )
        result |= {"count": part.count, "outside": part.outside}
        result["metrics"][key] = {"value": part.value, "error": part.error}
    return result


def _plain(value: Any) -> Any:
    """Tensors as numbers, and None for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

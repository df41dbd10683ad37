"""One page with all metrics and pictures of a set of predictions, and a JSON with its numbers.

python -m photoz_losses.report predictions.h5 --output folder --preset paper --magnitude r
"""

import argparse
import base64
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from photoz_losses import _check, metrics, plots
from photoz_losses._whole import replacing
from photoz_losses.bins import RedshiftBins
from photoz_losses.io import load_predictions

Numbers = dict[str, Any]
NAMES = {  # what the page calls each, and its unit
    "mad": "scatter, 1.4826 MAD of Δ",
    "sigma_iqr": "scatter from the interquartile range of Δ",
    "bias": "bias, mean or median of Δ",
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


def write_report(
    probs: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    output: str | Path,
    *,
    preset: str = "paper",
    by: Mapping[str, Tensor] | None = None,
    n_boot: int = 200,
    seed: int = 0,
) -> Numbers:
    """Write ``report.html``, one page that needs no other file, and ``report.json``.

    The page has the metrics with their standard errors, the tests of the PIT, the metrics in bins
    of redshift and of the columns `by` (eight with equal numbers of galaxies), and the pictures of
    ``photoz_losses.plots``. Pictures are embedded; there is no script in it.

    Parameters
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin, ``softmax(logits)``.
    z_spec : Tensor, float32 or float64, shape (N,)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    output : str or Path
        Folder, made if it is not there; a report in it is overwritten.
    preset : {"paper", "pasquet", "rail", "euclid"}
        Convention of the point metrics, see `photoz_losses.metrics.photo_z_metrics`.
    by : dict of str to Tensor, shape (N,), optional
        Other columns to take the metrics against: ``{"r": magnitude}``. NaN is in no bin.
    n_boot : int
        Replicas of the bootstrap for the errors of point metrics; those of mean scores and of
        shares are in closed form.
    seed : int
        Of the bootstrap: the same input gives the same numbers.

    Returns
    -------
    dict
        What ``report.json`` holds: plain numbers, None where a metric is not finite.

    Raises
    ------
    ValueError
        If there are no galaxies, shapes disagree, a redshift is NaN or outside the bins, rows are
        no masses, or the preset is unknown.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> z_spec = torch.linspace(0.05, 0.35, 20)
    >>> probs = torch.eye(4)[bins.index(z_spec)] * 0.8 + 0.05
    >>> with TemporaryDirectory() as folder:
    ...     numbers = write_report(probs, z_spec, bins, folder)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['report.html', 'report.json']
    >>> numbers["galaxies"], round(numbers["metrics"]["crps"]["value"], 4)
    (20, 0.0166)
    """
    _check.one_of("preset", preset, tuple(metrics.PRESETS))
    probs = bins.read_probs(probs.detach()).double().cpu()
    if probs.ndim != 2 or not len(probs):
        raise ValueError(f"probs must have shape (galaxies, bins), got {tuple(probs.shape)}")
    bins, z_spec = RedshiftBins(bins.edges), z_spec.detach().cpu()
    bins.locate(z_spec, probs.shape[:-1])
    columns = {"redshift": z_spec}
    columns |= {name: column.detach().cpu().double() for name, column in (by or {}).items()}
    generator = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {"n_boot": n_boot, "generator": generator}
    calls = _calls(probs, z_spec, bins, metrics.PRESETS[preset])
    pit = metrics.pit(probs, z_spec, bins)
    numbers: Numbers = _plain(
        {
            "preset": preset,
            "galaxies": len(probs),
            "bins": {"number": len(bins), "z_min": bins.edges[0], "z_max": bins.edges[-1]},
            "n_boot": n_boot,
            "metrics": {name: _overall(*call, **options) for name, call in calls.items()},
            "pit": metrics.pit_statistics(pit),
            "coverage": {"level": LEVELS}
            | {
                kind: metrics.coverage(probs, z_spec, bins, level=LEVELS, interval=kind)
                for kind in ("central", "highest_density")
            },
            "by": {
                name: _per_bin(calls, name, column, **options) for name, column in columns.items()
            },
        }
    )
    pictures = _pictures(probs, z_spec, bins, pit, numbers)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=2, allow_nan=False)
    page = "\n".join(_page(numbers, pictures))
    for name, content in (("report.json", text + "\n"), ("report.html", page)):
        with replacing(output / name) as part:
            part.write_text(content, encoding="utf-8")
    return numbers


# Numbers ----------------------------------------------------------------------------------------

Call = tuple[Callable[..., Tensor], tuple[Any, ...], dict[str, Any]]


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
    credibility = metrics.credibility(*density)
    for level in (68, 95):
        inside = (credibility <= level / 100).double()
        calls[f"coverage_{level}"] = (_mean, (inside,), {})
    return calls


def _mean(values: Tensor, *, reduction: str = "mean") -> Tensor:
    return values if reduction == "none" else values.mean()


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


def _per_bin(calls: Mapping[str, Call], name: str, column: Tensor, **boot: Any) -> Numbers:
    """Every metric in bins of a column that hold equal numbers of galaxies."""
    finite = column[column.isfinite()].double().numpy()
    if column.shape != calls["mad"][1][1].shape or not len(finite):
        raise ValueError(f"column {name} must have one number a galaxy, and some that are finite")
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


# Pictures ---------------------------------------------------------------------------------------


def _pictures(
    probs: Tensor, z_spec: Tensor, bins: RedshiftBins, pit: Tensor, numbers: Numbers
) -> dict[str, str]:
    """Title and PNG, as base64, of every picture."""
    preset = metrics.PRESETS[numbers["preset"]]
    threshold = preset.threshold
    if isinstance(threshold, str):
        threshold = max(0.06, 3 * numbers["metrics"]["sigma_iqr"]["value"])
    z_phot = getattr(bins, preset.estimate)(probs)
    low, high = (bins.quantile(probs, q) for q in (0.05, 0.95))
    pictures = {}

    figure, (left, right) = _figure(1, 2, (9.4, 4.2))
    plots.plot_pit(pit, ax=left)
    plots.plot_pp(pit, ax=right)
    pictures["Probability integral transform"] = _png(figure)

    figure, ax = _figure(1, 1, (6, 5.6))
    plots.plot_redshifts(z_phot, z_spec.double(), threshold=threshold, low=low, high=high, ax=ax)
    pictures["Predicted against true redshift, some with their 5–95 % interval"] = _png(figure)

    figure, (left, right) = _figure(1, 2, (9.8, 4.2))
    plots.plot_nz(probs, z_spec, bins, ax=left)
    curve = numbers["coverage"]
    for kind, count in (("central", len(probs)), ("highest_density", None)):
        name = f"{kind.replace('_', ' ')} intervals"
        plots.plot_coverage(curve["level"], curve[kind], galaxies=count, label=name, ax=right)
    pictures["Redshift distribution, and coverage"] = _png(figure)

    for name, table in numbers["by"].items():
        pictures[f"Metrics against {name}"] = _png(_binned_figure(name, table))

    figure = _gallery(probs, z_spec, bins)
    pictures["Densities of single galaxies, from the best to the worst"] = _png(figure)
    return pictures


def _gallery(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> Figure:
    """Six galaxies, or all where there are fewer, from the lowest CRPS to the highest."""
    figure, axes = _figure(2, 3, (10, 5.4))
    order = metrics.crps(probs, z_spec, bins, reduction="none").argsort()
    for ax, rank in zip(axes.flat, _spread(len(probs), 6), strict=False):
        galaxy = order[rank]
        plots.plot_densities(probs[galaxy : galaxy + 1], bins, z_spec=z_spec[galaxy], ax=ax)
        ax.set_title(f"{rank + 1:,} of {len(probs):,} in order of CRPS", fontsize="small")
    for ax in axes.flat[len(probs) :]:
        ax.set_axis_off()
    return figure


def _binned_figure(name: str, table: Numbers) -> Figure:
    label = "spectroscopic redshift" if name == "redshift" else name
    figure, axes = _figure(2, 2, (10, 6.4))
    for ax, metric in zip(axes.flat, ("mad", "bias", "outlier_rate", "crps"), strict=True):
        values, errors = (table["metrics"][metric][key] for key in ("value", "error"))
        plots.plot_binned(
            table["edges"], values, errors=_drawable(errors),
            xlabel=label, ylabel=NAMES[metric], ax=ax,
        )  # fmt: skip
    return figure


def _drawable(errors: Sequence[float | None]) -> list[float]:
    return [math.nan if error is None else error for error in errors]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure of its own, without the window that pyplot may open."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns)


def _spread(of: int, number: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most `number` of the indices 0 ... of - 1, evenly from first to last."""
    return np.unique(np.linspace(0, of - 1, number).round().astype(np.intp))


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


# Page -------------------------------------------------------------------------------------------

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
.note { color: #555; font-size: .9em; }
"""


def _page(numbers: Numbers, pictures: Mapping[str, str]) -> Iterator[str]:
    preset, grid = metrics.PRESETS[numbers["preset"]], numbers["bins"]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Photometric redshifts: report</title>\n<style>{STYLE}</style>\n</head>\n<body>"
    yield "<h1>Photometric redshifts: report</h1>"
    yield (
        f"<p>{_data(numbers['galaxies'])} galaxies, {grid['number']} bins on "
        f"[{grid['z_min']:g}, {grid['z_max']:g}]. Convention <em>{escape(numbers['preset'])}</em>: "
        f"z_phot is the {preset.estimate} of the density; Δ = (z_phot − z_spec)/(1 + z_spec); the "
        f"MAD is about {'the median Δ' if preset.centered else 'zero'}; the bias is the "
        f"{preset.bias} Δ; outliers lie beyond "
        f"{'max(0.06, 3 σ_IQR)' if isinstance(preset.threshold, str) else preset.threshold}.</p>"
        f'<p class="note">{escape(preset.source)}</p>'
    )
    yield "<h2>Metrics</h2>"
    rows = [(NAMES[key], row["value"], row["error"]) for key, row in numbers["metrics"].items()]
    yield from _table(("metric", "value", "standard error"), rows)
    yield (
        f'<p class="note">Errors of point metrics from {numbers["n_boot"]} bootstrap replicas of '
        f"the galaxies, all others in closed form. An en dash: not defined, or infinite.</p>"
    )
    yield "<h2>Calibration: tests of a uniform PIT</h2>"
    pit, tests = numbers["pit"], {"ks": "Kolmogorov–Smirnov", "cvm": "Cramér–von Mises"}
    tests |= {"ad": "Anderson–Darling", "kl": "Kullback–Leibler"}
    lines = [(name, pit[key], pit[f"{key}_pvalue"]) for key, name in tests.items()]
    lines.append(
        ("PIT below 1e-4 or above 0.9999 (2e-4 if calibrated)", pit["pit_outlier_rate"], "")
    )
    yield from _table(("test", "statistic", "p-value"), lines)
    for name, table in numbers["by"].items():
        yield f"<h2>Metrics against {escape(name)}</h2>"
        yield '<div class="wide">'
        yield from _table((name, "galaxies", *table["metrics"]), _bin_rows(table))
        yield f'</div><p class="note">{table["outside"]} galaxies in no bin.</p>'
    for title, picture in pictures.items():
        yield f"<h2>{escape(title)}</h2>"
        yield f'<img src="data:image/png;base64,{picture}" alt="{escape(title)}">'
    yield "</body>\n</html>\n"


def _bin_rows(table: Numbers) -> Iterator[tuple[Any, ...]]:
    edges = table["edges"]
    for k, count in enumerate(table["count"]):
        values = (metric["value"][k] for metric in table["metrics"].values())
        yield (f"{edges[k]:.4g} to {edges[k + 1]:.4g}", count, *values)


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield "<table><thead><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head)
    yield "</tr></thead><tbody>"
    for name, *values in rows:
        cells = "".join(f"<td>{_data(value)}</td>" for value in values)
        yield f"<tr><td>{escape(name)}</td>{cells}</tr>"
    yield "</tbody></table>"


def _data(value: float | str | None) -> str:
    """A number to five digits, with all of them in the element's value."""
    if value is None or isinstance(value, str):
        return "–" if value is None else escape(value)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
    return f'<data value="{value!r}">{shown}</data>'


# Command line -----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a file of predictions; 0, or 2 where the file or an option is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m photoz_losses.report",
        description="One page with all metrics and pictures of a file of predictions.",
    )
    parser.add_argument("predictions", type=Path, help="HDF5 or npz: probs, edges, z_spec")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--preset", choices=tuple(metrics.PRESETS), default="paper")
    parser.add_argument(
        "--magnitude", metavar="COLUMN", help="array of the file: metrics against it"
    )
    parser.add_argument("--n-boot", type=int, default=200, help="replicas for standard errors")
    options = parser.parse_args(arguments)
    try:
        found = load_predictions(options.predictions)
        if found.z_spec is None:
            raise ValueError(f"{options.predictions} lacks z_spec, the true redshifts")
        by = {}
        if options.magnitude is not None:
            if options.magnitude not in found.columns:
                has = ", ".join(found.columns) or "none"
                raise ValueError(
                    f"{options.predictions} lacks {options.magnitude}; its columns: {has}"
                )
            by = {options.magnitude: found.columns[options.magnitude]}
        write_report(
            found.probs, found.z_spec, found.bins, options.output,
            preset=options.preset, by=by, n_boot=options.n_boot,
        )  # fmt: skip
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(options.output / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())

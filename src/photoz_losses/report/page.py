"""The page of the report, which needs no other file."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from photoz_losses import metrics
from photoz_losses.report.numbers import Numbers, names_of
from photoz_losses.report.pictures import Picture

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
.by table { font-size: .85em; }
.by th, .by td { padding: .25rem .4rem; }
data { white-space: nowrap; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
img { max-width: 100%; height: auto; flex: 0 1 auto; }
@media (min-width: 60rem) { img { max-width: calc(50% - .5rem); } }
.wide { overflow-x: auto; }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: #fff; }
.note { color: #555; font-size: .9em; }
"""


def write_page(numbers: Numbers, pictures: Mapping[str, Sequence[Picture]]) -> str:
    """HTML with the numbers in tables and the pictures, by heading, inside."""
    return "\n".join(_page(numbers, pictures))


def _page(numbers: Numbers, pictures: Mapping[str, Sequence[Picture]]) -> Iterator[str]:
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
    names = names_of(numbers["preset"])
    yield "<h2>Metrics</h2>"
    rows = [(names[key], row["value"], row["error"]) for key, row in numbers["metrics"].items()]
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
    tables = {f"Metrics against {name}": (name, part) for name, part in numbers["by"].items()}
    for heading, shown in pictures.items():
        yield f"<h2>{escape(heading)}</h2>"
        if heading in tables:
            name, part = tables[heading]
            yield '<div class="by">'
            yield from _table(*_bins(name, part, names))
            yield f'</div><p class="note">Galaxies in no bin: {part["outside"]:,}.</p>'
        yield '<div class="pictures">'
        for words, png in shown:
            yield f'<img src="data:image/png;base64,{png}" alt="{escape(words)}">'
        yield "</div>"
    yield "</body>\n</html>\n"


def _bins(
    column: str, table: Numbers, names: Mapping[str, str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Head and rows: a column for each bin, which eight of fit where twelve metrics would not."""
    edges = table["edges"]
    head = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)]
    rows = [(names[key], *metric["value"]) for key, metric in table["metrics"].items()]
    return [column, *head], [("galaxies", *table["count"]), *rows]


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield '<div class="wide"><table><thead><tr>' + "".join(
        f"<th>{escape(name)}</th>" for name in head
    )
    yield "</tr></thead><tbody>"
    for name, *values in rows:
        cells = "".join(f"<td>{_data(value)}</td>" for value in values)
        yield f"<tr><td>{escape(name)}</td>{cells}</tr>"
    yield "</tbody></table></div>"


def _data(value: float | str | None) -> str:
    """A number to five digits, with all of them in the element's value."""
    if value is None or isinstance(value, str):
        return "–" if value is None else escape(value)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.5g}"
    return f'<data value="{value!r}">{shown}</data>'

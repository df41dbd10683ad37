"""One page with all metrics and pictures of a set of predictions, and a JSON with its numbers.

python -m photoz_losses.report predictions.h5 --output folder --preset paper --magnitude r
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from photoz_losses import _check, metrics
from photoz_losses._whole import replacing
from photoz_losses.bins import RedshiftBins
from photoz_losses.report.numbers import Numbers, take_numbers
from photoz_losses.report.page import write_page
from photoz_losses.report.pictures import draw_pictures

__all__ = ["write_report"]


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
    _check.instance("bins", bins, RedshiftBins)
    for name, number, least in (("n_boot", n_boot, 2), ("seed", seed, 0)):
        _check.count(name, number, least)
    probs = bins.read_probs(_check.floating("probs", probs).detach()).double().cpu()
    if probs.ndim != 2 or not len(probs):
        raise ValueError(f"probs must have shape (galaxies, bins), got {tuple(probs.shape)}")
    bins, z_spec = RedshiftBins(bins.edges), _check.floating("z_spec", z_spec).detach().cpu()
    bins.locate(z_spec, probs.shape[:-1])
    by = {} if by is None else _check.mapping("by", by)
    if "redshift" in by:
        raise ValueError("by must have other names than 'redshift', which is that of z_spec")
    columns = {"redshift": z_spec}
    columns |= {
        name: _check.instance(f"by[{name!r}]", column, Tensor).detach().cpu().double()
        for name, column in by.items()
    }
    generator = torch.Generator().manual_seed(seed)
    numbers = take_numbers(
        probs, z_spec, bins, preset=preset, by=columns, n_boot=n_boot, generator=generator
    )
    text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
    page = write_page(numbers, draw_pictures(probs, z_spec, bins, numbers))
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for name, content in (("report.json", text), ("report.html", page)):
        with replacing(output / name) as part:
            part.write_text(content, encoding="utf-8")
    return numbers

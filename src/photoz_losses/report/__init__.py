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
from photoz_losses.plots.binned import LARGEST
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
        no masses, or the preset is unknown; if a column is named "redshift", or with NUL or
        what UTF-8 cannot write, has not one number a galaxy, none that is finite, or one beyond
        1e300; if `output` holds a NUL.
    TypeError
        If `probs` or `z_spec` is not floating-point, a column no dense tensor of real numbers, its
        name no str, or `output` no path.
    OSError
        If the folder cannot be made: `output` is a file (FileExistsError), say.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.report import write_report
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
    columns = {"redshift": z_spec} | _columns({} if by is None else by, len(probs))
    folder = _check.path("output", output)
    folder.mkdir(parents=True, exist_ok=True)  # now: what follows takes seconds
    generator = torch.Generator().manual_seed(seed)
    numbers = take_numbers(
        probs, z_spec, bins, preset=preset, by=columns, n_boot=n_boot, generator=generator
    )
    text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
    page = write_page(numbers, draw_pictures(probs, z_spec, bins, numbers))
    for name, content in (("report.json", text), ("report.html", page)):
        with replacing(folder / name) as part:
            part.write_text(content, encoding="utf-8")
    return numbers


def _columns(by: Mapping[str, Tensor], galaxies: int) -> dict[str, Tensor]:
    """The columns `by` in float64, after their checks."""
    columns = {}
    for name, column in _check.mapping("by", by).items():
        if not isinstance(name, str):
            raise TypeError(f"by must have names of columns for keys, got {_check.shown(name)}")
        if name == "redshift":
            raise ValueError("by must have other names than 'redshift', which is that of z_spec")
        said = f"by[{name!r}]"
        _check.text(f"the name in {said}", name)
        values = torch.from_numpy(_check.numbers(said, _check.dense(said, column)))
        known = values[values.isfinite()]
        if values.shape != (galaxies,) or not len(known):
            raise ValueError(
                f"{said} must have one number a galaxy, {galaxies}, and some that are finite, got "
                f"{len(known)} in shape {tuple(values.shape)}"
            )
        if (most := known.abs().max()) > LARGEST:
            raise ValueError(f"{said} must lie within -1e300 and 1e300, got one of size {most:g}")
        columns[name] = values
    return columns

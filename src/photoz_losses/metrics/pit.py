"""The probability integral transform: the paper's appendix C."""

from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses._blocks import blocks, joined
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._samples import SampleMetric


def pit(
    probs: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    *,
    randomized: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mass of each density below its true redshift, uniform on [0, 1] for calibrated densities.

    .. math:: \mathrm{PIT} = \int_{-\infty}^{\hat z} f(z)\,dz

    Engel & Strube (2023), appendix C. Linear inside the bin that holds the true redshift: a PIT
    that takes the whole bin, or none of it, jumps with the bins.

    Parameters
    ----------
    probs : Tensor, shape (..., C)
        Masses per bin, ``softmax(logits)``.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.
    randomized : bool
        Draw the place inside the bin uniformly instead of taking the true one: for redshifts that
        are themselves known to a bin only.
    generator : torch.Generator, optional
        Source of those draws.

    Returns
    -------
    Tensor, float32 (float64 for float64 probs), shape (...)

    Raises
    ------
    ValueError
        If shapes disagree, a redshift is NaN or outside the bins, or rows are no masses.
    TypeError
        If an argument is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import pit
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> pit(torch.tensor([[0.2, 0.6, 0.2, 0.0]]), torch.tensor([0.15]), bins)
    tensor([0.5000])
    """
    values = pit_values(probs, z_spec, bins, randomized, generator)
    return values.to(torch.promote_types(probs.dtype, torch.float32))


def pit_values(
    probs: Tensor,
    z_spec: Tensor,
    bins: RedshiftBins,
    randomized: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`pit` in float64, whatever the masses came in."""
    shape = _check.instance("bins", bins, RedshiftBins).shape_of(probs)
    index, place = bins.locate(z_spec, shape)
    _check.generator("generator", generator)
    if _check.flag("randomized", randomized):
        where = place.device if generator is None else generator.device
        draws = torch.rand(place.shape, generator=generator, device=where, dtype=place.dtype)
        place = torch.where(place.isnan(), torch.nan, draws.to(place.device))
    parts = [
        bins.mass_below(bins.below_edges(bins.read_probs(p)), i, w)
        for p, i, w in blocks(len(bins), probs, index, place)
    ]
    return joined(parts, shape)


class PITSample(SampleMetric):
    """What `PIT` and `PITStatistics` keep: the PIT of every galaxy, or a histogram of them."""

    def __init__(
        self,
        bins: RedshiftBins,
        *,
        randomized: bool = False,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        _check.instance("bins", bins, RedshiftBins)
        randomized = _check.flag("randomized", randomized)
        super().__init__({"pit": (0.0, 1.0)}, identity=(bins, randomized), **kwargs)
        self.bins, self.randomized = bins, randomized
        self.generator = _check.generator("generator", generator)

    def update(self, probs: Tensor, z_spec: Tensor) -> None:
        """Take in a batch of masses (N, C) and true redshifts (N,)."""
        value = pit_values(probs, z_spec, self.bins, self.randomized, self.generator)
        self._keep(pit=value)


class PIT(PITSample):
    """`pit` of everything seen: keeps one number a galaxy, exact over batches and ranks.

    Computed in float64, whatever the masses came in: 1 - 1e-9 does not become 1.

    Parameters
    ----------
    bins : RedshiftBins
    randomized, generator
        As in `pit`.
    **kwargs
        Of ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.metrics import PIT
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> metric = PIT(bins)
    >>> probs = torch.tensor([[0.2, 0.6, 0.2, 0.0]])
    >>> metric.update(probs, torch.tensor([0.15]))
    >>> metric.update(probs, torch.tensor([0.05]))
    >>> metric.compute()
    tensor([0.5000, 0.1000], dtype=torch.float64)
    """

    _options = ("randomized", "generator")

    def __init__(
        self,
        bins: RedshiftBins,
        *,
        randomized: bool = False,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> None:
        if "approximate" in kwargs:
            raise TypeError(
                "approximate is no option of PIT, whose result is the PIT of every galaxy: leave "
                "it out, or use PITStatistics(bins, approximate=...)"
            )
        super().__init__(bins, randomized=randomized, generator=generator, **kwargs)

    def compute(self) -> Tensor:
        """PIT of every galaxy, float64, shape (galaxies,)."""
        return self._sample("pit")[0]

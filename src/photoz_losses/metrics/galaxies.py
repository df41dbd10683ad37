"""Every score of each galaxy, from masses that are read once."""

from torch import Tensor

from photoz_losses import _check
from photoz_losses._blocks import blocks, joined
from photoz_losses.bins import RedshiftBins
from photoz_losses.losses.cde import cde_score
from photoz_losses.losses.crps import crps_score
from photoz_losses.metrics.intervals import central_of, highest_density_of
from photoz_losses.metrics.scores import brier_of, entropy_of, log_score_of


def galaxy_scores(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> dict[str, Tensor]:
    """All scores and point estimates of each galaxy, one number each: a table of a test set.

    The numbers are those of `pit`, `cde_loss`, `crps`, `log_score`, `brier`, `entropy` (their
    ``reduction="none"``), `credibility` of both kinds, ``bins.mean``, ``bins.median`` and
    ``bins.mode``, in a fraction of their time: masses are checked once, sums and densities
    shared, and many galaxies go in blocks that fit a processor's cache.

    Parameters
    ----------
    probs : Tensor, shape (..., C)
        Masses per bin, ``softmax(logits)``.
    z_spec : Tensor, float32 or float64, shape (...)
        True redshifts, within the bins.
    bins : RedshiftBins
        The C bins.

    Returns
    -------
    dict of str to Tensor, each of shape (...)
        ``pit``, ``cde_loss``, ``crps``, ``log_score``, ``brier``, ``entropy``,
        ``credibility_central``, ``credibility_highest_density``, ``mean``, ``median``, ``mode``.
        float32 (float64 for float64 probs); the two credibilities float64. Where a redshift
        escaped its check, NaN in all that depend on it.

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
    >>> from photoz_losses.metrics import galaxy_scores
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> scores = galaxy_scores(torch.tensor([[0.2, 0.6, 0.2, 0.0]]), torch.tensor([0.15]), bins)
    >>> scores["pit"], scores["mean"]
    (tensor([0.5000]), tensor([0.1500]))
    """
    shape = _check.instance("bins", bins, RedshiftBins).shape_of(probs)
    each = blocks(len(bins), probs, *bins.locate(z_spec, shape))
    parts = [_of_block(bins.read_probs(p), index, place, bins) for p, index, place in each]
    return {name: joined([part[name] for part in parts], shape) for name in parts[0]}


def _of_block(probs: Tensor, index: Tensor, place: Tensor, bins: RedshiftBins) -> dict[str, Tensor]:
    density, below = probs / bins.widths.to(probs.dtype), bins.below_edges(probs)
    pit = bins.mass_below(below, index, place)
    half = below.new_full(index.shape, 0.5)
    return {
        "pit": pit.to(probs.dtype),
        "cde_loss": cde_score(probs, density, index, place),
        "crps": crps_score(probs, index, place, bins),
        "log_score": log_score_of(probs, index, place, bins),
        "brier": brier_of(probs, index, place, bins),
        "entropy": entropy_of(probs, density),
        "credibility_central": central_of(pit),
        "credibility_highest_density": highest_density_of(probs, density, index, place, bins),
        "mean": bins.mean_of(probs),
        "median": bins.quantile_below(below, half).to(probs.dtype),
        "mode": bins.mode_of(density),
    }

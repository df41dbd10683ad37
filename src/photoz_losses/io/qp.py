"""Densities out of and into qp, which the LSST tools speak."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.io._arrays import Array, read_rows


def to_qp(probs: Tensor, bins: RedshiftBins) -> Any:
    """The densities as a ``qp.Ensemble`` of histograms, with every mass kept.

    Its ``pdf``, ``cdf`` and ``ppf`` are those of `photoz_losses.RedshiftBins`. Do not trust its
    mean and moments on unequal bins: qp 1.1 multiplies by the width of the first bin.

    Parameters
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin, ``softmax(logits)``.
    bins : RedshiftBins
        The C bins.

    Returns
    -------
    qp.Ensemble
        N densities in float64, representation ``qp.hist``.

    Raises
    ------
    ImportError
        Without qp: ``pip install 'photoz-losses[qp]'``.
    ValueError
        If `probs` does not have shape (N, C) with N at least 1, or rows are no masses.
    TypeError
        If `probs` is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.io import to_qp
    >>> bins = RedshiftBins([0.0, 0.1, 0.4])
    >>> ensemble = to_qp(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), bins)
    >>> ensemble.cdf(0.25).ravel()
    array([0.75, 1.  ])
    """
    qp = _qp()
    kept = read_rows(probs, bins)
    probs = kept.double()
    if kept.dtype != torch.float64:  # rows as RedshiftBins reads them, without their rounding
        probs = probs / probs.sum(-1, keepdim=True)
    if not len(probs):
        raise ValueError("probs is empty: qp holds no ensemble without densities")
    edges, density = _check.numbers("edges", bins.edges), _check.array("probs", probs / bins.widths)
    return qp.Ensemble(qp.hist, data={"bins": edges, "pdfs": density, "norm": False})


def from_qp(ensemble: Any, bins: RedshiftBins, *, max_outside: float = 1e-6) -> Tensor:
    """Masses that the densities of a ``qp.Ensemble`` have in our bins.

    Any representation: the mass of a bin is the difference of the ensemble's CDF at its two edges.
    From histograms on the same edges the masses themselves are taken, on other edges they are
    exact where density is spread evenly over each of theirs, as qp does. From any other
    representation the CDF is kept at our edges and is linear in between: between edges it is off by
    less than the mass of the bin.

    Parameters
    ----------
    ensemble : qp.Ensemble
        N densities in redshift.
    bins : RedshiftBins
        The C bins to bring them to.
    max_outside : float
        Largest mass of a density that may lie outside the bins; it is dropped, and the rest divided
        by its sum. 0.05, say, lets go of the tail of a Gaussian below redshift 0.

    Returns
    -------
    Tensor, float64, shape (N, C)

    Raises
    ------
    ValueError
        If more than `max_outside`, or everything, of a density lies outside the bins, or its CDF
        falls or is NaN.
    TypeError
        If `ensemble` has no ``cdf`` of redshifts alone, or `bins` are no `RedshiftBins`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.io import from_qp, to_qp
    >>> bins = RedshiftBins([0.0, 0.1, 0.4])
    >>> from_qp(to_qp(torch.tensor([[0.5, 0.5]]), bins), bins)
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if not callable(getattr(ensemble, "cdf", None)):
        raise TypeError(f"ensemble must be a qp.Ensemble, got {type(ensemble).__name__}")
    if not 0 <= _check.number("max_outside", max_outside) <= 1:
        raise ValueError(f"max_outside must lie in [0, 1], got {max_outside}")
    edges = _check.array("edges", _check.instance("bins", bins, RedshiftBins).edges)
    mass = _masses_of_histograms(ensemble, edges)
    if mass is None:
        mass = np.diff(np.reshape(_cdf(ensemble, edges), (-1, len(edges))), axis=-1)
    if not (mass >= -1e-9).all():
        at = int((~(mass >= -1e-9)).any(-1).argmax())
        raise ValueError(
            f"ensemble: the CDF of density {at} falls or is NaN within the bins: repair or drop it"
        )
    mass = mass.clip(0)
    inside = mass.sum(-1, keepdims=True)
    outside = 1 - inside
    if (outside > max_outside).any() or not inside.all():
        at = int(outside.argmax())
        raise ValueError(
            f"ensemble: density {at} has {outside[at, 0]:.3g} of its mass outside the bins, "
            f"[{edges[0]:g}, {edges[-1]:g}], more than max_outside {max_outside:g} (and so have "
            f"{int((outside > max_outside).sum()) - 1} others): widen the bins, or give max_outside"
        )
    return torch.from_numpy(mass / inside).to(bins.edges.device)


def _cdf(ensemble: Any, edges: Array) -> Any:
    try:
        return ensemble.cdf(edges)
    except TypeError as error:  # of something else, RedshiftBins say
        raise TypeError(
            f"ensemble must be a qp.Ensemble, whose cdf takes redshifts alone, got "
            f"{type(ensemble).__name__}"
        ) from error


def _masses_of_histograms(ensemble: Any, edges: Array) -> Array | None:
    """Masses of an ensemble of histograms on exactly these edges; None for any other."""
    if getattr(getattr(ensemble, "gen_class", None), "name", None) != "hist":
        return None
    if not np.array_equal(np.ravel(ensemble.metadata["bins"]), edges):
        return None
    return np.reshape(ensemble.objdata["pdfs"], (-1, len(edges) - 1)) * np.diff(edges)


def _qp() -> Any:
    try:
        import qp
    except ImportError as error:
        raise ImportError("to_qp needs qp: pip install 'photoz-losses[qp]'") from error
    return qp

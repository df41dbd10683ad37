"""Numbers of every galaxy seen: kept exactly, or counted in a histogram of fixed size."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.metrics._streaming import StreamingMetric


def digest(*identity: object) -> str:
    """Eight hexadecimal digits that tell bins and options apart, the same in every process."""
    text = hashlib.blake2b(digest_size=4)
    for part in identity:
        value = part.edges if isinstance(part, RedshiftBins) else part
        if isinstance(value, Tensor):
            value = [*value.shape] if value.device.type == "meta" else value.tolist()
        text.update(repr(value).encode() + b";")
    return text.hexdigest()


class SampleMetric(StreamingMetric):
    r"""Keeps named columns, one number a galaxy each, exact over batches and ranks.

    With `approximate`, each column is instead a histogram of that many bins, whose size does not
    grow, read as a sample in which every value lies at the centre of its bin. A quantile inside the
    range of the histogram is then off by at most half a bin, and is infinite outside of it; the
    fraction beyond an edge is exact; means come from exact sums. Counts are exact up to
    :math:`2^{53}`.

    Parameters
    ----------
    columns : mapping of str to (float, float)
        Name of each column, and the range of its histogram.
    identity : sequence, optional
        Bins and options on which the numbers depend. ``MetricCollection`` takes metrics whose
        states have the same names and values for one and the same, and updates only the first:
        columns of the same name and identity must hold the same numbers for the same batch.
    weighted : bool, optional
        Whether galaxies may have weights: one more number for each one that does.
    approximate : int, optional
        Number of bins of each histogram, at least two; by default every number is kept.
    edges : sequence of float, optional
        Further edges of the histograms, for fractions beyond them that are exact.
    **kwargs
        Of ``torchmetrics.Metric``.

    Raises
    ------
    TypeError, ValueError
        If `approximate` is not an integer of at least two.
    """

    def __init__(
        self,
        columns: Mapping[str, tuple[float, float]],
        *,
        identity: Sequence[object] = (),
        weighted: bool = False,
        approximate: int | None = None,
        edges: Sequence[float] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.approximate, self._weighted = _check_approximate(approximate), weighted
        self._name: dict[tuple[str, str], str] = {}  # of a state, by column and role
        for column, limits in columns.items():
            if approximate is not None:
                own = _edges(*limits, approximate, edges)
                self.register_buffer(f"{column}_edges", own, persistent=False)
                size, histogram = len(own), own.tolist()
                self._add(column, "counts", (*identity, histogram), torch.zeros(size + 2))
                self._add(column, "sums", (*identity, histogram), torch.zeros(3))
            else:
                self._add(column, "values", identity, [])
                if weighted:
                    self._add(column, "weighted values", identity, [])
        if weighted and approximate is None:
            self._add("", "weights", identity, [])

    def _add(self, column: str, role: str, identity: Sequence[object], default: Any) -> None:
        name = "_".join([*filter(None, [column]), *role.split(), digest(*identity)])
        self._name[column, role] = name
        if isinstance(default, Tensor):
            self.add_state(name, default.double(), dist_reduce_fx="sum")
        else:
            self.add_state(name, default, dist_reduce_fx="cat")

    def _state(self, column: str, role: str) -> Any:
        return getattr(self, self._name[column, role])

    def _edges_of(self, column: str) -> Tensor:
        edges: Tensor = getattr(self, f"{column}_edges")
        return edges

    def _keep(self, weights: Tensor | None = None, **columns: Tensor) -> None:
        """Take in numbers of a batch of galaxies, in any shape, and their weights."""
        if weights is not None:
            # a copy, since float64 ones are the caller's own, who may fill them anew
            weights = weights.detach().flatten().to(torch.float64, copy=True)
        taken = {column: values.detach().flatten().double() for column, values in columns.items()}
        if self.approximate is not None:
            for column, values in taken.items():
                self._count(column, values, weights)
            return
        for column, values in taken.items():
            self._state(column, "values" if weights is None else "weighted values").append(values)
        if weights is not None:
            self._state("", "weights").append(weights)

    def _count(self, column: str, values: Tensor, weights: Tensor | None) -> None:
        each = torch.ones_like(values) if weights is None else weights
        values = torch.where(each == 0, 0.0, values)  # of no weight: not in the sample
        counts, sums = self._name[column, "counts"], self._name[column, "sums"]
        edges = self._edges_of(column).to(values.device)
        place, size = _place(values, edges), len(edges) + 2
        more = torch.zeros(size, dtype=torch.float64, device=values.device)
        setattr(self, counts, getattr(self, counts) + more.index_add(0, place, each))
        moments = [each.sum(), (each * values).sum(), (each * values.square()).sum()]
        setattr(self, sums, getattr(self, sums) + torch.stack(moments))

    def _sample(self, column: str) -> tuple[Tensor, Tensor | None]:
        """Numbers of every galaxy in a column, and their weights; None where each counts once."""
        if self.approximate is None:
            once = self._cat(column, "values")
            if not self._weighted:
                return once, None
            more, weights = self._cat(column, "weighted values"), self._cat("", "weights")
            if not len(weights):
                return once, None
            return torch.cat([once, more]), torch.cat([torch.ones_like(once), weights])
        counts: Tensor = self._state(column, "counts")
        edges = self._edges_of(column).to(counts.device)
        below, above, undefined = (
            edges.new_full((1,), value) for value in (-torch.inf, torch.inf, torch.nan)
        )
        values = torch.cat([below, (edges[:-1] + edges[1:]) / 2, above, undefined])
        return values, counts

    def _moments(self, column: str) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of the weights, of the values and of their squares, exact with a histogram too."""
        if self.approximate is not None:
            total, first, second = self._state(column, "sums")
            return total, first, second
        values, weights = self._sample(column)
        each = torch.ones_like(values) if weights is None else weights
        values = torch.where(each == 0, 0.0, values)
        return each.sum(), (each * values).sum(), (each * values.square()).sum()

    def _cat(self, column: str, role: str) -> Tensor:
        kept = self._state(column, role)
        if isinstance(kept, list) and not kept:
            return torch.empty(0, dtype=torch.float64, device=self.device)
        gathered: Tensor = dim_zero_cat(kept)
        return gathered


def _check_approximate(n_bins: int | None) -> int | None:
    if n_bins is None:
        return None
    return _check.count("approximate", n_bins, 2)


def _edges(low: float, high: float, n_bins: int, more: Sequence[float]) -> Tensor:
    """Edges of `n_bins` equal bins, moved to those of `more` that they almost meet."""
    even = torch.linspace(low, high, n_bins + 1, dtype=torch.float64)
    extra = torch.tensor([edge for edge in more if low < edge < high], dtype=torch.float64)
    if not len(extra):
        return even
    apart = (even.unsqueeze(-1) - extra).abs().min(-1).values > 1e-9 * (high - low)
    apart[[0, -1]] = True
    edges: Tensor = torch.cat([even[apart], extra]).unique()
    return edges


def _place(values: Tensor, edges: Tensor) -> Tensor:
    """0 below the edges, then 1 for the first bin, ...; the last two are above, and NaN.

    A value on an edge belongs to the bin nearer to zero, so that whatever lies in bins beyond an
    edge exceeds it; the two outer edges belong to the bins within them.
    """
    right = torch.searchsorted(edges, values, right=True)
    left = torch.searchsorted(edges, values, right=False)
    place = torch.where(values > 0, left, right)
    place = torch.where(values == edges[0], 1, place)
    place = torch.where(values == edges[-1], len(edges) - 1, place)
    return torch.where(values.isnan(), len(edges) + 1, place)

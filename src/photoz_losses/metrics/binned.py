"""Any metric in bins of redshift, magnitude or any other column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses.metrics._samples import digest
from photoz_losses.metrics._streaming import StreamingMetric, all_or_none
from photoz_losses.metrics._table import MetricTable
from photoz_losses.metrics.bootstrap import (
    by_place,
    n_galaxies,
    refuse_per_galaxy,
    standard_error,
)


@dataclass(frozen=True)
class PerBin:
    """A metric in each of K bins, as `binned` gives it.

    Attributes
    ----------
    value : Tensor, shape (K, ...)
        Of a metric that returns a mapping: a mapping of such tensors.
    count : Tensor, int64, shape (K,)
        Galaxies in each bin.
    outside : Tensor, int64, scalar
        Galaxies in none of the bins, NaN among them.
    error : Tensor or None, shape (K, ...)
        Standard errors, if asked for.
    """

    value: Any
    count: Tensor
    outside: Tensor
    error: Any = None

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        return self._table()._repr_html_()

    def _table(self) -> MetricTable:
        parts = {"value": self.value, "error": self.error}
        rows = {part: each for part, each in parts.items() if each is not None}
        if isinstance(self.value, Mapping):
            rows = {
                (name if part == "value" else f"{name} error"): each[name]
                for name in self.value
                for part, each in rows.items()
            }
        return MetricTable({**rows, "count": self.count, "outside": self.outside})


def _bin_index(by: Tensor, edges: Tensor) -> Tensor:
    """Bin of each number, K for those in none; a bin holds ``edges[k] < by <= edges[k + 1]``."""
    edges = edges.to(by.device)
    index = torch.searchsorted(edges.to(by.dtype), by.contiguous()) - 1
    low, high = edges[0].to(by.dtype), edges[-1].to(by.dtype)
    index = torch.where(by == low, 0, index)
    return torch.where((by >= low) & (by <= high), index, len(edges) - 1)


def binned(
    metric: Callable[..., Any],
    *arguments: Any,
    by: Tensor,
    edges: Any,
    n_boot: int | None = 0,
    generator: torch.Generator | None = None,
    **options: Any,
) -> PerBin:
    r"""Any metric of this library in bins of any column.

    A bin holds ``edges[k] < by <= edges[k + 1]``, the first also its lower edge, as everywhere in
    this library. Galaxies outside the edges, or whose `by` is NaN, are in no bin and are counted.

    Parameters
    ----------
    metric : callable
        Such as `mad` or `crps`, as in `standard_error`.
    *arguments
        Of the metric. Tensors hold the N galaxies in their first dimension.
    by : Tensor, float32 or float64, shape (N,)
        Redshift, magnitude or any other number of each galaxy.
    edges : sequence, array or Tensor, shape (K + 1,)
        Increasing, at least two.
    n_boot : int or None
        0: no standard errors. Otherwise as in `standard_error`, in each bin.
    generator : torch.Generator, optional
        Of the bootstrap.
    **options
        Of the metric. Weights (N,) stay with their galaxies.

    Returns
    -------
    PerBin
        Values and, if asked for, standard errors, each of shape (K, ...), with the number of
        galaxies in each bin and in none. The value of an empty bin is NaN; the error also of a bin
        of one galaxy, and of a fraction of 0 or 1 in it, as in `standard_error`.

    Raises
    ------
    ValueError
        If `edges` do not increase, or `by` and the arguments differ in the number of galaxies.
    TypeError
        If `by` is not floating-point.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import bias, binned
    >>> z_spec = torch.tensor([0.05, 0.10, 0.30, 0.90])
    >>> result = binned(bias, z_spec + 0.01, z_spec, by=z_spec, edges=[0.0, 0.2, 0.4, 0.6])
    >>> result.value
    tensor([0.0093, 0.0077,    nan], dtype=torch.float64)
    >>> result.count, result.outside
    (tensor([2, 1, 0]), tensor(1))
    """
    edges = _check.increasing("edges", edges, at_least=2)
    if n_boot is not None:
        _check.count("n_boot", n_boot, 0)
    arguments, options = by_place(metric, arguments, options)
    _check.same_shape("by", _check.redshift("by", by), (n_galaxies(arguments),), "the galaxies")
    index, K = _bin_index(by.detach(), edges), len(edges) - 1
    values, errors = [], []
    for k in range(K):
        rows = index == k
        own = [_rows(argument, rows) for argument in arguments]
        named = {n: _rows(o, rows) if n == "weights" else o for n, o in options.items()}
        if n_boot == 0:
            values.append(metric(*own, **named))
            refuse_per_galaxy(metric, tuple(own), named, values[-1])
        else:
            value, error = standard_error(metric, *own, n_boot=n_boot, generator=generator, **named)
            values.append(value)
            errors.append(error)
    count = index.bincount(minlength=K + 1)
    return PerBin(_stack(values), count[:K], count[K], _stack(errors) if errors else None)


def _rows(argument: Any, rows: Tensor) -> Any:
    return argument[rows] if isinstance(argument, Tensor) else argument


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {name: torch.stack([value[name] for value in values]) for name in values[0]}
    return torch.stack(values)


class _Counts(StreamingMetric):
    """Number of galaxies in each bin, and last in none."""

    def __init__(self, edges: Tensor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name, self.n_bins = f"count_{digest(edges)}", len(edges) - 1
        zeros = torch.zeros(len(edges), dtype=torch.int64)
        self.add_state(self._name, zeros, dist_reduce_fx="sum")

    def update(self, index: Tensor) -> None:
        more = index.bincount(minlength=self.n_bins + 1)
        setattr(self, self._name, getattr(self, self._name) + more)

    def compute(self) -> Tensor:
        count: Tensor = getattr(self, self._name)
        return count


class Binned(StreamingMetric):
    """`binned` over everything seen, exact over batches and ranks where the metric is.

    Holds one copy of `metric` for each bin, so it keeps what they keep. ``update`` takes what the
    metric takes and besides, by name, the column `by` (N,).

    Parameters
    ----------
    metric : torchmetrics.Metric
        Such as ``MAD()`` or ``CRPS(bins)``, with no galaxies in it yet; its result has no entry a
        galaxy.
    edges : sequence, array or Tensor, shape (K + 1,)
        As in `binned`.
    **kwargs
        Of ``torchmetrics.Metric``, for the counts; the metric brings its own.

    Raises
    ------
    ValueError
        If `edges` do not increase, or the metric has seen galaxies.
    TypeError
        If `metric` is no ``torchmetrics.Metric``.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import Bias, Binned
    >>> metric = Binned(Bias(), edges=[0.0, 0.2, 0.4])
    >>> z_spec = torch.tensor([0.05, 0.30, 0.90])
    >>> metric.update(z_spec + 0.01, z_spec, by=z_spec)
    >>> metric.compute()["value"]
    tensor([0.0095, 0.0077], dtype=torch.float64)
    """

    def __init__(self, metric: Metric, edges: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(metric, Metric):
            made = not isinstance(metric, type)
            got = type(metric).__name__ if made else metric.__name__
            mend = "for a function use binned" if made else f"make one, {got}(...)"
            raise TypeError(f"metric must be a torchmetrics.Metric, got {got}: {mend}")
        if metric.update_called:
            raise ValueError("metric has seen galaxies: give one that has not, or reset it")
        self._edges = _check.increasing("edges", edges, at_least=2)
        # no states of its own: MetricCollection would take equal counts for equal metrics
        self.counts = _Counts(self._edges, **kwargs)
        self.metrics = torch.nn.ModuleList(metric.clone() for _ in range(len(self._edges) - 1))

    def update(self, *args: Any, by: Tensor, **kwargs: Any) -> None:
        """Take in a batch of what the metric takes, and of the column `by` (N,)."""
        self._take("update", *args, by=by, **kwargs)

    def forward(self, *args: Any, by: Tensor, **kwargs: Any) -> dict[str, Any]:
        """`compute` of this batch alone, which is then taken in; all of it, or none."""
        self._computed, count, values = None, *self._take("forward", *args, by=by, **kwargs)
        self._update_count += 1
        return _per_bin(count, values)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def compute(self) -> dict[str, Any]:
        """Value in each bin, `count` in each and `outside` of all; NaN for an empty bin.

        The values of a metric that returns a mapping stand under its names, others under "value".
        """
        for part in self._parts():  # torchmetrics' own keep what they computed, whatever was merged
            part._computed = None
        count, *values = [part.compute() for part in self._parts()]
        return _per_bin(count, values)

    def reset(self) -> None:
        """Forget every galaxy."""
        super().reset()
        for part in self._parts():
            part.reset()

    def persistent(self, mode: bool = False) -> None:
        """Whether `state_dict` holds what was seen."""
        for part in self._parts():
            part.persistent(mode)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if any(name.startswith(prefix) for name in state_dict):
            self._computed, self._update_count = None, max(1, self._update_count)

    def merge_state(self, incoming_state: Any) -> None:
        """Add what another `Binned` of the same metric and edges has seen; all of it, or none."""
        other = _check.instance("incoming_state", incoming_state, Binned)
        if not torch.equal(self._edges, other._edges):
            raise ValueError("incoming_state must be on the same edges as this Binned, got others")
        with all_or_none(self):
            for part, its in zip(self._parts(), other._parts(), strict=True):
                part.merge_state(its)
            self._count_as_seen(other)

    def _take(self, call: str, *args: Any, by: Tensor, **kwargs: Any) -> tuple[Any, list[Any]]:
        """Have the metric of each bin take in its galaxies; none of them does if one raises."""
        counts, *metrics = self._parts()
        kwargs = metrics[0]._filter_kwargs(**kwargs)
        _check.same_shape(
            "by",
            _check.redshift("by", by),
            (n_galaxies((*args, *kwargs.values())),),
            "the galaxies",
        )
        index, values = _bin_index(by.detach(), self._edges), []
        with all_or_none(*self._parts()):
            for k, metric in enumerate(metrics):
                rows = index == k
                own = {name: _rows(value, rows) for name, value in kwargs.items()}
                values.append(getattr(metric, call)(*(_rows(a, rows) for a in args), **own))
            return getattr(counts, call)(index), values

    def __repr__(self) -> str:
        low, high = self._edges[0].item(), self._edges[-1].item()
        return f"Binned({self.metrics[0]!r}, {len(self.metrics)} bins on [{low:g}, {high:g}])"

    def _parts(self) -> list[Any]:
        return [self.counts, *self.metrics]


def _per_bin(count: Tensor, values: list[Any]) -> dict[str, Any]:
    value = _stack(values)
    named = value if isinstance(value, Mapping) else {"value": value}
    return MetricTable({**named, "count": count[:-1], "outside": count[-1]})

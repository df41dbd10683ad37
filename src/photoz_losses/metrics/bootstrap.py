"""Standard errors: by the bootstrap over galaxies, or in closed form where there is one."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from photoz_losses import _check
from photoz_losses.metrics._weighted import mean, read_weights
from photoz_losses.metrics.intervals import coverage
from photoz_losses.metrics.point import bias, is_outlier, outlier_rate, residuals, rms

AT_ONCE = 2**21  # numbers of one array, 16 MB in float64, of which some are in work at once
FRACTIONS = (outlier_rate, coverage)
LEAST = 1e-12  # a fraction nearer to 0 or 1 is there, but for the rounding of weights


def standard_error(
    metric: Callable[..., Any],
    *arguments: Any,
    n_boot: int | None = 1000,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    r"""Value of any metric of this library, and its standard error over galaxies.

    The bootstrap draws :math:`N` of the :math:`N` galaxies with replacement, `n_boot` times, and
    takes the standard deviation of the metric over these replicas (Efron 1979). Replicas are counts
    of galaxies: metrics with a `weights` option take many at once, scores and `coverage`, with a
    `reduction`, are computed once and weighted, and only what has neither is computed replica by
    replica.

    Closed forms, ``n_boot=None``, are the limits of the bootstrap for many replicas:
    :math:`s/\sqrt N` for means (scores, `bias`), with :math:`s` the standard deviation over
    galaxies (divided by :math:`N`, not :math:`N - 1`); for a fraction, `coverage` or `outlier_rate`
    at a fixed threshold, that is the binomial :math:`\sqrt{p (1 - p) / N}`; for `rms` the first
    order of it, :math:`s(\Delta^2) / (2\,\mathrm{rms}\sqrt N)`. Medians, `mad`, `sigma_iqr` and the
    outliers beyond :math:`3\,\sigma_\mathrm{IQR}` have none: theirs depend on the density of the
    residuals.

    Both are silent, and the error is NaN, where they would be 0 whatever the truth: for fewer than
    two galaxies (of weight above 0), and for a fraction (`outlier_rate`, `coverage`) of exactly 0
    or 1, whose galaxies all agree. There give a one-sided limit: none of :math:`N` galaxies means a
    fraction below :math:`1 - 0.05^{1/N} \approx 3/N` at 95 % (the rule of three; Hanley &
    Lippman-Hand 1983), all of them one above 1 minus that. The error 0 of a mean of equal scores
    stays.

    Parameters
    ----------
    metric : callable
        Such as `mad` or `crps`, or a ``functools.partial`` of one; what it returns is a Tensor, or
        a mapping of names to them, without one value a galaxy.
    *arguments
        Of the metric. Tensors hold the N galaxies in their first dimension.
    n_boot : int or None
        Number of replicas, at least two; None for the closed form.
    generator : torch.Generator, optional
        Source of the draws, which fixes the result whatever the chunks.
    chunk_size : int, optional
        Replicas at once; by default what fits into about 128 MB.
    **options
        Of the metric. Weights (N,) stay with their galaxies.

    Returns
    -------
    value, error : Tensor
        The metric of all galaxies, and its standard error of the same shape; NaN where a replica
        is, and where the sample cannot tell (above). For a metric that returns a mapping, two
        mappings.

    Raises
    ------
    ValueError
        If there is no closed form, tensors differ in the number of galaxies, or a number is too
        small.
    TypeError
        If `n_boot` is not an integer, or the metric is a class such as `MAD`, has no signature or
        returns something else.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses.metrics import outlier_rate, standard_error
    >>> z_spec = torch.zeros(400, dtype=torch.float64)
    >>> z_phot = torch.linspace(-0.1, 0.1, 400, dtype=torch.float64)
    >>> standard_error(outlier_rate, z_phot, z_spec, n_boot=None)
    (tensor(0.5000, dtype=torch.float64), tensor(0.0250, dtype=torch.float64))
    >>> generator = torch.Generator().manual_seed(0)
    >>> value, error = standard_error(outlier_rate, z_phot, z_spec, generator=generator)
    >>> round(error.item(), 3)
    0.025
    >>> standard_error(outlier_rate, z_phot, z_spec, n_boot=None, threshold=0.2)  # < 3 / 400
    (tensor(0., dtype=torch.float64), tensor(nan, dtype=torch.float64))
    """
    if isinstance(metric, partial):
        arguments, options = (*metric.args, *arguments), {**metric.keywords, **options}
        metric = metric.func
    arguments, options = by_place(metric, arguments, options)
    N = n_galaxies(arguments)
    value = metric(*arguments, **options)
    refuse_per_galaxy(metric, arguments, options, value)
    _check.generator("generator", generator)
    for name, number, least in (("n_boot", n_boot, 2), ("chunk_size", chunk_size, 1)):
        if number is not None:
            _check.count(name, number, least)
    alone = _taking_part(options.get("weights"), N) < 2
    if n_boot is None:
        error = _closed_form(metric, arguments, options, value)
    elif alone:
        error = value  # nothing to draw from
    else:
        chunk = chunk_size or max(1, AT_ONCE // N)
        resampled = _resampled(metric, arguments, options, value)
        replicas = [
            resampled(_draws(min(chunk, n_boot - done), N, _device(arguments), generator))
            for done in range(0, n_boot, chunk)
        ]
        error = _spread(replicas)
    if alone:
        return value, _undefined(error)
    if metric in FRACTIONS:
        total = arguments[1].numel() if options.get("reduction") == "sum" else 1
        agreed = (value < LEAST * total) | (value > (1 - LEAST) * total)
        error = torch.where(agreed, torch.nan, error)
    return value, error


def by_place(
    metric: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and options, every tensor of galaxies among the former; TypeError otherwise.

    Only what is given by place is drawn, or parted, galaxy by galaxy (and the weights are).
    """
    bound = _signature(metric).bind(*arguments, **options)
    galaxies = {len(a) for a in bound.args if isinstance(a, Tensor) and a.ndim}
    for name, option in bound.kwargs.items():
        known = name in ("weights", "level")
        if not known and isinstance(option, Tensor) and option.ndim and len(option) in galaxies:
            raise TypeError(f"{name} must be given by place, to stay with its galaxies")
    return bound.args, bound.kwargs


def _signature(metric: Callable[..., Any]) -> inspect.Signature:
    """Of a function; TypeError of a metric's class, of its instance, and of what has none."""
    kind = metric if isinstance(metric, type) else type(metric)
    if issubclass(kind, Metric | MetricCollection):
        raise TypeError(
            f"metric must be a function, got {kind.__name__}: give the function, such as mad or "
            f"crps, not its class"
        )
    try:
        return inspect.signature(_check.calls("metric", metric))
    except ValueError as error:
        got = getattr(metric, "__name__", _check.shown(metric))
        raise TypeError(
            f"metric must have a signature that Python can read, got {got}: call it in a function "
            f"of your own"
        ) from error


def refuse_per_galaxy(
    metric: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], value: Any
) -> None:
    """ValueError where the metric gives a number for each galaxy: its length follows theirs."""
    N = n_galaxies(arguments)
    named = value if isinstance(value, Mapping) else {"": value}
    if not any(isinstance(each, Tensor) and each.shape[:1] == (N,) for each in named.values()):
        return
    fewer = [a[: N - 1] if isinstance(a, Tensor) else a for a in arguments]
    own = {n: o[: N - 1] if n == "weights" and o is not None else o for n, o in options.items()}
    other = metric(*fewer, **own) if N else value  # of none the shape alone tells
    others = other if isinstance(other, Mapping) else {"": other}
    if N == 0 or any(others[name].shape != each.shape for name, each in named.items()):
        raise ValueError(
            f"metric must give one number for all galaxies, got one for each of the {N}: leave "
            f"reduction='none' out, or take a mean of what it gives"
        )


def _taking_part(weights: Tensor | None, galaxies: int) -> int:
    """Number of galaxies of weight above 0."""
    if weights is None or galaxies < 2:
        return galaxies
    return int((weights != 0).reshape(galaxies, -1).any(1).sum())


def _spread(replicas: list[Any]) -> Any:
    if isinstance(replicas[0], Mapping):
        return {name: _spread([part[name] for part in replicas]) for name in replicas[0]}
    return torch.cat(replicas).std(0)


def _undefined(error: Any) -> Any:
    if isinstance(error, Mapping):
        return {name: _undefined(each) for name, each in error.items()}
    return torch.full_like(error, torch.nan, dtype=torch.float64)


def n_galaxies(arguments: tuple[Any, ...]) -> int:
    """Length of the first dimension of all tensors; ValueError where they differ."""
    lengths = {len(a) if a.ndim else 1 for a in arguments if isinstance(a, Tensor)}
    if len(lengths) != 1:
        raise ValueError(
            f"arguments must be tensors with the galaxies in their first dimension, "
            f"got {sorted(lengths) or 'no tensor'}"
        )
    return lengths.pop()


def _device(arguments: tuple[Any, ...]) -> torch.device:
    return next(a.device for a in arguments if isinstance(a, Tensor))


def _draws(
    replicas: int, galaxies: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Galaxies of each replica; drawn one replica after the other, so that chunks do not matter."""
    where = device if generator is None else generator.device
    rows = [
        torch.randint(galaxies, (galaxies,), generator=generator, device=where)
        for _ in range(replicas)
    ]
    return torch.stack(rows).to(device)


def _counts(draws: Tensor) -> Tensor:
    """How often each galaxy is in each replica, float64."""
    counts = torch.zeros(draws.shape, dtype=torch.float64, device=draws.device)
    return counts.scatter_add(1, draws, torch.ones_like(counts))


def _resampled(
    metric: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], value: Any
) -> Callable[[Tensor], Any]:
    """Function of drawn galaxies (replicas, N) that gives the metric of each replica."""
    accepted = inspect.signature(metric).parameters
    weights = options.get("weights")

    def weighted(draws: Tensor) -> Any:
        counts = _counts(draws)
        each = counts if weights is None else counts * weights
        return metric(*arguments, **{**options, "weights": each})

    vectors = all(a.ndim == 1 for a in arguments if isinstance(a, Tensor))
    if "weights" in accepted and vectors:
        return weighted
    if _is_mean(metric, options):
        each = _scores(metric, arguments, options)
        between = each.ndim - value.ndim  # what is between galaxies and levels belongs to a galaxy
        each = each.flatten(1, between - 1).mean(1) if between > 1 else each
        if each.ndim == 1:
            return lambda draws: mean(each, _counts(draws))
        table = each.flatten(1)
        return lambda draws: (_counts(draws) @ table / len(table)).reshape(-1, *each.shape[1:])

    def one(rows: Tensor) -> Any:
        own = options if weights is None else {**options, "weights": weights[rows]}
        return metric(*(a[rows] if isinstance(a, Tensor) else a for a in arguments), **own)

    def looped(draws: Tensor) -> Any:
        values = [one(rows) for rows in draws]
        if isinstance(values[0], Mapping):
            return {name: torch.stack([value[name] for value in values]) for name in values[0]}
        return torch.stack(values)

    return looped


def _is_mean(metric: Callable[..., Any], options: dict[str, Any]) -> bool:
    accepted = inspect.signature(metric).parameters
    return "reduction" in accepted and options.get("reduction", "mean") == "mean"


def _scores(
    metric: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Tensor:
    """What the metric is the mean of: of each galaxy (and level)."""
    each: Tensor = metric(*arguments, **{**options, "reduction": "none"})
    return each.detach().double()


def _closed_form(
    metric: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any], value: Any
) -> Tensor:
    """Standard error of a mean over galaxies, or of the root of one."""
    weights = options.get("weights")
    if metric is bias and options.get("statistic", "mean") == "mean":
        each = residuals(*arguments)
    elif metric is outlier_rate and not isinstance(options.get("threshold", 0.05), str):
        each = is_outlier(residuals(*arguments), None, options.get("threshold", 0.05))
    elif metric is rms:
        each = residuals(*arguments).square()
    elif _is_mean(metric, options):
        each = _scores(metric, arguments, options)
        each = each.flatten(0, each.ndim - value.ndim - 1)
    else:
        raise ValueError(
            f"{getattr(metric, '__name__', 'this metric')} with these options has no closed form "
            f"of its standard error: give n_boot, a number of replicas"
        )
    share = each.new_full((len(each),), 1 / max(len(each), 1))
    if weights is not None:
        share = read_weights(weights, arguments[1], "z_spec")
        share = share / share.sum()
    share = share.reshape(-1, *value.ndim * (1,))
    centre = (share * torch.where(share == 0, 0.0, each)).sum(0)
    apart = share * torch.where(share == 0, 0.0, each - centre)
    N = n_galaxies(arguments)
    of_galaxy = apart.unflatten(0, (N, len(apart) // max(N, 1))).sum(1)
    error = of_galaxy.square().sum(0).sqrt()
    error = torch.where(centre.isnan(), torch.nan, error)
    return error / (2 * centre.sqrt()) if metric is rms else error

"""Weights between terms that are learned, or follow the terms' progress."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses._float64 import Float64Module


class _OfTerms(nn.Module):
    """A Module with one number a term, whose ``state_dict`` says of which terms."""

    names: tuple[str, ...]

    def get_extra_state(self) -> Tensor:
        """Names of the covered terms as UTF-8, for the ``state_dict``."""
        return torch.tensor(list(_written(self.names)), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """ValueError if a ``state_dict`` is of other names, or of another order."""
        if not isinstance(state, Tensor) or state.ndim != 1:
            raise TypeError(f"state must be a vector, got {_check.shown(state)}")
        if not _check.can_read(state):
            return
        saved = state.tolist()
        if saved != list(_written(self.names)):
            known = all(number in range(256) for number in saved)
            names = bytes(map(int, saved)).decode(errors="replace").split("\n") if known else saved
            raise ValueError(
                f"state must be of the same names in the same order, got {names} for "
                f"{list(self.names)}: each weight would go to another term"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *options: Any, **more: Any
    ) -> None:
        names = state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())  # of before
        self.set_extra_state(names)  # now: torch asks when the numbers are copied
        super()._load_from_state_dict(state_dict, prefix, *options, **more)


def _written(names: tuple[str, ...]) -> bytes:
    return "\n".join(names).encode(errors="surrogatepass")


class UncertaintyWeights(_OfTerms):
    r"""Weights learned with the network, one log variance a term, for `TotalLoss`.

    .. math:: L = \sum_j \tfrac12 e^{-s_j} L_j + \tfrac12 s_j, \qquad s_j = \log \sigma_j^2

    Kendall, Gal & Cipolla (2018), arXiv:1705.07115, their form for regression, used for every term:
    their form for classification, :math:`e^{-s} L + \tfrac12 s`, is the same with s moved by
    log 2. With the other parameters held, s_j moves towards :math:`\log L_j`, where the sum is
    :math:`\tfrac12 (1 + \log L_j)`: each term's *relative* change counts the same.

    So a term must stay above zero. One that can be negative (`CDELoss` is, for good densities)
    would send the sum to minus infinity, and is refused: keep it at a fixed weight. One that
    reaches zero sends its s there.

    Parameters
    ----------
    names : sequence of str
        Terms of `TotalLoss` whose weights are learned.

    Attributes
    ----------
    log_variances : Parameter, shape (len(names),)
        :math:`s_j`, zero at the start. Give ``loss.parameters()`` to the optimiser, without weight
        decay, or nothing is learned; and under DistributedDataParallel wrap the loss as well, or
        every rank learns its own.

    Raises
    ------
    ValueError
        If there are no names or one comes twice; from the call if a term is missing, or negative on
        the CPU. (On other devices and under ``torch.compile`` a negative term makes the sum and its
        gradients NaN.)
    TypeError
        If names are not a sequence of str.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import UncertaintyWeights
    >>> weighting = UncertaintyWeights(["ce", "flux"])
    >>> weighting({"ce": torch.tensor(4.0), "flux": torch.tensor(0.1)})
    tensor(2.0500, grad_fn=<SumBackward0>)
    >>> weighting.factors()
    {'ce': tensor(0.5000), 'flux': tensor(0.5000)}
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = _check_names(names, at_least=1)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Contribution of the covered terms to the sum: scalar, from scalars by name."""
        values = _read(self.names, terms)
        s = self.log_variances.to(values.dtype)
        total = (0.5 * (-s).exp() * values + 0.5 * s).sum()
        given = {**_by_name(self.names, values), "weighting.log_variances": s}
        _values.refuse_overflow(total, total, **given)
        return total

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def factors(self) -> dict[str, Tensor]:
        """What each term is multiplied by, :math:`e^{-s_j} / 2`, without gradient."""
        return _by_name(self.names, 0.5 * (-self.log_variances.detach()).exp())

    def extra_repr(self) -> str:
        """Names of the covered terms, for ``repr``."""
        return ", ".join(self.names)


class ReLoBRaLo(_OfTerms, Float64Module):
    r"""Weights by relative progress, with random looks back to the start, for `TotalLoss`.

    .. math::

        \hat\lambda_j(t; t') &= m \,\mathrm{softmax}_j \frac{L_j(t)}{T\, L_j(t')} \\
        \lambda_j(t) &= \alpha \bigl(\rho \lambda_j(t - 1) + (1 - \rho) \hat\lambda_j(t; 0)\bigr)
                        + (1 - \alpha) \hat\lambda_j(t; t - 1)

    Relative loss balancing with random lookback, Bischof & Kraus (2021), arXiv:2110.09813. Of m
    terms, those that fell least get the larger weights; these sum to m, start at 1, and carry no
    gradient. ρ is 0 or 1, anew at each step.

    A term must not be negative: the ratio of two negative losses grows where things get better.
    `CDELoss` is negative for good densities, and is refused: keep it at a fixed weight. Where a
    term was zero its progress is not known, and the ratio is taken as 1; :math:`L_j(0)` is its
    first value above zero.

    The weights move in each forward in training mode, and stand still in ``.eval()`` (transforms of
    ``torch.func``, which let nobody write to buffers, need that). In a process group the terms are
    averaged over the ranks first, each rank counting the same whatever its number of galaxies, and
    the draws of ρ are the same on all, so that all weigh alike.

    Parameters
    ----------
    names : sequence of str
        Terms of `TotalLoss` to be balanced, at least two.
    alpha : float
        Memory, in [0, 1]: the weights follow the progress of about ``1 / (1 - alpha)`` steps.
    temperature : float
        T, positive: equal weights for a large one, all on the slowest term for a small one.
    rho : float
        Expectation of ρ, in [0, 1]: a look back to the start once in ``1 / (1 - rho)`` steps.
    seed : int
        Seed of the draws.

    Attributes
    ----------
    weights, first, previous : Tensor, float64, shape (m,)
        :math:`\lambda_j(t)`, :math:`L_j(0)` and :math:`L_j(t - 1)`.
    draw : Tensor, int64 scalar
        State of the generator. All four are buffers, in the ``state_dict``: a resumed run goes on
        as if it had not stopped. They keep their precision under ``.half()``.

    Raises
    ------
    ValueError
        If there are fewer than two names or one comes twice, or an option lies outside its range;
        from the call if a term is missing, or negative on the CPU. (On other devices and under
        ``torch.compile`` a negative term makes the sum and its gradients NaN. Neither that nor a
        NaN term moves the weights.)
    TypeError
        If names are not a sequence of str.

    Notes
    -----
    ρ comes from the generator ``minstd_rand`` of C++, written as tensor operations on a buffer,
    because a ``torch.Generator`` cannot be used within a compiled step.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import ReLoBRaLo
    >>> weighting = ReLoBRaLo(["ce", "flux"], alpha=0.5, rho=1.0)
    >>> weighting({"ce": torch.tensor(4.0), "flux": torch.tensor(0.1)})
    tensor(4.1000)
    >>> weighting({"ce": torch.tensor(2.0), "flux": torch.tensor(0.1)})  # the flux stands still
    tensor(1.8673)
    >>> weighting.weights
    tensor([0.8775, 1.1225], dtype=torch.float64)
    """

    weights: Tensor
    first: Tensor
    previous: Tensor
    draw: Tensor

    def __init__(
        self,
        names: Iterable[str],
        *,
        alpha: float = 0.999,
        temperature: float = 1.0,
        rho: float = 0.999,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.names = _check_names(names, at_least=2)
        for name, share in (("alpha", alpha), ("rho", rho)):
            if not 0 <= _check.number(name, share) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {share}")
        if not 0 < _check.number("temperature", temperature) < float("inf"):
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        self.alpha, self.temperature, self.rho = alpha, temperature, rho
        m = len(self.names)
        self.register_buffer("weights", torch.ones(m, dtype=torch.float64))
        self.register_buffer("first", torch.zeros(m, dtype=torch.float64))
        self.register_buffer("previous", torch.zeros(m, dtype=torch.float64))
        self.register_buffer(
            "draw", torch.tensor(1 + _check.count("seed", seed, 0) % (_MODULUS - 1))
        )

    def forward(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Contribution of the covered terms to the sum: scalar, from scalars by name."""
        values = _read(self.names, terms)
        weights = self._follow(values.detach()) if self.training else self.weights.clone()
        total = (weights.to(values.dtype) * values).sum()
        _values.refuse_overflow(total, total, **_by_name(self.names, values))
        return total

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    @torch.no_grad()
    def _follow(self, values: Tensor) -> Tensor:
        """Weights of this step from the terms' values, which become the previous ones."""
        now = values.to(self.weights.dtype, copy=True)  # a copy: all_reduce overwrites it
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(now)
            now = now / distributed.get_world_size()
        draw = self.draw * _MULTIPLIER % _MODULUS
        keep = (draw < self.rho * _MODULUS).double()
        first = torch.where(self.first > 0, self.first, now)
        back = keep * self.weights + (1 - keep) * self._progress(now, first)
        weights = self.alpha * back + (1 - self.alpha) * self._progress(now, self.previous)
        known = now.isfinite().all()
        weights = torch.where(known, weights, self.weights)
        self.weights.copy_(weights)
        self.first.copy_(torch.where(known, first, self.first))
        self.previous.copy_(torch.where(known, now, self.previous))
        self.draw.copy_(draw)
        return weights

    def _progress(self, now: Tensor, then: Tensor) -> Tensor:
        ratio = torch.where(then > 0, now / torch.where(then > 0, then, 1.0), 1.0)
        ratio = ratio.clamp(max=torch.finfo(ratio.dtype).max)
        # relative to the largest first, or a tiny temperature would divide beyond float64
        behind = ratio - ratio.amax(-1, keepdim=True)
        return len(self.names) * (behind / self.temperature).softmax(-1)

    def factors(self) -> dict[str, Tensor]:
        r"""What each term is multiplied by, :math:`\lambda_j`, since the last step."""
        return _by_name(self.names, self.weights.clone())

    def extra_repr(self) -> str:
        """Names of the covered terms and options, for ``repr``."""
        options = f"alpha={self.alpha:g}, temperature={self.temperature:g}, rho={self.rho:g}"
        return f"{', '.join(self.names)}, {options}"


# minstd_rand: the products stay below 2**47, and so are exact in int64 on every device
_MULTIPLIER, _MODULUS = 48271, 2**31 - 1


def _check_names(names: Iterable[str], at_least: int) -> tuple[str, ...]:
    expected = "a sequence of str, ['ce', 'flux']"
    taken = tuple(_check.several("names", names, expected))
    if isinstance(names, str) or not all(isinstance(name, str) for name in taken):
        raise TypeError(f"names must be {expected}, got {names!r}")
    if len(taken) < at_least:
        least = "one name" if at_least == 1 else f"{at_least} names"
        raise ValueError(f"names must hold at least {least}, got {list(taken)}")
    if len(set(taken)) < len(taken):
        raise ValueError(f"names must differ, got {list(taken)}")
    return taken


def _read(names: tuple[str, ...], terms: Mapping[str, Tensor]) -> Tensor:
    """The covered terms, (m,), in at least float32; one below 0 is refused, or poisons all."""
    _check.mapping("terms", terms)
    if missing := [name for name in names if name not in terms]:
        raise ValueError(f"terms must hold {missing[0]!r}, got {', '.join(terms) or 'none'}")
    given = [_check.at_least_single(f"terms[{name!r}]", terms[name]) for name in names]
    for value in given:
        if value.ndim:
            raise ValueError(
                f"terms must be scalars, got shape {tuple(value.shape)}: make them with "
                f"reduction='mean'"
            )
    values = torch.stack(given)
    if _check.can_read_free(values):
        for name, value in zip(names, values.tolist(), strict=True):
            if value < 0:
                raise ValueError(
                    f"term {name!r} adds {value:.4g}, and a weight made from the size of a term "
                    f"needs it not below zero: leave it out of names, which keeps it at its fixed "
                    f"weight"
                )
    return values * torch.where(values < 0, torch.nan, 1.0).to(values.dtype)


def _by_name(names: tuple[str, ...], values: Tensor) -> dict[str, Tensor]:
    return dict(zip(names, values.unbind(), strict=True))

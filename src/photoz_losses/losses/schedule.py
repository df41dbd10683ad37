"""Weights that change during training: ramps, and terms that are due on every k-th step only."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses._calls import typed_as
from photoz_losses._float64 import Float64Module

KINDS = ("constant", "linear", "cosine")
HEAVIEST = 1e30  # weight of a term, which float32 holds multiplied by the term


class WeightSchedule(Float64Module):
    r"""Weight of a term as a function of the optimiser's step, for a term of `TotalLoss`.

    .. math:: \gamma(t) = \gamma_0 + (\gamma - \gamma_0)\, f(\min(t / \mathrm{steps}, 1)), \qquad
              f(x) = x \;\text{ or }\; \tfrac12 (1 - \cos \pi x)

    The step t is 0 in the first forward and grows by one with each call of `step`, which the loop
    makes once an optimiser step, as for a schedule of the learning rate: ``TotalLoss.step()`` makes
    it for all terms. Forget it, and the weight stays where it starts.

    Parameters
    ----------
    weight : float
        :math:`\gamma`, the weight after the ramp; from 0 to 1e30.
    kind : {"constant", "linear", "cosine"}
        Shape f of the ramp; ``"constant"`` has none, and takes neither `steps` nor `start`.
    steps : int
        Length of the ramp in optimiser steps.
    start : float
        :math:`\gamma_0`, the weight at step 0. It may lie above `weight`.
    every : int
        The term is due on steps 0, `every`, 2 `every`, ... and costs nothing on the others. The
        weight is not made larger for that: averaged over steps, the term pulls ``1 / every`` as
        much.

    Attributes
    ----------
    value : Tensor, float64 scalar
        :math:`\gamma(t)`. View of a buffer that is filled in place, so that a compiled step reads
        the new weight without being compiled again and no device is waited for; it stays in float64
        under ``.half()``, and is no part of the ``state_dict``.
    active : bool
        Whether the term is due on this step.

    Raises
    ------
    ValueError
        If an option is not among those above, a weight does not lie between 0 and 1e30, a ramp has
        no steps, or a constant has a ramp's options; if a step is negative.
    TypeError
        If a weight is not a number, or `steps`, `every` or a step is not an integer.

    Notes
    -----
    The ``state_dict`` holds t alone, as extra state: an integer on the host. As a buffer it would
    lie on the device, and the loop's question whether a term is due would wait for it.

    Examples
    --------
    >>> from photoz_losses import WeightSchedule
    >>> weight = WeightSchedule(0.1, "linear", steps=4, every=2)
    >>> for _ in range(6):
    ...     print(f"{weight.value:.3f} {weight.active}")
    ...     weight.step()
    0.000 True
    0.025 False
    0.050 True
    0.075 False
    0.100 True
    0.100 False
    """

    _value: Tensor

    def __init__(
        self,
        weight: float,
        kind: str = "constant",
        *,
        steps: int = 0,
        start: float = 0.0,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.kind = _check.one_of("kind", kind, KINDS)
        self.weight, self.start = _check_weight("weight", weight), _check_weight("start", start)
        self.steps, self.every = _check.count("steps", steps, 0), _check.count("every", every, 1)
        if kind == "constant" and (steps or start):
            raise ValueError(
                f"kind 'constant' has no ramp, got steps={steps}, start={start:g}: "
                f"ask for 'linear' or 'cosine'"
            )
        if kind != "constant" and not steps:
            raise ValueError(
                f"steps must be at least 1 for kind {kind!r}, got 0: give the length of its ramp"
            )
        # not of shape (), which torch.compile takes for a Python number where it is float64
        self.register_buffer("_value", torch.zeros(1, dtype=torch.float64), persistent=False)
        self._go_to(0)

    def forward(self, term: Tensor) -> Tensor:
        """`term` times the weight, in at least float32; scalar or of any shape.

        TypeError if it is not floating-point: in integers the weight would be cut to 0.
        """
        term = _check.at_least_single("term", term)
        # a copy, because the next step overwrites the buffer, perhaps before the backward
        return self._value.to(term.dtype, copy=True).squeeze() * term

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    @property
    def value(self) -> Tensor:
        """Weight at this step, a view of the buffer."""
        return self._value.squeeze()

    def step(self) -> None:
        """Go to the next step of the optimiser."""
        self._go_to(self._count + 1)

    def at(self, step: int) -> float:
        """Weight at any step, whether the term is due on it or not."""
        _check.count("step", step, 0)
        if self.kind == "constant":
            return self.weight
        done = min(step / self.steps, 1.0)
        if self.kind == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return done * self.weight + (1 - done) * self.start

    def current(self) -> float:
        """Weight at this step, from the host: unlike ``value.item()`` it waits for no device."""
        return self.at(self._count)

    @property
    def step_number(self) -> int:
        """Number of steps made."""
        return self._count

    @property
    def moves(self) -> bool:
        """Whether a further step may change the weight, or whether the term is due."""
        return self.every > 1 or self._count < self.steps

    def _go_to(self, count: int) -> None:
        self._count = count
        self.active = count % self.every == 0  # a compiled step has one graph for each answer
        self._value.fill_(self.at(count))

    def get_extra_state(self) -> Tensor:
        """Number of steps made, int64, for the ``state_dict``."""
        return torch.tensor(self._count, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Go to the step that a ``state_dict`` was saved at."""
        if not isinstance(state, Tensor) or state.ndim or state.dtype not in _check.INTEGRAL:
            raise TypeError(f"state must be an integer tensor, got {_check.shown(state)}")
        self._go_to(_check.count("state", int(state), 0))

    def extra_repr(self) -> str:
        """Weight, ramp and step, for ``repr``."""
        ramp = "" if self.kind == "constant" else f" {self.kind} over {self.steps} steps"
        begin = "" if self.kind == "constant" else f"{self.start:g} to "
        every = "" if self.every == 1 else f", every {self.every}"
        return f"{begin}{self.weight:g}{ramp}{every}, at step {self._count}"


def _check_weight(name: str, value: float) -> float:
    if not 0 <= _check.number(name, value) <= HEAVIEST:
        raise ValueError(f"{name} must lie between 0 and {HEAVIEST:g}, got {value}")
    return float(value)

"""What every torchmetrics class here keeps to, where torchmetrics by itself does not."""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from photoz_losses import _check
from photoz_losses._float64 import exactly
from photoz_losses._repr import options
from photoz_losses.metrics._table import MetricTable

# What a metric's calls change on their way, and leave changed when something raises.
_ON_THE_WAY = (
    *("_update_count", "_computed", "_forward_cache", "_cache", "_is_synced"),
    *("_to_sync", "_should_unsync", "_enable_grad", "compute_on_cpu"),
)


class _Result:
    """A result in a wrapping that torchmetrics does not squeeze to a scalar."""

    def __init__(self, value: Any) -> None:
        self.value = value


def shallow_states(metric: Metric) -> dict[str, Any]:
    """Each state under its name; lists are new ones, of the same tensors."""
    states = metric.metric_state
    return {name: list(s) if isinstance(s, list) else s for name, s in states.items()}


def _states(metric: Metric) -> dict[str, Any]:
    """As `shallow_states`; of other packages' metrics copies, since these add to them in place."""
    states = shallow_states(metric)
    if isinstance(metric, StreamingMetric):
        return states
    return {name: s.clone() if isinstance(s, Tensor) else s for name, s in states.items()}


@contextmanager
def all_or_none(*metrics: Metric) -> Iterator[None]:
    """What `metrics`, and those within them, had seen is what they have seen where this raises."""
    parts = [part for one in metrics for part in one.modules() if isinstance(part, Metric)]
    before = [_states(part) | {name: getattr(part, name) for name in _ON_THE_WAY} for part in parts]
    try:
        yield
    except BaseException:
        for part, values in zip(parts, before, strict=True):
            for name, value in values.items():
                setattr(part, name, value)
        raise


class StreamingMetric(Metric):
    """A ``torchmetrics.Metric`` in float64 that a bad batch, a cast or a copy does not spoil.

    * A batch that raises leaves everything seen before it as it was, in ``forward`` too; so does
      what ``merge_state`` refuses.
    * What is merged into it counts as data, and what was computed before is forgotten.
    * States and buffers stay in float64 under ``.half()``, ``.to(dtype)`` and ``set_dtype``, also
      states that a rank without any galaxy sends to the others.
    * A result of shape (1,) stays of shape (1,), and whoever changes it changes no later one.
    * In a process group every ``compute`` is one of all ranks, also of those that saw nothing since
      their last: none is answered from memory. What one rank alone prints is a result that it kept.
    * Loading a ``state_dict`` takes copies, forgets what was computed before, and counts as data.
    """

    full_state_update = False
    _options: ClassVar[tuple[str, ...]] = ()  # attributes that ``repr`` shows

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._dtype = torch.float64  # of what a rank without any galaxy sends to the others

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Value of this batch alone, which is then taken in; all of it, or none where it raises."""
        with all_or_none(self):
            return super().forward(*args, **kwargs)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of this class has seen, or its states by name; all, or none."""
        states = incoming_state
        if not isinstance(states, dict):
            states = _check.instance("incoming_state", states, type(self)).metric_state
        if states.keys() != self._defaults.keys():
            raise ValueError(
                f"incoming_state must be of the same bins and options as this {type(self).__name__}"
                f", with states {', '.join(self._defaults)}, got {', '.join(states) or 'none'}"
            )
        own = {name: self._own(states[name], default) for name, default in self._defaults.items()}
        with all_or_none(self):
            super().merge_state(own)
            self._count_as_seen(incoming_state)

    def _count_as_seen(self, incoming_state: dict[str, Any] | Metric) -> None:
        """What ``torchmetrics`` leaves out where states are merged."""
        merged = incoming_state._update_count if isinstance(incoming_state, Metric) else 1
        self._computed, self._update_count = None, self._update_count + merged

    def __repr__(self) -> str:
        parts = [*map(repr, self.children()), options(self, *self._options)]
        return f"{type(self).__name__}({', '.join(filter(None, parts))})"

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_compute(
            functools.wraps(compute)(lambda *args, **kwargs: _Result(compute(*args, **kwargs)))
        )

        @functools.wraps(compute)
        def unwrapped(*args: Any, **kwargs: Any) -> Any:
            if self._to_sync and not self._is_synced and self.distributed_available_fn():
                self._computed = None  # else ranks that saw nothing new would not join the others
            return _copied(wrapped(*args, **kwargs).value)

        return unwrapped

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> Self:
        before, defaults = shallow_states(self), copy.copy(self._defaults)
        buffers = dict(self.named_buffers(recurse=False))
        super()._apply(fn, exclude_state)
        for name, buffer in buffers.items():
            setattr(self, name, exactly(buffer, getattr(self, name)))
        for name, state in before.items():
            setattr(self, name, _in_dtype_of(state, getattr(self, name)))
            self._defaults[name] = _in_dtype_of(defaults[name], self._defaults[name])
        self._dtype, self._computed = torch.float64, None
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        found = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in found:
            setattr(self, name, self._own(getattr(self, name), self._defaults[name]))
        if found:
            self._computed, self._update_count = None, max(1, self._update_count)

    def _own(self, loaded: Tensor | list[Tensor], default: Tensor | list[Tensor]) -> Any:
        """Copy of a state of others, of the type and on the device where this metric keeps it."""
        if isinstance(default, Tensor):
            return torch.as_tensor(loaded).to(default.device, default.dtype, copy=True)
        parts = [loaded] if isinstance(loaded, Tensor) else loaded
        device = torch.device("cpu") if self.compute_on_cpu else self.device
        return [part.to(device, torch.float64, copy=True) for part in parts]


def _copied(result: Any) -> Any:
    """A result of copies: whoever changes it changes neither a state nor what was kept of it."""
    if isinstance(result, MetricTable):
        return MetricTable({name: _copied(part) for name, part in result.items()})
    return result.clone() if isinstance(result, Tensor) else result


def _in_dtype_of(before: Any, after: Any) -> Any:
    """`after`, or `before` on its device where a cast has rounded it."""
    if isinstance(before, list):
        return [_in_dtype_of(one, other) for one, other in zip(before, after, strict=True)]
    return after if after.dtype == before.dtype else before.to(after.device)

"""The weighted sum of terms: the paper's section 2, last equation."""

import difflib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Never

import torch
from torch import Tensor, nn

from photoz_losses import _check, _values
from photoz_losses._calls import typed_as
from photoz_losses.losses.schedule import HEAVIEST, WeightSchedule

PATIENCE = 1000  # training calls: no one accumulates the gradients of so many batches


class TotalLoss(nn.Module):
    r"""Weighted sum of terms, each handed only the keywords that its ``forward`` takes.

    .. math:: L = L_\mathrm{CE} + \sum_j \gamma_j P_j

    Engel & Strube (2023), section 2: the cross entropy is a term like the others, with weight 1.

    Parameters
    ----------
    terms : mapping of str to (float or WeightSchedule, Module)
        Weight and Module of each term, by name. A term of weight 0 is computed and reported, but
        does not enter the total. With a `WeightSchedule` call `step` once an optimiser step; after
        1,000 training calls without one a warning says so. (Not under ``torch.compile``.)
    weighting : Module, optional
        `UncertaintyWeights`, `ReLoBRaLo` or another with their three members, for the terms in its
        ``names``: ``forward({name: weight * value})`` gives what these add to the total (their
        weights are then where they start from), and ``factors()``, for `current_weights`, what
        each is multiplied by. The other terms keep their own weights.

    Attributes
    ----------
    weights : dict of str to float or WeightSchedule
        The weights as given.

    Raises
    ------
    ValueError
        If there are no terms, a weight does not lie between 0 and 1e30, or a name is empty, holds a
        dot or is one of ModuleDict's own; if no term is due on every step; if `weighting` names a
        term that does not exist, or one whose weight is zero or a schedule.
    TypeError
        If a term is not a Module or its ``forward`` takes no named keywords, or `weighting` is not
        a Module with names.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.1, CDELoss(bins))})
    >>> total, terms = loss(logits=torch.zeros(1, 4), z_spec=torch.tensor([0.05]))
    >>> total, terms
    (tensor(1.1363), {'ce': tensor(1.3863), 'cde': tensor(-2.5000)})
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[float | WeightSchedule, nn.Module]],
        *,
        weighting: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(terms, Mapping):
            raise TypeError(
                f"terms must be a mapping, {{'ce': (1.0, ...)}}, got {_check.shown(terms)}"
            )
        if not terms:
            raise ValueError("terms is empty: give at least one, {'ce': (1.0, ...)}")
        for name, entry in terms.items():
            _check_term(name, entry)
        self.weights = {
            name: weight if isinstance(weight, WeightSchedule) else float(weight)
            for name, (weight, _) in terms.items()
        }
        self._covered = _covered(weighting, self.weights)
        self.terms = nn.ModuleDict({name: module for name, (_, module) in terms.items()})
        if schedules := _schedules(self.weights):
            self.schedules = nn.ModuleDict(schedules)
        self.weighting: Any = weighting
        self._takes = {name: _keywords(name, module) for name, (_, module) in terms.items()}
        self._unused: set[str] = set()
        self._calls, self._steps = 0, [0] * len(schedules)

    def forward(self, *unnamed: Never, **inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and each term's unweighted value by name.

        Parameters
        ----------
        **inputs
            Everything the terms take between them (``logits``, ``z_spec``, ``residual``, ...). What
            no term takes is left alone, so that one loop serves any set of terms; but one that is
            not unlike an optional keyword that is missing gets a warning, once. (Not under
            ``torch.compile``.)

        Raises
        ------
        TypeError
            If something is given by place, if a term lacks a keyword (the error names both), or if
            a keyword that no term takes looks like a misspelt one that a term does.
        ValueError
            If a term does not give a scalar, or (on the CPU) the sum of finite terms overflows.
        """
        if unnamed:
            names = dict.fromkeys(key for takes in self._takes.values() for key in takes)
            call = ", ".join(f"{name}=..." for name in names)
            raise TypeError(f"loss takes everything by keyword, as its terms do: loss({call})")
        self._check_names(inputs)
        self._miss_steps()
        values: dict[str, Tensor] = {}
        for name, takes in self._takes.items():
            if not self.active(name):
                continue
            values[name] = self.terms[name](**{key: inputs[key] for key in takes if key in inputs})
            _refuse_no_scalar(f"term {name!r}", values[name])
        weighted = self._weighted({name: _wide(name, value) for name, value in values.items()})
        if not weighted:
            return 0 * next(iter(values.values())).nan_to_num(), values
        total = torch.stack([_wide("weighting", part) for part in weighted]).sum()
        if _check.can_read_free(total) and not bool(total.isfinite()):
            self._refuse_overflow(total, weighted, values)
        return total, values

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None:
            """As `forward`."""

    def _weighted(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """What each term that is due adds to the total, and what the covered ones add together."""
        parts, covered = [], {}
        for name, value in values.items():
            weight = self.weights[name]
            if isinstance(weight, WeightSchedule):
                parts.append(weight(value))
            elif name in self._covered:
                covered[name] = weight * value
            elif weight:
                parts.append(weight * value)
        if self.weighting is not None:
            together = self.weighting(covered)
            _refuse_no_scalar("weighting", together)
            parts.append(together)
        return parts

    def _refuse_overflow(
        self, total: Tensor, weighted: list[Tensor], values: Mapping[str, Tensor]
    ) -> None:
        """ValueError for an overflow of terms, and of learned weights, that are finite."""
        if not any(bool(part.isinf()) for part in [total, *weighted]):  # two may cancel to NaN
            return
        given = {name: value for name, value in values.items() if self.weights[name] != 0}
        if self.weighting is not None:
            if not all(bool(buffer.isfinite().all()) for buffer in self.weighting.buffers()):
                return
            own = {f"weighting.{name}": p for name, p in self.weighting.named_parameters()}
            self._refuse_weighting(weighted[-1], values, own)
            given |= own
        _values.refuse_overflow(total, total, **given)

    def _refuse_weighting(
        self, together: Tensor, values: Mapping[str, Tensor], own: Mapping[str, Tensor]
    ) -> None:
        """ValueError where `weighting` made infinity of finite numbers by itself."""
        handed = [
            _wide(name, values[name]) * weight
            for name, weight in self.weights.items()
            if name in self._covered and not isinstance(weight, WeightSchedule)
        ]
        plain = sum(abs(float(part)) for part in handed)  # what factors of 1 would give
        fits = plain <= torch.finfo(torch.float32).max
        if fits and together.isinf() and all(bool(part.isfinite().all()) for part in own.values()):
            spans = [f"{name} of {_check.span(value)}" for name, value in own.items()]
            raise ValueError(
                f"weighting gave {together.item():g} in {together.dtype} for finite "
                f"{', '.join([*self._covered, *spans])}: have it computed in float32 throughout, "
                f"or its factors made smaller"
            )

    def step(self) -> None:
        """Move all schedules on; once after each step of the optimiser, as a learning rate's."""
        for schedule in dict.fromkeys(self.weights.values()):  # one may serve several terms
            if isinstance(schedule, WeightSchedule):
                schedule.step()

    def _miss_steps(self) -> None:
        """Warn, once, where training goes on and on and no schedule that should move does."""
        if torch.compiler.is_compiling() or not (self.training and torch.is_grad_enabled()):
            return
        schedules = [s for s in self.weights.values() if isinstance(s, WeightSchedule)]
        if not any(schedule.moves for schedule in schedules):
            return
        steps = [schedule.step_number for schedule in schedules]
        self._calls, self._steps = (self._calls + 1 if steps == self._steps else 1), steps
        if self._calls == PATIENCE:
            warnings.warn(
                f"{PATIENCE} training calls without step(): the schedules stand still. Call "
                f"loss.step() once after each step of the optimiser",
                stacklevel=5,  # where the Module is called, past torch's own two frames
            )

    def active(self, name: str) -> bool:
        """Whether a term is due on this step, so that what it needs has to be computed.

        Where it is not, its keywords may be missing, and it is absent from the returned terms.
        ValueError for a name that is no term's.
        """
        if name not in self.weights:
            raise ValueError(f"name must be one of {', '.join(self.weights)}, got {name!r}")
        weight = self.weights[name]
        return weight.active if isinstance(weight, WeightSchedule) else True

    def current_weights(self) -> dict[str, float]:
        """Weight in force of each term that is due on this step, by name, to be logged.

        For a term covered by `weighting` its own weight times its factor; reading that makes the
        host wait for the device.
        """
        if self._covered and not hasattr(self.weighting, "factors"):
            raise TypeError(
                f"weighting must have factors(), what each term is multiplied by, got "
                f"{type(self.weighting).__name__} without: write it"
            )
        factors = {} if self.weighting is None else self.weighting.factors()
        current = {}
        for name, weight in self.weights.items():
            if isinstance(weight, WeightSchedule):
                if weight.active:
                    current[name] = weight.current()
            else:
                current[name] = weight * float(factors[name]) if name in factors else weight
        return current

    def _check_names(self, inputs: Mapping[str, Any]) -> None:
        due = {name: takes for name, takes in self._takes.items() if self.active(name)}
        known = {key for takes in self._takes.values() for key in takes}
        for name, takes in due.items():
            for key, required in takes.items():
                if required and key not in inputs:
                    close = difflib.get_close_matches(key, inputs.keys() - known, 1)
                    got = ", ".join(inputs) or "none"
                    raise TypeError(
                        f"term {name!r} needs the keyword {key!r}; got {got}"
                        + (f": rename {close[0]}" if close else "")
                    )
        missing = {key for takes in due.values() for key in takes} - set(inputs)
        unused = set(inputs) - known - self._unused
        if unused and missing and not torch.compiler.is_compiling():
            self._refuse_misspelt(unused, missing)
            self._unused |= unused

    def _refuse_misspelt(self, unused: set[str], missing: set[str]) -> None:
        for key in sorted(unused):
            if close := difflib.get_close_matches(key, missing, 1, cutoff=0.8):
                raise TypeError(f"no term takes {key!r}: did you mean {close[0]!r}?")
            if close := difflib.get_close_matches(key, missing, 1, cutoff=0.5):
                self._unused.add(key)
                warnings.warn(
                    f"no term takes {key}, while a term could take {close[0]}: if that is what "
                    f"was meant, rename it",
                    stacklevel=6,  # where the Module is called, past torch's own two frames
                )

    def extra_repr(self) -> str:
        """Weights by term, for ``repr``."""
        return ", ".join(f"{name}: {self._describe(name)}" for name in self.weights)

    def _describe(self, name: str) -> str:
        weight = self.weights[name]
        if isinstance(weight, WeightSchedule):
            return f"({weight.extra_repr()})"
        return f"{weight:g}" + (f" x {type(self.weighting).__name__}" * (name in self._covered))


def _refuse_no_scalar(what: str, value: Any) -> None:
    """TypeError or ValueError unless a term, or `weighting`, gave a real scalar."""
    if not isinstance(value, Tensor) or value.is_complex():
        got = value.dtype if isinstance(value, Tensor) else repr(value)
        raise TypeError(f"{what} gave {got}: return a tensor of a real number")
    if value.ndim:
        raise ValueError(
            f"{what} gave shape {tuple(value.shape)}, a sum needs scalars: make it with "
            f"reduction='mean'"
        )


def _wide(name: str, value: Tensor) -> Tensor:
    """A term in at least float32, in which a small one beside it is not lost."""
    return _check.at_least_single(name, value) if value.is_floating_point() else value


def _check_term(name: str, entry: Any) -> None:
    if not (isinstance(entry, tuple | list) and len(entry) == 2):
        raise TypeError(f"term {name!r} must be a pair (weight, Module), got {_check.shown(entry)}")
    weight, module = entry
    if isinstance(weight, nn.Module) and not isinstance(module, nn.Module):
        raise TypeError(
            f"term {name!r} must be a pair (weight, Module), got {_check.shown(weight)} before "
            f"{_check.shown(module)}: give the weight first"
        )
    if not isinstance(name, str):
        raise TypeError(f"term {name!r} must have a str as its name")
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise ValueError(f"term {name!r} must have another name: torch.nn.ModuleDict refuses this")
    if not isinstance(module, nn.Module):
        mend = ": use its Module, CDELoss(bins) for cde_loss, or write one whose forward calls it"
        raise TypeError(
            f"term {name!r} must be a torch.nn.Module, got {type(module).__name__}"
            f"{mend if callable(module) else ''}"
        )
    if isinstance(weight, WeightSchedule):
        return
    if not isinstance(weight, Real):
        raise TypeError(
            f"term {name!r} must have a number or a WeightSchedule as its weight, "
            f"got {_check.shown(weight)}"
        )
    if not 0 <= _check.number(f"weight of term {name!r}", weight) <= HEAVIEST:
        raise ValueError(
            f"term {name!r} has weight {weight}: weights must lie between 0 and {HEAVIEST:g}, "
            f"every term is one to be made small"
        )


def _schedules(weights: Mapping[str, float | WeightSchedule]) -> dict[str, WeightSchedule]:
    schedules = {n: weight for n, weight in weights.items() if isinstance(weight, WeightSchedule)}
    if len(schedules) == len(weights) and all(weight.every > 1 for weight in schedules.values()):
        raise ValueError(
            "terms must hold one that is due on every step: with every > 1 for all of them, some "
            "steps have no loss"
        )
    return schedules


def _covered(
    weighting: nn.Module | None, weights: Mapping[str, float | WeightSchedule]
) -> tuple[str, ...]:
    """Names of the terms that `weighting` covers."""
    if weighting is None:
        return ()
    names = getattr(weighting, "names", None)
    if not isinstance(weighting, nn.Module) or names is None:
        raise TypeError(
            f"weighting must be a Module with names, such as UncertaintyWeights(['ce']), got "
            f"{_check.shown(weighting)}"
        )
    expected = "a sequence of str"
    walked = not isinstance(names, str | Iterator)  # an iterator is used up by who looks
    if walked and all(isinstance(n, str) for n in _check.several("names", names, expected)):
        names = tuple(names)
    else:
        raise TypeError(f"names of weighting must be {expected}, got {_check.shown(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"weighting must name each term once, got {', '.join(names)}")
    for name in names:
        if name not in weights:
            raise ValueError(f"weighting names {name!r}, the terms are {', '.join(weights)}")
        if isinstance(weights[name], WeightSchedule) or not weights[name]:
            raise ValueError(
                f"term {name!r} is covered by weighting, which would undo a schedule and cannot "
                f"raise a zero: give it a positive number as its weight"
            )
    return names


def _keywords(name: str, module: nn.Module) -> dict[str, bool]:
    """Keywords that the term's forward takes, and whether each is required."""
    torchmetrics = sys.modules.get("torchmetrics")  # not imported for it
    if torchmetrics and isinstance(module, torchmetrics.Metric | torchmetrics.MetricCollection):
        raise TypeError(
            f"term {name!r} must be a loss, got the metric {type(module).__name__}, of "
            f"probabilities: take the loss of that name from photoz_losses, not from its metrics"
        )
    takes = {}
    for key, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"term {name!r}: forward takes {parameter}, which cannot be handed over by name"
            )
        takes[key] = parameter.default is parameter.empty
    return takes

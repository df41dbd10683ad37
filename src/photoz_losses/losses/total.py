"""The weighted sum of terms: the paper's section 2, last equation."""

import difflib
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class TotalLoss(nn.Module):
    r"""Weighted sum of terms, each handed only the keywords that its ``forward`` takes.

    .. math:: L = L_\mathrm{CE} + \sum_j \gamma_j P_j

    Engel & Strube (2023), section 2: the cross entropy is a term like the others, with weight 1.

    Parameters
    ----------
    terms : mapping of str to (float, Module)
        Weight and Module of each term, by name. A term of weight 0 is computed and reported, but
        does not enter the total.

    Raises
    ------
    ValueError
        If there are no terms, a weight is negative or not finite, or a name is empty, holds a dot
        or is one of ModuleDict's own.
    TypeError
        If a term is not a Module or its ``forward`` takes no named keywords.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.1, CDELoss(bins))})
    >>> total, terms = loss(logits=torch.zeros(1, 4), z_spec=torch.tensor([0.05]))
    >>> total, terms
    (tensor(1.1363), {'ce': tensor(1.3863), 'cde': tensor(-2.5000)})
    """

    def __init__(self, terms: Mapping[str, tuple[float, nn.Module]]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("terms is empty: give at least one, {'ce': (1.0, ...)}")
        if not isinstance(terms, Mapping):
            raise TypeError(f"terms must be a mapping, {{'ce': (1.0, ...)}}, got {terms!r}")
        for name, entry in terms.items():
            _check_term(name, entry)
        self.weights = {name: float(weight) for name, (weight, _) in terms.items()}
        self.terms = nn.ModuleDict({name: module for name, (_, module) in terms.items()})
        self._takes = {name: _keywords(name, module) for name, (_, module) in terms.items()}
        self._unused: set[str] = set()

    def forward(self, **inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
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
            If a term lacks a keyword (the error names both), or if a keyword that no term takes
            looks like a misspelt one that a term does.
        ValueError
            If a term does not give a scalar.
        """
        self._check_names(inputs)
        values: dict[str, Tensor] = {}
        for name, takes in self._takes.items():
            values[name] = self.terms[name](**{key: inputs[key] for key in takes if key in inputs})
            if not isinstance(values[name], Tensor):
                raise TypeError(f"term {name!r} gave {values[name]!r}: return a tensor")
            if values[name].ndim:
                raise ValueError(
                    f"term {name!r} gave shape {tuple(values[name].shape)}, a sum needs scalars: "
                    f"make it with reduction='mean'"
                )
        weighted = [weight * values[name] for name, weight in self.weights.items() if weight]
        total = torch.stack(weighted).sum() if weighted else 0 * next(iter(values.values()))
        return total, values

    def _check_names(self, inputs: Mapping[str, Any]) -> None:
        for name, takes in self._takes.items():
            for key, required in takes.items():
                if required and key not in inputs:
                    raise TypeError(
                        f"term {name!r} needs the keyword {key!r}; got {', '.join(inputs)}"
                    )
        known = {key for takes in self._takes.values() for key in takes}
        missing = known - set(inputs)
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
        return ", ".join(f"{name}: {weight:g}" for name, weight in self.weights.items())


def _check_term(name: str, entry: Any) -> None:
    if not (isinstance(entry, tuple | list) and len(entry) == 2):
        raise TypeError(f"term {name!r} must be a pair (weight, Module), got {entry!r}")
    weight, module = entry
    if not isinstance(name, str):
        raise TypeError(f"term {name!r} must have a str as its name")
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise ValueError(f"term {name!r} must have another name: torch.nn.ModuleDict refuses this")
    if not isinstance(module, nn.Module):
        raise TypeError(f"term {name!r} must be a torch.nn.Module, got {type(module).__name__}")
    if not isinstance(weight, int | float):
        raise TypeError(f"term {name!r} must have a number as its weight, got {weight!r}")
    if not 0 <= weight < float("inf"):
        raise ValueError(
            f"term {name!r} has weight {weight}: weights must be finite and not negative, "
            f"every term is one to be made small"
        )


def _keywords(name: str, module: nn.Module) -> dict[str, bool]:
    """Keywords that the term's forward takes, and whether each is required."""
    takes = {}
    for key, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"term {name!r}: forward takes {parameter}, which cannot be handed over by name"
            )
        takes[key] = parameter.default is parameter.empty
    return takes

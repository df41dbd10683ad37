"""How hard each term pulls at the network: numbers to log beside its value."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from photoz_losses import _check


def gradient_norms(terms: Mapping[str, Tensor], parameters: Iterable[Tensor]) -> dict[str, Tensor]:
    r"""Length of each term's own gradient, :math:`\|\nabla_\theta P_j\|_2`, to be logged.

    It says what a weight is to balance: two terms of equal value may pull with forces that are
    orders of magnitude apart. Each term takes a backward pass of its own.

    Parameters
    ----------
    terms : mapping of str to Tensor
        Unweighted terms, scalars with their graph, as `TotalLoss` returns them; before the
        backward of the total, which it does not disturb: no ``.grad`` is touched.
    parameters : iterable of Tensor
        ``model.parameters()``, or those of one layer. Frozen ones are left out, and one that comes
        twice counts once.

    Returns
    -------
    dict of str to Tensor
        Scalar for each term, in at least float32, without gradient; 0 for a term that no parameter
        enters (the penalty of frozen ones, say) while one does another. Under
        DistributedDataParallel it is this rank's own.

    Raises
    ------
    ValueError
        If no parameter requires a gradient (a generator that was used up would give zeros) or
        enters a term (those of another model), if no term requires one (all were detached, or
        computed under ``no_grad``), or one is no scalar.
    TypeError
        If a parameter or a term is not a floating-point tensor.
    RuntimeError
        If the backward of the total came first, which frees the graph.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import gradient_norms
    >>> theta = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_norms({"l2": theta.square().sum(), "sum": theta[:1].sum()}, [theta])
    {'l2': tensor(10.), 'sum': tensor(1.)}
    """
    _check.mapping("terms", terms)
    each = {id(p): p for p in _check.each_floating("parameters", parameters)}  # a shared one once
    learned = [p for p in each.values() if p.requires_grad]
    if not learned:
        raise ValueError(
            "parameters holds none that requires a gradient: call model.parameters() anew for "
            "each step, or give a list"
        )
    for name, term in terms.items():
        _check_term(f"terms[{name!r}]", term)
    if terms and not any(term.requires_grad for term in terms.values()):
        raise ValueError(
            "terms must require gradients, got none that does: they were detached, or computed "
            "under no_grad; give them as TotalLoss returned them"
        )
    norms: dict[str, Tensor] = {}
    entered = False
    for name, term in terms.items():
        gradients = _gradients(f"terms[{name!r}]", term, learned)
        norms[name] = _norm(term, gradients)
        entered = entered or bool(gradients)
    if norms and not entered:
        raise ValueError(
            "parameters must enter a term, got none that enters any: give those of the model that "
            "computed the terms"
        )
    return norms


def _check_term(name: str, term: Tensor) -> None:
    if _check.floating(name, term).ndim:
        raise ValueError(
            f"{name} must be a scalar, got shape {tuple(term.shape)}: make it with reduction='mean'"
        )


def _gradients(name: str, term: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Of one term, by the parameters that enter it."""
    if not term.requires_grad:  # of frozen parameters, say
        return []
    try:
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise RuntimeError(
            f"{name} must have its graph, got one that a backward has freed: call gradient_norms "
            f"before total.backward()"
        ) from error
    return [gradient for gradient in found if gradient is not None]


def _norm(term: Tensor, gradients: list[Tensor]) -> Tensor:
    lengths = [torch.zeros_like(_check.at_least_single("term", term).detach())]
    for gradient in gradients:
        whole = gradient.to_dense()  # an embedding's may be sparse
        lengths.append(_length(_check.at_least_single("gradient", whole.detach())))
    return _length(torch.stack([length.to(lengths[0]) for length in lengths]))


def _length(values: Tensor) -> Tensor:
    """Root of the sum of squares, which themselves may be beyond the type's range."""
    if not values.numel():
        return values.sum()
    largest = values.abs().amax()
    scale = torch.where(largest > 0, largest, 1.0)
    length = largest * (values / scale).square().sum().sqrt()
    return torch.where(largest.isinf(), largest, length)

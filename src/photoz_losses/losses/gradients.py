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
        ``model.parameters()``, or those of one layer. Frozen ones are left out.

    Returns
    -------
    dict of str to Tensor
        Scalar for each term, in at least float32, without gradient; 0 for a term that no parameter
        enters. Under DistributedDataParallel it is this rank's own.

    Raises
    ------
    ValueError
        If no parameter requires a gradient: a generator that was used up would give zeros.
    TypeError
        If a parameter or a term is not a floating-point tensor.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import gradient_norms
    >>> theta = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_norms({"l2": theta.square().sum(), "other": torch.tensor(1.0)}, [theta])
    {'l2': tensor(10.), 'other': tensor(0.)}
    """
    _check.mapping("terms", terms)
    learned = [p for p in _check.each_floating("parameters", parameters) if p.requires_grad]
    if not learned:
        raise ValueError(
            "parameters holds none that requires a gradient: call model.parameters() anew for "
            "each step, or give a list"
        )
    return {name: _gradient_norm(name, term, learned) for name, term in terms.items()}


def _gradient_norm(name: str, term: Tensor, parameters: list[Tensor]) -> Tensor:
    squares = torch.zeros_like(_check.at_least_single(f"terms[{name!r}]", term).detach())
    if term.requires_grad:
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        for gradient in found:
            if gradient is not None:
                whole = gradient.to_dense()  # an embedding's may be sparse
                squares = squares + _check.at_least_single("gradient", whole).square().sum()
    return squares.sqrt()

"""Functions of `torch.nn` whose forward-mode derivative has a right gradient of its own.

torch's formulas for the derivative of batch, layer and instance normalisation along a tangent take
the moments of the batch for constants when they are differentiated once more: a loss of that
derivative gets a wrong gradient, silently. That of a softmax cannot be differentiated at all. Here
they are written out in steps that are right.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode


def _normalised(x: Tensor, dims: Sequence[int], eps: float) -> Tensor:
    """`x` with mean 0 and variance 1 over `dims`, in at least float32."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(exact, tuple(dims), correction=0, keepdim=True)
    normal: Tensor = (exact - mean) * (var + eps).rsqrt()
    return normal


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _by_channel(x: Tensor, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.view(-1, *[1] * (x.ndim - 2))


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    with torch.no_grad():  # torch's own checks, and its own step of the running statistics
        plain = forward_ad.unpack_dual(x).primal.detach()
        F.batch_norm(plain, running_mean, running_var, None, None, True, momentum, eps)
    normal = _normalised(x, [0, *range(2, x.ndim)], eps)
    return _affine(normal, _by_channel(x, weight), _by_channel(x, bias)).to(x.dtype)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return F.instance_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    with torch.no_grad():
        plain = forward_ad.unpack_dual(x).primal.detach()
        F.instance_norm(plain, running_mean, running_var, None, None, True, momentum, eps)
    normal = _normalised(x, range(2, x.ndim), eps)
    return _affine(normal, _by_channel(x, weight), _by_channel(x, bias)).to(x.dtype)


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    return _affine(_normalised(x, range(-len(normalized_shape), 0), eps), weight, bias).to(x.dtype)


def _softmax(x: Tensor, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    return _log_softmax(x, dim, _stacklevel, dtype).exp()


def _log_softmax(
    x: Tensor, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    x = x - x.detach().amax(dim, keepdim=True)
    return x - x.exp().sum(dim, keepdim=True).log()


_WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    F.softmax: _softmax,
    F.log_softmax: _log_softmax,
}


class DifferentiableTwice(TorchFunctionMode):
    """Within it, these functions of `torch.nn` are those above."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # torch hands the input over by place, however it was given
        function: Callable[..., Any] = _WRITTEN_OUT.get(func, func)
        return function(*args, **(kwargs or {}))

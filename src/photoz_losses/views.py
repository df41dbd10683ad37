"""Run a model on views of a batch: two at once, many in turn, or a derivative along a rotation."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.lazy import LazyModuleMixin

from photoz_losses import _check
from photoz_losses._forward_mode import DifferentiableTwice
from photoz_losses._repr import options
from photoz_losses.transforms._images import check_images, laid_out_as, source_of_draws
from photoz_losses.transforms.dihedral import dihedral
from photoz_losses.transforms.tangent import tangent_image

Model = Callable[..., Any]
View = Callable[..., Any]


class Views(NamedTuple):
    """What `two_views` gives: what `InvarianceLoss` takes, under the same names."""

    logits: Tensor
    """Of the images, shape (N, C)."""
    logits_transformed: Tensor
    """Of the M views, shape (M, C)."""
    rows: Tensor | None
    """Which galaxies these are views of, int64, shape (M,); None: all, in order."""

    def __repr__(self) -> str:
        return f"Views({options(self, *self._fields)})"


def two_views(
    model: Model,
    images: Tensor,
    view: View,
    *extra: Any,
    view_inputs: Sequence[Any] = (),
    fraction: float = 1.0,
    detach: bool = False,
    generator: torch.Generator | None = None,
) -> Views:
    """Logits of a batch and of another view of it, for `InvarianceLoss`.

    Both go through the model in **one forward**, one after the other in one batch. Two forwards
    before one backward cost as much, and with DistributedDataParallel and BatchNorm they fail in
    most releases of torch ("modified by an inplace operation", pytorch/pytorch#66504).

    BatchNorm, while it trains, normalises by the N + M images together, and its running statistics
    move once. With ``detach=True`` there are two forwards, the views' first: each normalises by its
    own images, and running statistics move by the images alone, by which the network learns to
    normalise. (Where the norms cannot be found, since `model` is a function around a network and
    not the ``torch.nn.Module`` itself or one of its methods, they move by the views as well: views
    of another mean, such as a redrawn sky, then spoil the network in eval mode.) In eval mode the
    two ways agree. Dropout draws for each view anew in both ways, so that in training two equal
    views differ by it.

    Parameters
    ----------
    model : callable
        ``model(images, *extra)`` gives logits, one row an image.
    images : Tensor, shape (N, bands, H, W)
        The batch.
    view : callable
        ``view(images, *view_inputs)`` gives as many images: a transform of this library, of
        torchvision or kornia, or a function of yours.
    *extra
        Further inputs of the model. A tensor whose first dimension is N holds one entry a galaxy
        and goes along with its image, also within dicts, lists and tuples; anything else is handed
        on as it is. (So keep what all galaxies share off that length.)
    view_inputs : sequence
        Further inputs of the view (masks, larger cut-outs), told apart in the same way.
    fraction : float
        Part of the batch that is seen twice, M = max(1, round(fraction N)) galaxies, drawn anew
        at each call.
    detach : bool
        True: no gradient flows through the views, which then need neither memory nor a backward.
    generator : torch.Generator, optional
        Source of the draw of galaxies. Default: torch's own, on the images' device.

    Returns
    -------
    Views
        ``logits`` (N, C), ``logits_transformed`` (M, C), and ``rows`` (M,), or None where M = N.

    Raises
    ------
    ValueError
        If `images` or the view's do not have their shape, the view changes the number of images,
        their bands or their device (or their size, without `detach`), the model does not give one
        row an image, or `fraction` is not in (0, 1].
    TypeError
        If `images` are not floating-point, `view_inputs` is no sequence, the view gives something
        else than a tensor of their type, or the model something else than a tensor.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import InvarianceLoss, two_views
    >>> from photoz_losses.transforms import RandomDihedral
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(80, 3))
    >>> views = two_views(model, torch.rand(8, 5, 4, 4), RandomDihedral(), fraction=0.25)
    >>> views.logits.shape, views.logits_transformed.shape, views.rows.shape
    (torch.Size([8, 3]), torch.Size([2, 3]), torch.Size([2]))
    >>> InvarianceLoss()(*views).shape
    torch.Size([])
    """
    check_images(images)
    _check.calls("model", model)
    _check.calls("view", view)
    # a tuple of types: Dynamo of torch 2.4 traces no union of them
    if not isinstance(view_inputs, Sequence) or isinstance(view_inputs, (str, bytes)):
        raise TypeError(
            f"view_inputs must be a list or tuple, one entry an input of the view, got "
            f"{_check.shown(view_inputs)}: for one input give (that,)"
        )
    _check.flag("detach", detach)
    rows = _draw_rows(images, fraction, generator)
    take = partial(_take, rows=rows, n=len(images))
    M = len(images) if rows is None else len(rows)
    if detach:
        with torch.no_grad():
            other = _seen(view, take(images), *map(take, view_inputs))
        # First: buffers that the backward needs must not change after the images' forward.
        answer = _without_gradient(model, other, [take(x) for x in extra])
        logits_transformed = _rows_of(answer, M)
        if not torch.compiler.is_compiling():  # autocast keeps weights cast without a gradient
            torch.clear_autocast_cache()
        return Views(_rows_of(model(images, *extra), len(images)), logits_transformed, rows)

    other = _seen(view, take(images), *map(take, view_inputs))
    if other.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"view must keep the size {tuple(images.shape[-2:])} of images to go through the model "
            f"with them, got {tuple(other.shape[-2:])}: crop one of them, or use detach=True"
        )
    both = [_through(lambda x: torch.cat([x, take(x)]), x, len(images)) for x in extra]
    logits = _rows_of(model(torch.cat([images, other]), *both), len(images) + M)
    return Views(logits[: len(images)], logits[len(images) :], rows)


def _without_gradient(model: Model, images: Tensor, extra: Sequence[Any]) -> Any:
    """What the model answers; norms that train go by the batch, and keep their statistics."""
    whole = getattr(model, "__self__", model)  # of a method
    parts = list(whole.modules()) if isinstance(whole, nn.Module) else []
    norms = [part for part in parts if isinstance(part, _NormBase) and part.training]
    known = [norm for norm in norms if not isinstance(norm, LazyModuleMixin)]
    held = [(norm, *_still(norm)) for norm in known if norm.running_mean is not None]
    own = [getattr(norm, name) for norm, name, _ in held]
    for norm, name, value in held:
        setattr(norm, name, value)
    try:
        with torch.no_grad():
            return model(images, *extra)
    finally:
        for (norm, name, _), value in zip(held, own, strict=True):
            setattr(norm, name, value)


def _still(norm: _NormBase) -> tuple[str, Any]:
    """The attribute that keeps a norm's statistics as they are, and at which value."""
    if isinstance(norm, _BatchNorm):
        return "track_running_stats", False
    return "momentum", 0.0  # of instances, which move them in any case


def _draw_rows(images: Tensor, fraction: float, generator: torch.Generator | None) -> Tensor | None:
    """Numbers of the galaxies that are seen twice; None: all of them."""
    if not 0 < _check.number("fraction", fraction) <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction}")
    N = len(images)
    M = max(1, round(fraction * N))
    if M >= N:
        return None
    return torch.randperm(N, **source_of_draws(images, generator))[:M].to(images.device)


def _each(value: Any, n: int) -> bool:
    """Whether `value` is a tensor with one entry for each of `n` galaxies."""
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == n


def _through(change: Callable[[Tensor], Tensor], value: Any, n: int) -> Any:
    """`value` with every tensor in it changed that has an entry for each of `n` galaxies."""
    if isinstance(value, dict):
        return {name: _through(change, part, n) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_through(change, part, n) for part in value)
    return change(value) if _each(value, n) else value


def _take(value: Any, *, rows: Tensor | None, n: int) -> Any:
    """The entries of `value` for the galaxies `rows`, if it has one for each; else itself."""
    return value if rows is None else _through(lambda x: x[rows.to(x.device)], value, n)


def _seen(view: View, images: Tensor, *inputs: Any) -> Tensor:
    """What `view` makes of `images`, in their memory format, after the checks of it."""
    other = view(images.clone(), *inputs)  # a copy, since a view may work in place
    if not isinstance(other, Tensor):
        raise TypeError(f"view must give a tensor of images, got {type(other).__name__}")
    if other.dtype != images.dtype:
        raise TypeError(f"view must keep the type {images.dtype} of images, got {other.dtype}")
    if other.ndim != 4 or other.shape[:2] != images.shape[:2]:
        expected = ", ".join(map(str, images.shape[:2]))
        raise ValueError(
            f"view must give images of shape ({expected}, H, W), got {tuple(other.shape)}: it may "
            f"not change their number or their bands"
        )
    if other.device != images.device:
        raise ValueError(f"view must stay on the device {images.device}, got {other.device}")
    return laid_out_as(images, other)


def _rows_of(logits: Any, n: int) -> Tensor:
    """The model's answer itself where it is a tensor with one row for each of `n` images."""
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"model must give a tensor of logits, got {type(logits).__name__}: wrap it in a "
            f"function that returns the logits alone"
        )
    if logits.ndim < 2 or len(logits) != n:
        raise ValueError(
            f"model must give one row of logits an image, ({n}, C), got {tuple(logits.shape)}"
        )
    return logits


def average_views(
    model: Model, images: Tensor, views: Iterable[View] | None, *extra: Any
) -> Tensor:
    r"""Mean over views of the masses that the model gives: an average at test time.

    .. math:: p = \frac{1}{V} \sum_{v=1}^V \mathrm{softmax}(f(\Theta_v(x)))

    With the eight orientations it is exactly invariant under each of them, whatever the model:
    the control that a claim of invariance by training needs. One view is in work at a time, in the
    memory of one forward; wrap the call in ``torch.no_grad()``, or eight graphs are kept.

    Parameters
    ----------
    model : callable
        ``model(images, *extra)`` gives logits (N, C), one row an image. In eval mode: this function
        does not switch it.
    images : Tensor, shape (N, bands, H, W)
        The batch; square for the eight orientations.
    views : iterable of callables, or None
        Each ``view(images)`` gives as many images; None: the eight rotations and flips of
        `dihedral`. A random view may come several times, ``[view] * 20``.
    *extra
        Further inputs of the model, the same for every view.

    Returns
    -------
    Tensor, float32 (float64 for float64 logits), shape (N, C)
        Masses, not logits: for ``photoz_losses.metrics``, or a loss of their ``log()``.

    Raises
    ------
    ValueError
        If the model is in training mode (BatchNorm would learn from test images, dropout would
        draw), if there is no view, or as `two_views`.
    TypeError
        As `two_views`.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import average_views
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(80, 3)).eval()
    >>> images = torch.rand(2, 5, 4, 4)
    >>> with torch.no_grad():
    ...     probs, of_turned = (
    ...         average_views(model, x, None) for x in (images, images.rot90(1, (2, 3)))
    ...     )
    >>> torch.allclose(probs, of_turned)
    True
    """
    check_images(images, square=views is None)
    _check.calls("model", model)
    inner = getattr(model, "__self__", model)  # of a method
    inner = getattr(inner, "_orig_mod", inner)  # a compiled one's own mode may be another
    if isinstance(inner, nn.Module) and any(part.training for part in inner.modules()):
        raise ValueError(
            "model is in training mode, in which BatchNorm learns from these images and dropout "
            "draws: call model.eval() first"
        )
    each = (partial(_oriented, element=e) for e in range(8)) if views is None else views
    _check.several("views", each, "an iterable of callables")
    total, count = None, 0
    for view in each:
        _check.calls("views", view)
        logits = _rows_of(model(_seen(view, images), *extra), len(images))
        probs = _check.at_least_single("model(images)", logits).softmax(-1)
        total, count = probs if total is None else total + probs, count + 1
    if total is None:
        raise ValueError("views is empty: give at least one, or None for the eight orientations")
    return total / count


def _oriented(images: Tensor, *, element: int) -> Tensor:
    """All `images` by one element of the group of the square."""
    return dihedral(images, torch.full((len(images),), element, device=images.device))


def rotation_derivative(model: Model, images: Tensor, *extra: Any) -> tuple[Tensor, Tensor]:
    r"""Output of the model, and its derivative with respect to a rotation of the images.

    .. math:: \frac{d}{d\varphi} f(x_\varphi)\Big|_{\varphi = 0}
              = J_f(x)\,\Bigl(u\,\frac{\partial x}{\partial y} - y\,\frac{\partial x}{\partial u}
              \Bigr)

    with columns :math:`u` and rows :math:`y`: forward-mode differentiation of the whole model along
    `photoz_losses.transforms.tangent_image`, in one forward of about twice the cost, without
    resampling and without a finite angle. Both results have a graph, so that a loss of the
    derivative trains the model.

    Layers of BatchNorm work as in any forward, in both modes: running statistics move once, by the
    images. (``torch.func.jvp`` refuses their update; this uses ``torch.autograd.forward_ad``.)
    torch's own formulas for the derivative of batch, layer and instance normalisation have a wrong
    gradient in turn, and that of softmax has none; here they are written out, wherever the model
    calls them by `torch.nn` or `torch.nn.functional`. A compiled model runs uncompiled, and the
    call breaks a compiled graph.

    Not for models with attention, GLU, activation checkpointing or (on several ranks)
    SyncBatchNorm, nor for DistributedDataParallel with ``find_unused_parameters`` or
    ``static_graph``: torch has no forward mode for these, or none that can be differentiated, and
    raises, some of it only in the backward.

    Parameters
    ----------
    model : callable
        ``model(images, *extra)`` gives logits (N, C), one row an image.
    images : Tensor, shape (N, bands, H, W)
        The batch, four pixels a side or more; in the model's own input units.
    *extra
        Further inputs of the model, which do not change with the angle.

    Returns
    -------
    logits, derivative : Tensor, shape (N, C)
        The second per radian, of the turn by `photoz_losses.transforms.rotate`.

    Raises
    ------
    ValueError
        If shapes are wrong, images are smaller than four pixels, or the output does not depend on
        the images in a way that can be followed.
    TypeError
        If images or logits are not floating-point tensors.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import rotation_derivative
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(80, 3))
    >>> logits, derivative = rotation_derivative(model, torch.rand(2, 5, 4, 4))
    >>> derivative.shape
    torch.Size([2, 3])
    """
    _check.calls("model", model)
    along: Any = _along_rotation
    if torch.compiler.is_compiling():  # no forward mode there; importing disable takes seconds
        along = torch.compiler.disable(_along_rotation)
    answer: tuple[Tensor, Tensor] = along(model, images, *extra)
    return answer


def _along_rotation(model: Model, images: Tensor, *extra: Any) -> tuple[Tensor, Tensor]:
    tangent = tangent_image(images)
    model = getattr(model, "_orig_mod", model)  # compiled graphs have no forward mode
    with forward_ad.dual_level(), DifferentiableTwice():
        answer = _rows_of(model(forward_ad.make_dual(images, tangent), *extra), len(images))
        logits, derivative = forward_ad.unpack_dual(answer)
    if derivative is None and torch.is_inference_mode_enabled():
        raise ValueError("torch.inference_mode() keeps no derivatives: use torch.no_grad()")
    if derivative is None:
        raise ValueError(
            "model gave logits that do not follow its images: no detach(), NumPy or rounding "
            "may lie between the two"
        )
    return logits, derivative

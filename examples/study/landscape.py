"""The loss around trained networks, and its curvature: what the paper's section 7 asks for.

Two surfaces and their sharpest curvatures for each group: the cross entropy of the images as they
are, which can be compared among groups, and the objective that the group was trained on. Both as
functions of the weights alone: BatchNorm with its running statistics, random views drawn once.

A surface is a plane through the weights, along two random directions in which every filter moves
by its own norm at a distance of one (Li et al. 2018, arXiv:1712.09913): networks with
large and small weights are then on one scale. An eigenvalue of the Hessian is the second derivative
of the loss along its eigenvector, in the weights' own scale. A network of ReLUs has kinks: the
Hessian exists almost everywhere, and tells of the smooth piece that the weights lie on.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from module import PhotozModule
from readers.galaxy import centre
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn
from torch.func import functional_call

from study.work import rounded

Batch = Mapping[str, Any]
Direction = dict[str, Tensor]
CROSS_ENTROPY, OBJECTIVE = LOSSES = ("cross entropy", "objective")
TOLERANCE = 1e-2  # of Lanczos' residual, relative; the eigenvalue's own error goes as its square
RESTARTS = 20  # of some 15 products each, before ARPACK says that it did not converge


class Drawn(nn.Module):
    """In place of a random view: images that it gave before."""

    images: Tensor

    def forward(self, images: Tensor) -> Tensor:
        return self.images


class Losses(nn.Module):
    """Some of `LOSSES` of a batch that has its view (`with_views`), by name."""

    def __init__(self, module: PhotozModule, view: Drawn, names: Sequence[str] = LOSSES) -> None:
        super().__init__()
        self.module, self.view, self.names = module, view, names

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if OBJECTIVE in self.names:
            self.view.images = batch["seen"]
            losses[OBJECTIVE], terms = self.module.loss_terms(batch)
            if not self._trains_on_views():
                losses[CROSS_ENTROPY] = terms["ce"]  # from the same forward
        if CROSS_ENTROPY in self.names and CROSS_ENTROPY not in losses:
            logits = self.module(batch["image"], batch["ebv"])
            losses[CROSS_ENTROPY] = self.module.loss.terms["ce"](logits, batch["z_spec"])
        return {name: losses[name] for name in self.names}

    def _trains_on_views(self) -> bool:
        """Whether the module's own cross entropy is that of a view."""
        loss = self.module.loss
        two = "invariance" in loss.weights and loss.active("invariance")
        return self.module.config.augmented and not two


@contextmanager
def function_of_weights(module: PhotozModule, names: Sequence[str] = LOSSES) -> Iterator[Losses]:
    """The module's losses without anything random; afterwards the module is as it was.

    Where training holds one branch fixed (``detach``), the loss is still one function of the
    weights, and it is that function's surface and Hessian that are measured.
    """
    modes = [(part, part.training) for part in module.modules()]
    view, config, drawn = module.view, module.config, Drawn()
    module.view, module.config = drawn, replace(config, detach=False)
    module.eval()
    try:
        yield Losses(module, drawn, names)
    finally:
        module.view, module.config = view, config
        for part, training in modes:
            part.training = training


@torch.no_grad()
def with_views(module: PhotozModule, batches: Sequence[Batch], seed: int) -> list[dict[str, Any]]:
    """The batches, each with one random view of it as ``seen``; cropped in the middle."""
    side, complete = module.config.side, []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for batch in batches:
            image = batch["image"]
            if min(image.shape[2:]) > side:
                image = image[(..., *centre(image.shape[2:], side))]
            complete.append({**batch, "image": image, "seen": module.view(image.clone())})
    return complete


def filter_normalised(model: nn.Module, generator: torch.Generator) -> Direction:
    """A Gaussian direction with the norm of every filter: of each output of a layer's weights.

    Zero for one-dimensional parameters: biases and BatchNorm (Li et al. 2018, section 4).
    """
    direction = {}
    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        direction[name] = torch.zeros_like(weight)
        if weight.ndim > 1:
            drawn = torch.randn(weight.shape, generator=generator).to(weight).flatten(1)
            scale = weight.flatten(1).norm(dim=1) / drawn.norm(dim=1)
            direction[name] = (scale[:, None] * drawn).view_as(weight)
    return direction


@torch.no_grad()
def surface(
    losses: nn.Module,
    batches: Sequence[Batch],
    directions: tuple[Direction, Direction],
    *,
    span: float,
    points: int,
) -> dict[str, Tensor]:
    """Each loss over the plane of two directions, around the weights, which are left alone.

    Parameters
    ----------
    losses : Module
        Gives scalar losses of a batch by name: `Losses`.
    batches
        The loss is their mean, weighted by the number of galaxies in each.
    directions
        By name of parameter, as `filter_normalised` makes them of ``losses``.
    span, points
        The grid has ``points`` x ``points``, evenly from -``span`` to ``span``.

    Returns
    -------
    dict of Tensor, float64, shape (points, points)
        Columns along the first direction, rows along the second.
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and at least 3, with one at 0, got {points}")
    weights = {name: parameter.detach() for name, parameter in losses.named_parameters()}
    first, second = directions
    steps = torch.linspace(-span, span, points, dtype=torch.float64).tolist()
    steps[points // 2] = 0.0  # to the bit: the weights themselves
    rows: list[dict[str, float]] = []
    for b in steps:
        for a in steps:
            moved = {k: w + a * first[k] + b * second[k] for k, w in weights.items()}
            rows.append(_mean(losses, moved, batches))
    return {
        name: torch.tensor([row[name] for row in rows], dtype=torch.float64).view(points, points)
        for name in rows[0]
    }


def _mean(losses: nn.Module, weights: Direction, batches: Sequence[Batch]) -> dict[str, float]:
    """Of each loss over galaxies, with other weights than the module's."""
    total: dict[str, float] = {}
    for batch in batches:
        for name, value in functional_call(losses, weights, (batch,)).items():
            total[name] = total.get(name, 0.0) + _size(batch) * float(value)
    galaxies = sum(map(_size, batches))
    return {name: value / galaxies for name, value in total.items()}


def _size(batch: Batch) -> int:
    return len(batch["z_spec"])


class Pick(nn.Module):
    """One of several losses, in the place where curvlinops has a loss of predictions."""

    reduction = "mean"  # over batches, weighted by their galaxies, as in `surface`

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, losses: Mapping[str, Tensor], target: Tensor) -> Tensor:
        return losses[self.name]


def largest_eigenvalues(
    losses: nn.Module,
    name: str,
    parameters: Sequence[nn.Parameter],
    batches: Sequence[Batch],
    k: int,
    seed: int,
) -> list[float]:
    """The ``k`` largest eigenvalues of the Hessian of one loss, descending.

    By Lanczos iterations from a start of the seed; the parameters are those of `losses`.
    """
    hessian = HessianLinearOperator(
        losses,
        Pick(name),
        list(parameters),
        [(dict(batch), torch.zeros(())) for batch in batches],
        check_deterministic=False,  # costs five products more: `Losses` has nothing random
        num_data=sum(map(_size, batches)),
        batch_size_fn=_size,
    )
    start = np.random.default_rng(seed).standard_normal(hessian.shape[0])
    found = eigsh(
        hessian.to_scipy(),
        k,
        which="LA",
        v0=start,
        tol=TOLERANCE,
        maxiter=RESTARTS,
        return_eigenvectors=False,
    )
    return sorted(map(float, found), reverse=True)


def measure(
    module: PhotozModule,
    batches: Sequence[Batch],
    *,
    seed: int,
    span: float = 1.0,
    points: int = 13,
    eigenvalues: int = 5,
) -> dict[str, Any]:
    """Surfaces and largest eigenvalues of a trained module, for JSON, to six digits.

    The batches, mappings as in training, lie on the module's device. The module, its gradients and
    the state of the random numbers are the same afterwards.
    """
    batches = with_views(module, batches, seed)
    parameters = list(module.network.parameters())
    with function_of_weights(module) as losses:
        generator = torch.Generator().manual_seed(seed)
        first, second = (filter_normalised(losses, generator) for _ in range(2))
        surfaces = surface(losses, batches, (first, second), span=span, points=points)
    largest = {}
    for name in LOSSES:
        with function_of_weights(module, [name]) as losses:
            largest[name] = largest_eigenvalues(
                losses, name, parameters, batches, eigenvalues, seed
            )
    return {
        "span": span,
        "points": points,
        "seed": seed,
        "galaxies": sum(map(_size, batches)),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "surfaces": {name: rounded(z.tolist()) for name, z in surfaces.items()},
        "eigenvalues": rounded(largest),
    }


def plot_landscape(
    results: Mapping[str, Mapping[str, Any]],
    *,
    loss: str = CROSS_ENTROPY,
    columns: int = 3,
) -> Figure:
    """A panel for each group's `measure`: contours of the loss above the lowest of its surface.

    All panels share one scale of levels. A cross is the trained network, a circle the lowest point
    of the grid; above each panel its loss there and the largest eigenvalue.
    """
    rows = -(-len(results) // columns)
    columns = min(columns, len(results))
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(3.4 * columns + 0.8, 3.6 * rows),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    highest = max(float(np.ptp(result["surfaces"][loss])) for result in results.values())
    levels = LogLocator(subs=(1, 2, 5)).tick_values(highest / 1000, highest)
    panels = zip(axes.flat, results.items(), strict=False)
    filled = [_draw(ax, name, result, loss, levels) for ax, (name, result) in panels]
    for ax in axes.flat[max(0, len(results) - columns) : len(results)]:
        ax.tick_params(labelbottom=True)  # the last of its column
    for ax in axes.flat[len(results) :]:
        ax.set_axis_off()
    dark: dict[str, Any] = {"facecolor": "0.3", "labelcolor": "white"}  # the marks are white
    figure.legend(handles=axes[0, 0].lines, loc="outside upper center", ncols=2, **dark)
    bar = figure.colorbar(filled[0], ax=axes, label=f"{loss} above the lowest of each panel")
    bar.ax.set_yticks(levels, [f"{level:g}" for level in levels])
    figure.supxlabel("step along the first direction, in norms of the filters")
    figure.supylabel("step along the second")
    return figure


def _draw(ax: Axes, name: str, result: Mapping[str, Any], loss: str, levels: Any) -> ContourSet:
    """One group's panel."""
    z = np.asarray(result["surfaces"][loss])
    steps = np.linspace(-result["span"], result["span"], len(z))
    height = np.maximum(z - z.min(), levels[0])  # the lowest point itself has no logarithm
    filled = ax.contourf(steps, steps, height, levels, norm=LogNorm(), extend="max")
    ax.contour(steps, steps, height, levels, colors="white", linewidths=0.4)
    row, column = np.unravel_index(z.argmin(), z.shape)
    ax.plot(0, 0, "wx", markersize=8, label="trained network")
    lowest = steps[column], steps[row]
    ax.plot(*lowest, "wo", fillstyle="none", markersize=11, label="lowest point")
    sharpest = result["eigenvalues"][loss][0]
    summary = f"lowest {z.min():.3g}, $\\lambda_1$ = {sharpest:.3g}"
    ax.set_title(f"{name}\n{summary}", fontsize="medium")
    ax.set_aspect("equal")
    return filled

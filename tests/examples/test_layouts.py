"""Channels last on a CPU: refused where oneDNN overruns its memory, and right everywhere else.

What a missed layer would do is to kill the process, so all that trains does it in one of its own.
"""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_training
import torch
from layouts import check_layout, overrunning
from network import PhotozResNet50, SmallPhotozResNet
from torch import nn

NOISE = (0.040, 0.016, 0.026, 0.041, 0.161)
NETWORKS = {
    "small": lambda: SmallPhotozResNet(12, NOISE),
    "torchvision": lambda: PhotozResNet50(12, NOISE, stem="torchvision", bin_factor=2),
    "paper": lambda: PhotozResNet50(12, NOISE, stem="paper", bin_factor=2),
}
ROOMS = (Path(__file__).parents[1], Path(__file__).parents[2] / "examples")


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "found"),
    [
        (5, 1, 2, True),
        (15, 1, (1, 2), True),
        (1, 1, 2, False),
        (16, 1, 2, False),
        (5, 1, 1, False),
        (5, 3, 2, False),
    ],
)
def test_a_strided_1_x_1_convolution_of_few_channels_is_found(channels, kernel, stride, found):
    assert overrunning(nn.Sequential(nn.Conv2d(channels, 8, kernel, stride))) == ["0"] * found
    twice = nn.Conv2d(2 * channels, 8, kernel, stride, groups=2)
    assert overrunning(nn.Sequential(twice)) == ["0"] * found


class Strided(nn.Module):
    """A network with such a layer, for 16 x 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(5, 8, 1, 2)
        self.head = nn.Linear(8 * 8 * 8, 12)

    def forward(self, image: torch.Tensor, ebv: torch.Tensor) -> torch.Tensor:
        return self.head(self.shortcut(image).flatten(1))


def test_it_is_refused_on_a_cpu_alone_and_only_where_the_channels_come_last():
    network = Strided()
    assert overrunning(network) == ["shortcut"]
    check_layout(network, "cuda", {"channels_last": True})
    check_layout(network, "cpu", {"channels_last": False, "compile": False})
    for build in NETWORKS.values():
        check_layout(build(), "cpu", {"channels_last": True, "compile": True})


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """What each job of this file's own prints; all in one process, whose imports take the time."""
    known = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    paths = os.pathsep.join([*map(str, ROOMS), *known])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    jobs: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        job, said = line.split(": ", 1)
        jobs.setdefault(job, []).append(said)
    return jobs


@pytest.mark.slow
def test_the_trainer_refuses_a_network_with_such_a_layer(printed):
    last, compiled = printed["refused"]
    for option, said in {"channels_last": last, "compile": compiled}.items():
        assert said.startswith(f"{option} must be false on a CPU for this network: oneDNN")
        assert "of shortcut, a 1 x 1 convolution" in said


@pytest.mark.slow
def test_the_small_network_trains_in_both_layouts_alike(printed):
    (moved,) = printed["alike"]
    assert float(moved) < 0.01


@pytest.mark.slow
def test_every_other_convolution_has_one_gradient_in_both_layouts(printed):
    worst = {name: float(value) for name, value in map(str.split, printed["gradients"])}
    assert worst.keys() == NETWORKS.keys()
    assert max(worst.values()) < 1e-5


def refused() -> None:
    for option in ("channels_last", "compile"):
        try:
            tiny_training.train(replace(tiny_training.CONFIG, **{option: True}), network=Strided())
        except ValueError as error:
            print("refused:", error)


def alike() -> None:
    """How far the weights end from those of the usual layout, over how far they went."""
    ends = []
    for last in (False, True):
        module = tiny_training.train(replace(tiny_training.CONFIG, channels_last=last))
        ends.append(torch.cat([value.flatten() for value in module.network.parameters()]))
    begun = tiny_training.PhotozModule(tiny_training.CONFIG, tiny_training.BINS).network
    start = torch.cat([value.flatten() for value in begun.parameters()])
    usual, other = ends
    print("alike:", float((other - usual).norm() / (usual - start).norm()))


def gradients() -> None:
    """The worst of a network's convolutions, beside its usual layout."""
    for name, build in NETWORKS.items():
        network, shapes = build(), {}

        def note(layer, given, shapes=shapes):  # each kind of layer once
            shapes[repr(layer), given[0].shape] = layer

        safe = dict(network.named_modules())
        for part in overrunning(network):
            del safe[part]
        convolutions = [layer for layer in safe.values() if isinstance(layer, nn.Conv2d)]
        notes = [layer.register_forward_pre_hook(note) for layer in convolutions]
        with torch.no_grad():
            network(torch.randn(4, 5, 32, 32), torch.zeros(4))
        for handle in notes:
            handle.remove()
        worst = max(difference(layer, shape) for (_, shape), layer in shapes.items())
        print("gradients:", name, worst)


def difference(layer: nn.Module, shape: torch.Size) -> float:
    """Of the gradients in both layouts, over the usual one's length."""
    torch.manual_seed(0)
    image, found = torch.randn(shape), []
    for layout in (torch.contiguous_format, torch.channels_last):
        twin = copy.deepcopy(layer).to(memory_format=layout)
        for _ in range(5):
            twin.zero_grad()
            seen = image.clone(memory_format=layout).requires_grad_()
            twin(seen).square().sum().backward()
        found.append(torch.cat([twin.weight.grad.flatten(), seen.grad.flatten()]).double())
    usual, last = found
    return float((last - usual).norm() / usual.norm())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in (refused, alike, gradients):
        job()

"""Two views under DistributedDataParallel with BatchNorm, in two processes.

The processes run this file as a script, so that it does not matter how pytest imported it.
"""

import contextlib
import json
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import InvarianceLoss, rotation_derivative, rotation_derivative_loss, two_views

RANKS, PATIENCE = 2, 120  # seconds
FAULT = "modified by an inplace operation"


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    return nn.Sequential(*layers).double()


def images(rank):
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)


def flipped(x):
    return x.flip(-1)


def two_forwards(model, x):
    return InvarianceLoss()(model(x), model(flipped(x)))


def without_gradient_last(model, x):
    logits = model(x)
    with torch.no_grad():
        other = model(flipped(x))
    return InvarianceLoss()(logits, other)


def concatenated(model, x):
    return InvarianceLoss()(*two_views(model, x, flipped))


def detached(model, x):
    return InvarianceLoss()(*two_views(model, x, flipped, detach=True))


def derivative(model, x):
    return rotation_derivative_loss(*rotation_derivative(model, x))


STEPS = {f.__name__: f for f in (two_forwards, without_gradient_last)}
STEPS |= {f.__name__: f for f in (concatenated, detached, derivative)}


def gradient(step, model, x):
    """Gradients of one step, or the error that it ends in."""
    try:
        step(model, x).backward()
    except RuntimeError as error:
        return str(error)
    return [parameter.grad.flatten().tolist() for parameter in model.parameters()]


def one_process(rank, folder):
    """Every step on this rank's images, as newer torch does it and as older ones do."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    seen = {}
    # torch from 2026 on hides from autograd that DDP writes into the buffers before each forward
    hidden = "torch.autograd._unsafe_preserve_version_counter"
    for version, context in (
        ("this torch", contextlib.nullcontext()),
        ("older torch", mock.patch(hidden, contextlib.nullcontext, create=True)),
    ):
        with context:
            for name, step in STEPS.items():
                # a failed backward leaves the reducer in want of it: a wrapper for each step
                seen[f"{version}: {name}"] = gradient(
                    step, DistributedDataParallel(network()), images(rank)
                )
                dist.barrier()
    Path(folder, f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each rank got of each step."""
    folder = tmp_path_factory.mktemp("ranks")
    complaints = run_ranks(__file__, lambda rank: [str(rank), str(folder)], RANKS, PATIENCE)
    files = [folder / f"{rank}.json" for rank in range(RANKS)]
    assert all(file.exists() for file in files), complaints
    return [json.loads(file.read_text()) for file in files]


needs_gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")


@needs_gloo
@pytest.mark.parametrize("step", [two_forwards, without_gradient_last], ids=lambda f: f.__name__)
def test_a_forward_between_forward_and_backward_fails_in_older_torch(outcomes, step):
    for seen in outcomes:
        assert FAULT in seen[f"older torch: {step.__name__}"]


@needs_gloo
@pytest.mark.parametrize("step", [concatenated, detached, derivative], ids=lambda f: f.__name__)
@pytest.mark.parametrize("version", ["this torch", "older torch"])
def test_each_rank_gets_the_mean_of_the_ranks_gradients(outcomes, step, version):
    alone = [gradient(step, network(), images(rank)) for rank in range(RANKS)]
    for seen in outcomes:
        got = seen[f"{version}: {step.__name__}"]
        assert isinstance(got, list), got
        for mean, *each in zip(got, *alone, strict=True):
            torch.testing.assert_close(torch.tensor(mean), torch.tensor(each).mean(0))


if __name__ == "__main__":
    one_process(int(sys.argv[1]), sys.argv[2])

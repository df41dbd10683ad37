"""Two views under DistributedDataParallel with BatchNorm, on two and three ranks."""

import contextlib
import copy
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from ranks import needs_gloo, on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import InvarianceLoss, rotation_derivative, rotation_derivative_loss, two_views

FAULT = "modified by an inplace operation"
UPDATES = 2


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
WORKING = [concatenated, detached, derivative]
STEPS |= {f.__name__: f for f in WORKING}


def gradient(step, model, x):
    """Gradients of one step in one vector, or the error that it ends in."""
    try:
        step(model, x).backward()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def every_step(rank, ranks):
    """Every step on this rank's images, as newer torch does it and as older ones do."""
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
                model = DistributedDataParallel(network())
                seen[version, name] = gradient(step, model, images(rank))
                dist.barrier()
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(network())
    seen["SyncBatchNorm"] = gradient(concatenated, synchronised, images(rank))
    return seen | {("trained", step.__name__): trained(step, rank) for step in WORKING}


def trained(step, rank):
    """Parameters and buffers of this rank after some steps of SGD."""
    inner = network()
    model = DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for k in range(UPDATES):
        optimizer.zero_grad()
        step(model, images(rank) + k).backward()
        optimizer.step()
    return inner.state_dict()


def trained_by_one(step, ranks):
    """The same of every rank, in one process: means of gradients, and buffers from rank 0."""
    models = [network() for _ in range(ranks)]
    for k in range(UPDATES):
        first = copy.deepcopy(models[0].state_dict())  # all have its parameters anyway
        for rank, model in enumerate(models):
            model.load_state_dict(first)
            step(model, images(rank) + k).backward()
        with torch.no_grad():
            for each in zip(*(model.parameters() for model in models), strict=True):
                mean = torch.stack([parameter.grad for parameter in each]).mean(0)
                for parameter in each:
                    parameter -= 0.1 * mean
                    parameter.grad = None
    return [model.state_dict() for model in models]


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request):
    """What each rank got of each step."""
    return on_ranks(every_step, request.param)


@needs_gloo
@pytest.mark.parametrize("step", [two_forwards, without_gradient_last], ids=lambda f: f.__name__)
def test_a_forward_between_forward_and_backward_fails_in_older_torch(outcomes, step):
    for seen in outcomes:
        assert FAULT in seen["older torch", step.__name__]


@needs_gloo
@pytest.mark.parametrize("step", WORKING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("version", ["this torch", "older torch"])
def test_each_rank_gets_the_mean_of_the_ranks_gradients(outcomes, step, version):
    alone = [gradient(step, network(), images(rank)) for rank in range(len(outcomes))]
    for seen in outcomes:
        got = seen[version, step.__name__]
        assert isinstance(got, torch.Tensor), got
        torch.testing.assert_close(got, torch.stack(alone).mean(0), rtol=1e-12, atol=1e-14)


@needs_gloo
@pytest.mark.parametrize("step", WORKING, ids=lambda f: f.__name__)
def test_statistics_move_once_a_step_from_those_of_rank_0(outcomes, step):
    expected = trained_by_one(step, len(outcomes))
    for seen, state in zip(outcomes, expected, strict=True):
        got = seen["trained", step.__name__]
        assert int(got["1.num_batches_tracked"]) == UPDATES
        for name, value in state.items():
            torch.testing.assert_close(got[name], value, rtol=1e-12, atol=1e-14)
    means = [seen["trained", step.__name__]["1.running_mean"] for seen in outcomes]
    assert not torch.allclose(means[0], means[1])  # DDP synchronises no statistics


@needs_gloo
def test_synchronised_norms_are_refused_on_a_cpu_by_torch(outcomes):
    for seen in outcomes:  # where it is not, the gradients have to be tested here
        assert "expected input tensor to be on GPU" in seen["SyncBatchNorm"]

"""Weights over ranks: all ranks weigh alike, as one process does that sees every galaxy."""

import pytest
import torch
from ranks import needs_gloo, on_ranks
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import ReLoBRaLo, TotalLoss, UncertaintyWeights, WeightSchedule

STEPS, GALAXIES = 12, 12  # on all ranks together


class Distance(nn.Module):
    """Mean square of what is left, one term for each keyword."""

    def forward(self, left):
        return left.square().mean()


class Size(nn.Module):
    """The mean of the sizes."""

    def forward(self, right):
        return right.abs().mean()


def batches(rank=0, ranks=1):
    """Of each step, the galaxies of this rank."""
    generator = torch.Generator().manual_seed(2)
    whole = torch.randn(STEPS, GALAXIES, 2, generator=generator, dtype=torch.float64)
    return whole.chunk(ranks, dim=1)[rank]


def trained(weighting, *place, wrap=lambda module: module):
    """Weights after each step; of one process that sees all galaxies where no place is given."""
    names = ["distance", "size"]
    scheme = {
        "relobralo": lambda: ReLoBRaLo(names, alpha=0.8, rho=0.5),
        "compiled": lambda: ReLoBRaLo(names, alpha=0.8, rho=0.5),
        "uncertainty": lambda: UncertaintyWeights(names).double(),
    }[weighting]()
    terms = {
        "distance": (1.0, Distance()),
        "size": (0.3, Size()),
        "late": (WeightSchedule(0.1, "linear", steps=5, every=2), Size()),
    }
    loss = TotalLoss(terms, weighting=scheme)
    wrapped = wrap(loss)
    if weighting == "compiled":
        wrapped = torch.compile(wrapped, fullgraph=True, backend="aot_eager")
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.3) if weighting == "uncertainty" else None
    kept = []
    for t, rows in enumerate(batches(*place)):
        total, _ = wrapped(left=rows[:, 0] / (1 + t), right=rows[:, 1])
        if optimizer is not None:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        loss.step()
        kept.append(list(loss.current_weights().values()))
    return kept


def each_weighting(rank, ranks):
    """What this rank weighs by in each way."""
    kept = {
        "relobralo": trained("relobralo", rank, ranks),
        "uncertainty": trained("uncertainty", rank, ranks, wrap=DistributedDataParallel),
    }
    if ranks == 2:  # takes seconds
        kept["compiled"] = trained("compiled", rank, ranks)
    return kept


@pytest.fixture(scope="module", params=[2, 3])
def kept(request):
    return on_ranks(each_weighting, request.param)


def check(kept, weighting, of_one):
    for of_rank in kept:
        assert of_rank[weighting] == kept[0][weighting]
        for row, wanted in zip(of_rank[weighting], of_one, strict=True):
            assert row == pytest.approx(wanted, rel=1e-12)


@needs_gloo
@pytest.mark.parametrize("weighting", ["relobralo", "uncertainty"])
def test_ranks_weigh_as_one_process_that_sees_everything(weighting, kept):
    expected = trained(weighting)
    assert expected[0][0] != expected[-1][0]
    check(kept, weighting, expected)


@needs_gloo
def test_a_rank_alone_weighs_as_without_ranks():
    expected = trained("relobralo")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        assert trained("relobralo") == expected
    finally:
        distributed.destroy_process_group()


@needs_gloo
@pytest.mark.parametrize("kept", [2], indirect=True)
def test_compiled_ranks_weigh_as_one_process_that_is_not(kept):
    check(kept, "compiled", trained("relobralo"))

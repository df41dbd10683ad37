"""Weights over two processes: all ranks weigh alike, as one process does that sees every galaxy.

The processes run this file as a script, so that it does not matter how pytest imported it.
"""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import ReLoBRaLo, TotalLoss, UncertaintyWeights, WeightSchedule

RANKS, STEPS = 2, 12
PATIENCE = 120  # seconds


class Distance(nn.Module):
    """Mean square of what is left, one term for each keyword."""

    def forward(self, left):
        return left.square().mean()


class Size(nn.Module):
    """The mean of the sizes."""

    def forward(self, right):
        return right.abs().mean()


def batches():
    """Per step and rank, four galaxies each."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(STEPS, RANKS, 4, 2, generator=generator, dtype=torch.float64)


def trained(rank, weighting, wrap=lambda module: module):
    """What the loss keeps after each step: `rank` None sees the galaxies of both."""
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
    for t, both in enumerate(batches()):
        rows = both.flatten(0, 1) if rank is None else both[rank]
        total, _ = wrapped(left=rows[:, 0] / (1 + t), right=rows[:, 1])
        if optimizer is not None:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        loss.step()
        kept.append(list(loss.current_weights().values()))
    return kept


def one_process(rank, folder):
    """Train as this rank and save what it kept."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    kept = {
        "relobralo": trained(rank, "relobralo"),
        "compiled": trained(rank, "compiled"),
        "uncertainty": trained(rank, "uncertainty", DistributedDataParallel),
    }
    torch.save(kept, Path(folder, f"{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What each rank kept."""
    folder = tmp_path_factory.mktemp("ranks")
    complaints = run_ranks(__file__, lambda rank: [str(rank), str(folder)], RANKS, PATIENCE)
    files = [folder / f"{rank}.pt" for rank in range(RANKS)]
    assert all(file.exists() for file in files), complaints
    return [torch.load(file) for file in files]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.parametrize("weighting", ["relobralo", "compiled", "uncertainty"])
def test_two_processes_weigh_as_one_that_sees_everything(weighting, kept):
    expected = trained(None, weighting)
    assert expected[0][0] != expected[-1][0]
    for rank in range(RANKS):
        for row, wanted in zip(kept[rank][weighting], expected, strict=True):
            assert row == pytest.approx(wanted, rel=1e-12)
    assert kept[0][weighting] == kept[1][weighting]


if __name__ == "__main__":
    one_process(int(sys.argv[1]), sys.argv[2])

"""The draws of DataLoader workers and of ranks: their own, and the same in a second run.

The ranks run this file as a script, so that it does not matter how pytest imported it.
"""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch.utils.data import DataLoader, Dataset

from photoz_losses.transforms import RandomDihedral, RandomRotation, ResampleBackground

RANKS, PATIENCE = 2, 60  # seconds
IMAGE = torch.arange(3 * 9 * 9, dtype=torch.float32).reshape(3, 9, 9).sin()


def transforms():
    """One of each, with a generator of its own."""
    return {
        "dihedral": RandomDihedral(torch.Generator().manual_seed(1)),
        "rotation": RandomRotation(3, generator=torch.Generator().manual_seed(1)),
        "background": ResampleBackground(generator=torch.Generator().manual_seed(1)),
    }


class Views(Dataset):
    """Eight times the same image, each time seen anew: all that differs is the draw."""

    def __init__(self, view):
        self.view = view

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.view(IMAGE.expand(16, -1, -1, -1))


def two_epochs(name, **options):
    """Views of two epochs of a DataLoader with two workers; shape (2, 8, ...)."""
    loader = DataLoader(
        Views(transforms()[name]),
        batch_size=2,
        num_workers=2,
        generator=torch.Generator().manual_seed(2),
        **options,
    )
    return torch.stack([torch.cat(list(loader)) for _ in range(2)])


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("name", ["dihedral", "rotation", "background"])
def test_workers_and_epochs_draw_their_own_and_a_second_run_the_same(name, persistent):
    first = two_epochs(name, persistent_workers=persistent)
    assert torch.equal(first, two_epochs(name, persistent_workers=persistent))
    assert len(first.flatten(0, 1).flatten(1).unique(dim=0)) == 16


@pytest.mark.parametrize("name", ["dihedral", "rotation", "background"])
def test_modules_pickle_with_their_generator_for_spawned_workers(name):
    module = transforms()[name]
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        expected = transforms()[name](IMAGE[None])
        assert torch.equal(twin(IMAGE[None]), expected)


def test_a_rank_above_zero_draws_its_own_from_the_same_state(monkeypatch):
    images = IMAGE.expand(16, -1, -1, -1)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    drawn = []
    for rank in (0, 1, 2, 1):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        views = {name: [t(images), t(images)] for name, t in transforms().items()}
        drawn.append(torch.cat([torch.stack(pair).flatten(2) for pair in views.values()], -1))
    assert torch.equal(drawn[1], drawn[3])
    assert len(torch.cat(drawn[:3]).flatten(1).unique(dim=0)) == 6


def draw(folder, rank, run):
    """Two views of each transform on this rank."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting {run}", rank=rank, world_size=RANKS
    )
    images = IMAGE.expand(16, -1, -1, -1)
    views = {name: torch.stack([t(images), t(images)]) for name, t in transforms().items()}
    torch.save(views, Path(folder, f"{run} {rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


def of_ranks(folder):
    """What each rank drew in each of two runs."""
    complaints = run_ranks(__file__, lambda rank: [str(folder), str(rank)], RANKS, PATIENCE)
    files = [[folder / f"{run} {rank}.pt" for rank in range(RANKS)] for run in (0, 1)]
    assert all(file.exists() for pair in files for file in pair), complaints
    return [[torch.load(file) for file in pair] for pair in files]


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_ranks_draw_their_own_and_a_second_run_the_same(tmp_path):
    first, second = of_ranks(tmp_path)
    images = IMAGE.expand(16, -1, -1, -1)
    for name, transform in transforms().items():
        assert torch.equal(first[0][name], second[0][name])
        assert torch.equal(first[1][name], second[1][name])
        views = torch.cat([first[0][name], first[1][name]])
        assert len(views.flatten(1).unique(dim=0)) == 4
        alone = torch.stack([transform(images), transform(images)])  # as without any ranks
        assert torch.equal(first[0][name], alone)


if __name__ == "__main__":
    for number in (0, 1):
        draw(sys.argv[1], int(sys.argv[2]), number)

"""The draws of DataLoader workers and of ranks: their own, and the same in a second run."""

import copy
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.distributed as dist
from ranks import needs_gloo, on_ranks
from torch.utils.data import DataLoader
from transforms.views import IMAGE, Views

from photoz_losses.transforms import RandomDihedral, RandomRotation, ResampleBackground


def transforms():
    """One of each, with a generator of its own."""
    return {
        "dihedral": RandomDihedral(torch.Generator().manual_seed(1)),
        "rotation": RandomRotation(3, generator=torch.Generator().manual_seed(1)),
        "background": ResampleBackground(generator=torch.Generator().manual_seed(1)),
    }


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
def test_modules_pickle_with_their_generator(name):
    module = transforms()[name]
    sent = ForkingPickler.dumps(module)  # to a spawned worker
    assert b"rebuild_storage" not in bytes(sent)  # whose memory it would find closed
    twins = pickle.loads(pickle.dumps(module)), copy.deepcopy(module), pickle.loads(sent)
    for twin in twins:
        expected = transforms()[name](IMAGE[None])
        assert torch.equal(twin(IMAGE[None]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("name", ["dihedral", "rotation", "background"])
def test_workers_that_are_not_forked_draw_as_forked_ones(name, method):
    assert torch.equal(two_epochs(name, multiprocessing_context=method), two_epochs(name))


def test_a_generator_that_two_share_is_still_shared_when_sent():
    generator = torch.Generator().manual_seed(1)
    both = [RandomDihedral(generator), RandomRotation(generator=generator)]
    one, other = pickle.loads(ForkingPickler.dumps(both))
    assert one.generator is other.generator


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


def draw(rank, ranks):
    """Two views of each transform on this rank."""
    images = IMAGE.expand(16, -1, -1, -1)
    return {name: torch.stack([t(images), t(images)]) for name, t in transforms().items()}


@needs_gloo
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_draw_their_own_and_a_second_run_the_same(ranks):
    first, second = on_ranks(draw, ranks), on_ranks(draw, ranks)
    alone = draw(0, 1)  # as without any ranks
    for name in alone:
        views, again = (torch.cat([of_rank[name] for of_rank in run]) for run in (first, second))
        assert torch.equal(views, again)
        assert len(views.flatten(1).unique(dim=0)) == 2 * ranks
        assert torch.equal(first[0][name], alone[name])

"""The eight rotations and flips: a group, each image its own draw, every pixel keeps its value."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare
from torch.utils._python_dispatch import TorchDispatchMode

from photoz_losses.transforms import RandomDihedral, dihedral

WITNESS = {  # what each element is called in NumPy
    0: lambda image: image,
    1: np.flipud,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.transpose,
    5: lambda image: np.rot90(image, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
}


@st.composite
def images(draw, max_batch=4, distinct=False):
    """Square images, float64; with `distinct`, no two pixels of the batch are equal."""
    side, bands = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    shape = (draw(st.integers(1, max_batch)), bands, side, side)
    values = draw(hnp.arrays(float, shape, elements=st.floats(-10, 10), unique=distinct))
    return torch.from_numpy(values)


def of_all(image):
    """One image (1, bands, H, H) under each of the eight elements, in order."""
    return dihedral(image.expand(8, -1, -1, -1), torch.arange(8))


def elements_of(view, image):
    """Which element turned `image` into each image of `view`; exactly one must fit."""
    fits = (view.unsqueeze(1) == of_all(image)).flatten(2).all(-1)
    assert (fits.sum(1) == 1).all()
    return fits.int().argmax(1)


ASYMMETRIC = torch.arange(32.0).reshape(1, 2, 4, 4)  # no symmetry: an image names its element


@given(images())
def test_each_element_is_its_numpy_namesake_in_every_band(batch):
    for element, turn in WITNESS.items():
        view = dihedral(batch, torch.full((len(batch),), element))
        for image, turned in zip(batch.flatten(0, 1), view.flatten(0, 1), strict=True):
            np.testing.assert_array_equal(turned.numpy(), turn(image.numpy()))


@given(images(), st.data())
def test_each_image_is_turned_by_its_own_element(batch, data):
    element = torch.tensor(data.draw(st.lists(st.integers(0, 7), min_size=4, max_size=4)))
    element = element[: len(batch)]
    singles = [dihedral(batch[i : i + 1], element[i : i + 1]) for i in range(len(batch))]
    assert torch.equal(dihedral(batch, element), torch.cat(singles))


@given(images(max_batch=1, distinct=True))
def test_the_eight_images_are_distinct_and_keep_every_pixel(image):
    eight = of_all(image)
    assert len({tuple(view.flatten().tolist()) for view in eight}) == 8
    kept = image.flatten(2).sort(-1).values.expand(8, -1, -1)
    assert torch.equal(eight.flatten(2).sort(-1).values, kept)


@given(images(max_batch=1, distinct=True))
def test_the_eight_elements_form_the_group_of_the_square(image):
    table = torch.stack(
        [
            elements_of(dihedral(of_all(image), torch.full((8,), second)), image)
            for second in range(8)
        ]
    )
    every = torch.arange(8)
    assert torch.equal(table[0], every)  # 0 is the identity from the right
    assert torch.equal(table[:, 0], every)  # and from the left
    assert torch.equal(table.sort(0).values, every.unsqueeze(1).expand(8, 8))  # so each has one
    assert torch.equal(table.sort(1).values, every.expand(8, 8))  # inverse, on both sides
    assert not torch.equal(table, table.T)  # of the two kinds with elements of order 4,
    assert (table.diagonal() == 0).sum() == 6  # that with six square roots of the identity


@given(images())
def test_four_quarter_turns_and_two_flips_are_the_identity(batch):
    for element, times in {1: 2, 2: 2, 3: 2, 4: 2, 5: 4, 6: 4, 7: 2}.items():
        view = batch
        for _ in range(times):
            view = dihedral(view, torch.full((len(batch),), element))
        assert torch.equal(view, batch)


def test_a_large_batch_holds_all_eight_in_equal_shares():
    turn = RandomDihedral(torch.Generator().manual_seed(2))
    drawn = elements_of(turn(ASYMMETRIC.expand(8000, -1, -1, -1)), ASYMMETRIC)
    counts = [Counter(drawn.tolist())[element] for element in range(8)]
    assert chisquare(counts).pvalue > 1e-3


def test_neighbours_in_a_batch_and_successive_batches_are_drawn_independently():
    turn = RandomDihedral(torch.Generator().manual_seed(3))
    batch = ASYMMETRIC.expand(4000, -1, -1, -1)
    first, second = (elements_of(turn(batch), ASYMMETRIC) for _ in range(2))
    for one, other in ((first[:-1], first[1:]), (first, second)):
        pairs = torch.bincount(8 * one + other, minlength=64)
        assert chisquare(pairs.numpy()).pvalue > 1e-3


@given(st.integers(0, 2**32))
def test_equal_seeds_give_equal_views(seed):
    batch = ASYMMETRIC.expand(64, -1, -1, -1)
    one, other = (RandomDihedral(torch.Generator().manual_seed(seed))(batch) for _ in range(2))
    assert torch.equal(one, other)


def test_without_a_generator_torch_manual_seed_decides():
    batch = ASYMMETRIC.expand(64, -1, -1, -1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one, next_one = RandomDihedral()(batch), RandomDihedral()(batch)
        torch.manual_seed(5)
        assert torch.equal(RandomDihedral()(batch), one)
    assert not torch.equal(one, next_one)


def test_a_generator_leaves_torch_s_own_stream_alone():
    before = torch.random.get_rng_state()
    RandomDihedral(torch.Generator().manual_seed(0))(ASYMMETRIC)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_type_and_memory_format_are_kept(dtype, layout):
    batch = torch.arange(8 * 3 * 16).reshape(8, 3, 4, 4).to(dtype).contiguous(memory_format=layout)
    view = dihedral(batch, torch.arange(8))
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=layout)
    for element, turn in WITNESS.items():
        for image, turned in zip(batch[element].double(), view[element].double(), strict=True):
            np.testing.assert_array_equal(turned.numpy(), turn(image.numpy()))


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)])
def test_images_without_pixels_are_refused(size):
    with pytest.raises(ValueError, match="images must have pixels, got shape"):
        dihedral(torch.zeros(2, 3, *size), torch.tensor([0, 1]))


def test_images_are_not_changed_in_place():
    batch = ASYMMETRIC.repeat(8, 1, 1, 1)
    dihedral(batch, torch.arange(8))
    assert torch.equal(batch, ASYMMETRIC.expand(8, -1, -1, -1))


@given(images(max_batch=1), st.data())
def test_the_gradient_is_turned_back(image, data):
    slope = torch.from_numpy(
        data.draw(hnp.arrays(float, (8, *image.shape[1:]), elements=st.floats(-1, 1)))
    )
    batch = image.repeat(8, 1, 1, 1).requires_grad_()
    (dihedral(batch, torch.arange(8)) * slope).sum().backward()
    inverse = torch.tensor([0, 1, 2, 3, 4, 6, 5, 7])
    assert torch.equal(batch.grad, dihedral(slope, inverse))


def test_gradcheck():
    batch = torch.linspace(-1, 1, 8 * 2 * 9, dtype=torch.float64).reshape(8, 2, 3, 3)
    assert torch.autograd.gradcheck(
        lambda pixels: dihedral(pixels, torch.arange(8)), batch.requires_grad_()
    )


@pytest.mark.parametrize("count", [0, 1])
def test_the_smallest_batches(count):
    batch = ASYMMETRIC.expand(count, -1, -1, -1)
    assert RandomDihedral()(batch).shape == batch.shape


class _Operations(TorchDispatchMode):
    """Counts the aten operations that run inside."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_number_of_operations_does_not_grow_with_the_batch():
    counts = []
    for size in (2, 200):
        with _Operations() as operations:
            RandomDihedral()(ASYMMETRIC.expand(size, -1, -1, -1))
        counts.append(operations.count)
    assert 0 < counts[0] == counts[1]


def test_it_compiles_to_one_graph():
    compiled = torch.compile(dihedral, fullgraph=True, backend="aot_eager")
    batch = ASYMMETRIC.repeat(8, 1, 1, 1)
    assert torch.equal(compiled(batch, torch.arange(8)), dihedral(batch, torch.arange(8)))


def test_the_module_compiles_to_one_graph():
    compiled = torch.compile(RandomDihedral(), fullgraph=True, backend="aot_eager")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = elements_of(compiled(ASYMMETRIC.repeat(400, 1, 1, 1)), ASYMMETRIC)
    assert set(drawn.tolist()) == set(range(8))

"""Turns by any angle: exact quarters, SciPy's interpolation, a Gaussian drawn at the angle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.stats import kstest

from photoz_losses.transforms import RandomRotation, dihedral, rotate
from photoz_losses.transforms.rotation import _largest_crop, _smallest_side

KERNELS = ["bilinear", "bicubic"]
every_kernel = pytest.mark.parametrize("interpolation", KERNELS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def central(images, crop):
    first = (images.shape[-1] - crop) // 2
    return images[..., first : first + crop, first : first + crop]


def read_at(side, crop, angle):
    """Rows and columns of the input at which each output pixel is read, written pixel by pixel."""
    places = np.empty((2, crop, crop))
    for i, j in np.ndindex(crop, crop):
        u, v = i - (crop - 1) / 2, j - (crop - 1) / 2
        places[0, i, j] = u * math.cos(angle) + v * math.sin(angle) + (side - 1) / 2
        places[1, i, j] = v * math.cos(angle) - u * math.sin(angle) + (side - 1) / 2
    return places


def keys(distance, a=-0.75):
    """Keys's cubic kernel, as in his paper of 1981, with torch's a."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def by_keys(image, places):
    """One image read at places, by a sum over all of its pixels near by."""
    read = np.zeros(places.shape[1:])
    for at in np.ndindex(read.shape):
        y, x = places[(slice(None), *at)]
        for row in range(math.floor(y) - 1, math.floor(y) + 3):
            for column in range(math.floor(x) - 1, math.floor(x) + 3):
                weight = keys(y - row) * keys(x - column)
                read[at] += weight * image[row, column] if abs(weight) > 1e-12 else 0.0
    return read


@given(st.lists(st.floats(-7, 7), min_size=2, max_size=2), st.integers(4, 13))
def test_bilinear_is_scipy_s_order_one(angles, side):
    images = noise(2, 2, side, side)
    view = rotate(images, torch.tensor(angles, dtype=torch.float64))
    for image, turned, angle in zip(images, view, angles, strict=True):
        places = read_at(side, view.shape[-1], angle)
        for band, expected in zip(turned, image, strict=True):
            witness = map_coordinates(expected.numpy(), places, order=1, mode="nearest")
            np.testing.assert_allclose(band, witness, rtol=0, atol=1e-12)


@given(st.floats(-7, 7), st.integers(7, 11))
def test_bicubic_is_keys_s_kernel_written_out(angle, side):
    image = noise(1, 1, side, side)
    turned = rotate(image, torch.tensor([angle], dtype=torch.float64), interpolation="bicubic")
    places = read_at(side, turned.shape[-1], angle)
    np.testing.assert_allclose(turned[0, 0], by_keys(image[0, 0].numpy(), places), atol=1e-10)


@every_kernel
@pytest.mark.parametrize("side", [20, 21])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-13), (torch.float32, 2e-5)], ids=["64", "32"]
)
def test_quarter_turns_are_torch_s_rot90_and_the_group_s_elements(interpolation, side, dtype, atol):
    images = noise(5, 2, side, side).to(dtype)
    quarters = torch.arange(5)
    view = rotate(images, quarters.double() * math.pi / 2, interpolation=interpolation)
    kept = central(images, view.shape[-1])
    expected = torch.stack([torch.rot90(kept[k], int(k), (-2, -1)) for k in quarters])
    torch.testing.assert_close(view, expected, rtol=0, atol=atol)
    same = dihedral(kept, torch.tensor([0, 5, 3, 6, 0]))
    torch.testing.assert_close(view, same, rtol=0, atol=atol)


@every_kernel
def test_the_eight_elements_come_of_quarter_turns_and_a_transpose(interpolation):
    images = noise(4, 1, 21, 21)
    angle = torch.arange(4, dtype=torch.float64) * math.pi / 2
    turned = rotate(images, angle, crop=9, interpolation=interpolation)
    flipped = rotate(images.mT, angle, crop=9, interpolation=interpolation)
    kept = central(images, 9)
    elements = torch.tensor([0, 5, 3, 6])
    torch.testing.assert_close(turned, dihedral(kept, elements), rtol=0, atol=1e-13)
    mirrored = dihedral(kept, torch.tensor([4, 1, 7, 2]))
    torch.testing.assert_close(flipped, mirrored, rtol=0, atol=1e-13)


def gaussian(side, angle, widths=(5.0, 3.0)):
    """An ellipse about the centre, its long axis at `angle` counterclockwise from the columns."""
    offset = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    up, right = -offset[:, None], offset
    along = right * math.cos(angle) + up * math.sin(angle)
    across = up * math.cos(angle) - right * math.sin(angle)
    return torch.exp(-((along / widths[0]) ** 2 + (across / widths[1]) ** 2) / 2)[None, None]


@pytest.mark.parametrize("angle", [0.02, 0.3, 1.0, 2.5, -0.7])
@pytest.mark.parametrize("side", [60, 61])
def test_a_gaussian_turned_is_the_gaussian_drawn_at_the_angle(angle, side):
    turn = torch.tensor([angle], dtype=torch.float64)
    image = gaussian(side, 0.4)
    bound = (1 / 5**2 + 1 / 3**2) / 8  # (|f_xx| + |f_yy|) / 8 of linear interpolation, peak 1
    for interpolation in KERNELS:
        view = rotate(image, turn, interpolation=interpolation)
        expected = central(gaussian(side, 0.4 + angle), view.shape[-1])
        assert (view - expected).abs().max() < bound
        assert view.sum().item() == pytest.approx(expected.sum().item(), rel=5e-4)


def test_many_small_turns_add_up():
    image, steps = gaussian(121, 0.0, (12.0, 8.0)), 5
    for _ in range(steps):
        image = rotate(image, torch.tensor([0.9 / steps], dtype=torch.float64))
    expected = central(gaussian(121, 0.9, (12.0, 8.0)), image.shape[-1])
    assert (image - expected).abs().max() < steps * (1 / 12**2 + 1 / 8**2) / 8


def test_torch_s_bicubic_misses_a_straight_line_by_as_much_as_said():
    offset = torch.arange(41, dtype=torch.float64) - 20
    ramp = offset.expand(1, 1, 41, 41)
    angle = torch.tensor([0.2], dtype=torch.float64)
    view = rotate(ramp, angle, crop=21, interpolation="bicubic")[0, 0]
    exact = torch.from_numpy(read_at(41, 21, 0.2)[1] - 20)
    t = exact - exact.floor()
    np.testing.assert_allclose(view - exact, t * (1 - t) * (1 - 2 * t) / 2, atol=1e-12)
    assert 0.045 < (view - exact).abs().max() < 0.0482
    slope = rotate(ramp, angle * 1e-7, crop=21, interpolation="bicubic") - central(ramp, 21)
    expected = 1.5 * -offset[10:31, None].expand(21, 21) * 0.2e-7  # d column / d angle is -u
    torch.testing.assert_close(slope[0, 0], expected, rtol=1e-4, atol=1e-13)


@pytest.mark.parametrize(("interpolation", "left"), [("bilinear", 4 / 9), ("bicubic", 36 / 49)])
def test_white_noise_comes_back_with_the_variance_that_is_said(interpolation, left):
    view = RandomRotation(interpolation=interpolation, generator=seeded(1))(noise(300, 1, 80, 80))
    # the mean over fractions of a pixel that are even; near the axes they are not quite
    assert view.var().item() == pytest.approx(left, rel=0.02)


# The size -------------------------------------------------------------------------------------


def reaches(side, crop, interpolation):
    """Whether at some of many angles a stencil with weight leaves the image, pixel by pixel."""
    margin = KERNELS.index(interpolation)
    for angle in np.linspace(0, math.pi / 2, 181):
        places = read_at(side, crop, angle)
        if places.min() < margin - 1e-9 or places.max() > side - 1 - margin + 1e-9:
            return True
    return False


@every_kernel
@pytest.mark.parametrize("crop", [1, 2, 3, 4, 7, 12, 13])
def test_the_smallest_side_is_the_first_of_its_parity_that_no_stencil_leaves(interpolation, crop):
    side = crop
    while reaches(side, crop, interpolation):
        side += 2
    assert _smallest_side(crop, interpolation) == side


@every_kernel
@given(side=st.integers(1, 500))
def test_the_largest_crop_is_the_last_that_the_side_holds(interpolation, side):
    crop = _largest_crop(side, interpolation)
    assert (side - crop) % 2 == 0
    assert crop < 1 or _smallest_side(crop, interpolation) <= side
    assert _smallest_side(max(crop, 0) + 2, interpolation) > side


def test_the_paper_s_cut_outs_need_92_and_94_pixels():
    assert [_smallest_side(64, kernel) for kernel in KERNELS] == [92, 94]


@every_kernel
@pytest.mark.parametrize("crop", [8, 9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_no_pixel_is_invented_at_any_angle(interpolation, crop, dtype):
    side = _smallest_side(crop, interpolation)
    angle = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    flat = torch.full((721, 1, side, side), 7.0, dtype=dtype)
    view = rotate(flat, angle, crop=crop, interpolation=interpolation)
    torch.testing.assert_close(view, torch.full_like(view, 7.0))
    # what lies around the image has no weight: the same view of the image within a larger one
    images = noise(1, 1, side, side).to(dtype).expand(721, -1, -1, -1)
    wide = torch.nn.functional.pad(images, (4, 4, 4, 4), value=1000.0)
    one, other = (rotate(x, angle, crop=crop, interpolation=interpolation) for x in (images, wide))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10 if dtype == torch.float64 else 2e-2)


def test_a_nan_pixel_reaches_its_neighbours_only():
    images = torch.ones(1, 1, 21, 21)
    images[..., 10, 10] = torch.nan
    view = rotate(images, torch.tensor([0.3]))
    assert 1 <= view.isnan().sum() <= 9
    torch.testing.assert_close(view.nan_to_num(1.0), torch.ones_like(view))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_that_of_float32_rounded_once(dtype):
    images = noise(3, 2, 20, 20).to(dtype)
    angle = torch.tensor([0.1, 1.0, 4.0])
    assert torch.equal(rotate(images, angle), rotate(images.float(), angle).to(dtype))


@every_kernel
def test_gradcheck_in_pixels_and_angles(interpolation):
    images = noise(2, 2, 9, 9).requires_grad_()
    angle = torch.tensor([0.31, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, a: rotate(x, a, interpolation=interpolation), (images, angle)
    )


# The draws ------------------------------------------------------------------------------------


def test_angles_are_drawn_evenly_and_each_image_has_its_own():
    peak = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    offset = torch.arange(21, dtype=torch.float64) - 10
    peak[0, 0] = torch.exp(-(offset[:, None] ** 2 + (offset - 5) ** 2) / 2)
    view = RandomRotation(generator=seeded(3))(peak.expand(3000, -1, -1, -1))[:, 0]
    place = torch.arange(view.shape[-1], dtype=torch.float64) - (view.shape[-1] - 1) / 2
    up, right = -(view.sum(2) * place).sum(1), (view.sum(1) * place).sum(1)
    angle = torch.atan2(up, right) % (2 * math.pi)
    assert kstest(angle.numpy() / (2 * math.pi), "uniform").pvalue > 1e-3


@every_kernel
def test_the_module_is_the_function(interpolation):
    images = noise(4, 2, 21, 21).float()
    angle = 2 * math.pi * torch.rand(4, generator=seeded(5))
    module = RandomRotation(7, interpolation=interpolation, generator=seeded(5))
    assert torch.equal(module(images), rotate(images, angle, crop=7, interpolation=interpolation))

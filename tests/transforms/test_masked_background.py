"""Sky redrawn around a mask: the galaxy kept to the bit, the sky's moments and correlation kept."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import correlate1d
from scipy.stats import kstest
from strategies import fractions

from photoz_losses.transforms import ResampleBackground, resample_background
from photoz_losses.transforms.correlation import REACH, autocorrelation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def square(side, first, last, count=1):
    mask = torch.zeros(count, side, side, dtype=torch.bool)
    mask[:, first:last, first:last] = True
    return mask


@st.composite
def masked(draw):
    """Images with NaN and infinite pixels, a mask and sources of either shape."""
    n, bands, h, w = (draw(st.integers(1, 3)) for _ in range(4))
    pixels = 18 * draw(fractions((n, bands, h, w))) - 9
    unknown = (draw(fractions(pixels.shape)) * 12).astype(int).clip(9, 11) - 9
    pixels = np.choose(unknown, [pixels, np.nan, np.inf])
    shapes = st.sampled_from([(n, h, w), pixels.shape])
    mask, sources = (torch.from_numpy(draw(hnp.arrays(bool, draw(shapes)))) for _ in range(2))
    return torch.from_numpy(pixels), mask, sources


@given(masked(), st.booleans(), st.integers(0, 2**32))
def test_the_mask_is_kept_to_the_bit_and_the_rest_drawn_about_the_sky(values, correlated, seed):
    images, mask, sources = values
    view = resample_background(
        images, mask=mask, sources=sources, correlated=correlated, generator=seeded(seed)
    )
    mask, sources = (
        np.broadcast_to(x if x.ndim == 4 else x[:, None], images.shape) for x in (mask, sources)
    )
    for at in np.ndindex(images.shape[:2]):
        old, new = images[at].numpy(), view[at].numpy()
        kept = mask[at] | ~np.isfinite(old)
        np.testing.assert_array_equal(new[kept], old[kept])
        sky = old[~sources[at] & np.isfinite(old)]
        if len(sky) < 2:
            np.testing.assert_array_equal(new, old)
            continue
        assert np.isfinite(new[~kept]).all()
        mean, std = sky.mean(), sky.std(ddof=1)
        assert (abs(new[~kept] - mean) <= 7 * std + 1e-12).all()


def test_the_drawn_pixels_are_of_the_band_s_own_gaussian():
    level = torch.tensor([0.0, 100.0, -3.0], dtype=torch.float64)[:, None, None]
    width = torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64)[:, None, None]
    images = level + width * noise(2, 3, 200, 200)
    galaxy = square(200, 80, 120, 2)
    images[..., 80:120, 80:120] += 1000.0
    view = resample_background(images, mask=galaxy, generator=seeded(1))
    for at in np.ndindex(2, 3):
        old, new = (x[at][~galaxy[0]].numpy() for x in (images, view))
        assert kstest((new - old.mean()) / old.std(), "norm").pvalue > 1e-3
        assert abs(np.corrcoef(old, new)[0, 1]) < 5 / len(old) ** 0.5


def test_neighbours_become_sky_and_do_not_enter_its_moments():
    images = noise(1, 1, 64, 64)
    images[..., 5:15, 5:15] += 1e6
    mask = square(64, 28, 36)
    sources = mask | square(64, 5, 15)
    view = resample_background(images, mask=mask, sources=sources, generator=seeded(1))
    assert view.abs().max() < 7
    assert view[~mask[:, None]].std().item() == pytest.approx(1.0, rel=0.05)


def test_sources_are_the_mask_unless_told():
    images, mask = noise(2, 2, 16, 16), square(16, 4, 9, 2)
    one = resample_background(images, mask=mask, generator=seeded())
    other = resample_background(images, mask=mask, sources=mask, generator=seeded())
    assert torch.equal(one, other)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("sky", [0, 1])
def test_a_band_with_less_than_two_pixels_of_sky_stays_as_it_is(sky, correlated):
    images = noise(1, 2, 8, 8)
    sources = torch.ones(1, 2, 8, 8, dtype=torch.bool)
    sources[:, 0].flatten()[:sky] = False
    sources[:, 1, :4] = False
    mask = square(8, 2, 4)
    view = resample_background(
        images, mask=mask, sources=sources, correlated=correlated, generator=seeded()
    )
    assert torch.equal(view[:, 0], images[:, 0])
    assert (view[:, 1] != images[:, 1]).sum() == 60


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_constant_and_one_pixel_images_stay_as_they_are(masked, correlated):
    for images in (torch.full((2, 3, 9, 9), 3.7), torch.full((2, 3, 1, 1), -1.0)):
        mask = torch.zeros(2, *images.shape[2:], dtype=torch.bool) if masked else None
        assert torch.equal(resample_background(images, mask=mask, correlated=correlated), images)


@pytest.mark.parametrize("correlated", [False, True])
def test_the_module_is_the_function_and_the_call_s_mask_comes_first(correlated):
    images, mask = noise(3, 2, 16, 16), square(16, 4, 9, 3)
    module = ResampleBackground(mask=mask[0], correlated=correlated, generator=seeded())
    options = {"correlated": correlated, "generator": seeded()}
    assert torch.equal(module(images), resample_background(images, mask=mask, **options))
    wide = square(16, 2, 14, 3)
    expected = resample_background(images, mask=mask, sources=wide, **options)
    assert torch.equal(module(images, sources=wide), expected)
    assert torch.equal(module(images, wide), resample_background(images, mask=wide, **options))
    assert list(module.state_dict()) == ["mask"]


def test_the_gradient_is_one_inside_the_mask_and_zero_outside():
    images, mask = noise(1, 2, 12, 12).requires_grad_(), square(12, 3, 8)
    resample_background(images, mask=mask, correlated=True).sum().backward()
    assert torch.equal(images.grad, mask[:, None].expand(1, 2, 12, 12).to(images.dtype))


# Correlated noise -----------------------------------------------------------------------------

SMOOTHER = np.array([0.25, 0.5, 0.25])
ALONG = np.correlate(SMOOTHER, SMOOTHER, "full")[2:] / (SMOOTHER**2).sum()  # at lags 0, 1, 2


def smooth(images):
    """White noise smoothed by SMOOTHER along rows and columns, of unit deviation again."""
    out = images.numpy()
    for axis in (-2, -1):
        out = correlate1d(out, SMOOTHER, axis=axis, mode="wrap") / (SMOOTHER**2).sum() ** 0.5
    return torch.from_numpy(out)


def correlation_by_pairs(image, lag, sky):
    """Correlation at one lag, from the pairs of sky pixels, without a Fourier transform."""
    (dy, dx), (h, w) = lag, image.shape
    one, other = (slice(0, h - dy), slice(0, w - dx)), (slice(dy, h), slice(dx, w))
    both = sky[one] & sky[other]
    values = image - image[sky].mean()
    return (values[one] * values[other])[both].mean() / (values[sky] ** 2).mean()


@pytest.mark.parametrize("lag", [(0, 1), (1, 0), (1, 1), (2, 0), (4, 3)])
def test_the_measured_correlation_is_that_of_the_pairs(lag):
    images = smooth(noise(1, 2, 20, 23))
    sky = noise(1, 2, 20, 23, seed=1) > -1
    mean = [images[0, band][sky[0, band]].mean() for band in (0, 1)]
    measured = autocorrelation(images - torch.stack(mean)[None, :, None, None], sky)
    for band in (0, 1):
        expected = correlation_by_pairs(images[0, band].numpy(), lag, sky[0, band].numpy())
        assert measured[0, band, *lag].item() == pytest.approx(expected, abs=1e-12)
        assert measured[0, band, -lag[0] % 28, -lag[1] % 31].item() == pytest.approx(expected)
    assert (measured[..., REACH + 1 : -REACH, :] == 0).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("make", [smooth, lambda x: x], ids=["smoothed", "white"])
def test_the_sky_s_correlation_is_drawn_again(make, masked):
    images = 5.0 + 0.3 * make(noise(4, 1, 160, 160))
    mask = square(160, 70, 90, 4) if masked else None
    options = {} if masked else {"sigma": 8.0}  # so that every pixel is redrawn
    view = resample_background(images, mask=mask, correlated=True, **options, generator=seeded(1))
    sky = np.ones((160, 160), bool) if mask is None else ~mask[0].numpy()
    assert (view[0, 0].numpy() != images[0, 0].numpy())[sky].all()
    along = ALONG if make is smooth else np.array([1.0, 0.0, 0.0])
    for dy, dx in np.ndindex(3, 3):
        measured = [correlation_by_pairs(x.numpy(), (dy, dx), sky) for x in view[:, 0]]
        assert np.mean(measured) == pytest.approx(along[dy] * along[dx], abs=0.03)
    redrawn = view[:, 0].numpy()[:, sky]
    assert redrawn.std() == pytest.approx(0.3, rel=0.03)
    assert redrawn.mean() == pytest.approx(5.0, abs=0.02)


def test_nothing_wraps_around_the_edges():
    images = smooth(noise(400, 1, 24, 24))
    mask = torch.zeros(400, 24, 24, dtype=torch.bool)
    view = resample_background(images, mask=mask, correlated=True, generator=seeded(1))[:, 0]
    for one, other in ((view[:, 0], view[:, -1]), (view[..., 0], view[..., -1])):
        both = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert abs(both.item()) < 0.05
    beside = torch.corrcoef(torch.stack([view[:, 0].flatten(), view[:, 1].flatten()]))[0, 1]
    assert beside.item() == pytest.approx(ALONG[1], abs=0.05)

"""Redrawn sky: astropy's statistics, Gaussian pixels below the threshold, the rest untouched."""

import math
import warnings

import numpy as np
import pytest
import torch
from astropy.stats import sigma_clipped_stats
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm
from strategies import fractions

from photoz_losses.transforms import ResampleBackground, clipping, resample_background
from photoz_losses.transforms.clipping import clipped_fraction, sigma_clip

CLIPS = [(sigma, rounds) for sigma in (1.0, 2.0, 3.0) for rounds in (1, 2, 5)]
UGRIZ = "ugriz"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sky(*shape, seed=0, dtype=torch.float64):
    """Gaussian noise of unit deviation."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def by_astropy(image, sigma, rounds):
    """Clipped mean and deviation of one image in one band."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input data contains invalid values")
        mean, _, std = sigma_clipped_stats(image.double().numpy(), sigma=sigma, maxiters=rounds)
    return mean, std


def assert_as_astropy(images, sigma, rounds, rtol=1e-10):
    mean, std = sigma_clip(images, sigma=sigma, iterations=rounds)
    assert mean.dtype == std.dtype == torch.float64
    for at in np.ndindex(images.shape[:2]):
        expected = by_astropy(images[at], sigma, rounds)
        scale = max(abs(expected[0]), expected[1])  # a mean near zero is known to the deviation's
        np.testing.assert_allclose(mean[at].item(), expected[0], rtol=0, atol=rtol * scale)
        np.testing.assert_allclose(std[at].item(), expected[1], rtol=rtol)


def on_a_knife_edge(values, sigma, rounds):
    """Whether some round's verdict on some pixel hangs on rounding alone."""
    for _ in range(rounds):
        if not len(values):
            return True
        reach = sigma * values.std()
        distance = abs(values - np.median(values))
        if (abs(distance - reach) <= 1e-9 * (1 + distance)).any():
            return True
        values = values[distance <= reach]
    return not len(values)


# The clipped statistics ------------------------------------------------------------------------


@st.composite
def skies(draw):
    """Images (N, bands, H, W), some pixels NaN, odd and even numbers of pixels, float64."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(2, 5)), 3)
    shape = (*shape[:3], draw(st.integers(2, 4)))
    values = (20 * draw(fractions(shape)) - 10).astype(np.float32).astype(float)
    missing = draw(fractions(shape)) > 0.9
    return torch.from_numpy(np.where(missing, np.nan, values))


@given(skies(), st.sampled_from(CLIPS))
def test_sigma_clip_is_astropy_s_on_any_image(images, clip):
    mean, std = sigma_clip(images, sigma=clip[0], iterations=clip[1])
    for at in np.ndindex(images.shape[:2]):
        values = images[at][~images[at].isnan()].numpy()
        assume(not on_a_knife_edge(values, *clip))
        expected = by_astropy(images[at], *clip)
        np.testing.assert_allclose(mean[at].item(), expected[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(std[at].item() ** 2, expected[1] ** 2, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("sigma", "rounds"), CLIPS)
@pytest.mark.parametrize("side", [50, 51], ids=["even", "odd"])
def test_sigma_clip_is_astropy_s_on_noise(sigma, rounds, side):
    scale = torch.tensor([0.04, 1.0, 300.0], dtype=torch.float64).reshape(3, 1, 1)
    assert_as_astropy(scale * (sky(2, 3, side, side) + 2.5), sigma, rounds)


@pytest.mark.parametrize(("sigma", "rounds"), CLIPS)
def test_sigma_clip_is_astropy_s_on_real_stamps(data_folder, sigma, rounds):
    stamps = np.load(data_folder / "stamps" / "sdss_ugriz_stamps51_galaxies.npz")["image"]
    assert_as_astropy(torch.from_numpy(stamps).double(), sigma, rounds)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
@pytest.mark.parametrize("pedestal", [1e6, -1e6])
def test_sigma_clip_under_a_bright_pedestal(sigma, pedestal):
    images = sky(2, 2, 40, 41) + pedestal
    _, std = sigma_clip(images, sigma=sigma)
    assert_as_astropy(images, sigma, 1, rtol=1e-9)
    np.testing.assert_allclose(std, sigma_clip(images - pedestal, sigma=sigma)[1], rtol=1e-9)


def test_pixels_right_at_the_limit_are_not_clipped_and_right_at_the_threshold_not_redrawn():
    images = torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(1, 1, 6, 2).contiguous()
    assert_as_astropy(images, 1.0, 3)
    assert [x.item() for x in sigma_clip(images, iterations=3)] == [0.0, 1.0]
    view = resample_background(images, generator=seeded())
    assert (view[..., 1] == 1).all()
    assert (view[..., 0] != -1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sigma_clip_of_other_types_is_that_of_their_values(dtype):
    images = (5 * sky(1, 2, 30, 30)).to(dtype)
    assert_as_astropy(images, 2.0, 2)


def test_missing_pixels_are_left_out():
    images = sky(1, 1, 20, 20)
    images[..., :7] = torch.nan
    expected = sigma_clip(images[..., 7:])
    assert torch.equal(torch.stack(sigma_clip(images)), torch.stack(expected))


def test_a_band_without_pixels_has_no_sky():
    images = sky(1, 2, 5, 5)
    images[:, 0] = torch.nan
    mean, std = sigma_clip(images)
    assert mean.isnan().tolist() == std.isnan().tolist() == [[True, False]]
    assert resample_background(images)[:, 0].isnan().all()


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
def test_infinite_pixels_are_left_out_as_astropy_does(value):
    images = sky(1, 1, 21, 21)
    images[..., 3, 4] = value
    assert_as_astropy(images, 1.0, 1)


@pytest.mark.parametrize("value", [1e3, 1e6, 1e10, -1e3, -1e6, -1e10])
def test_a_dropped_pixel_leaves_no_trace_however_far_it_lies(value):
    images = 0.03 * sky(1, 1, 51, 51)
    images[..., 3, 4] = value
    assert_as_astropy(images, 3.0, 5, rtol=1e-6)


@given(skies(), st.sampled_from(CLIPS))
def test_bands_and_images_do_not_see_one_another(images, clip):
    together = sigma_clip(images, sigma=clip[0], iterations=clip[1])
    for i, j in np.ndindex(images.shape[:2]):
        alone = sigma_clip(images[i : i + 1, j : j + 1], sigma=clip[0], iterations=clip[1])
        for whole, single in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[i, j], single.squeeze())


def test_one_round_at_one_sigma_leaves_0_540_of_gaussian_noise():
    assert clipped_fraction(1.0, 1) == pytest.approx(0.540, abs=5e-4)


@given(st.floats(0.3, 5.0), st.integers(1, 6))
def test_clipped_fraction_is_the_deviation_of_a_truncated_normal(sigma, rounds):
    expected = 1.0
    for _ in range(rounds):
        cut = sigma * expected
        expected = truncnorm(-cut, cut).std()
    assume(expected > 1e-3)  # scipy's own variance cancels below
    assert clipped_fraction(sigma, rounds) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("sigma", "rounds"), CLIPS)
def test_the_clipped_deviation_over_that_fraction_is_the_noise(sigma, rounds):
    _, std = sigma_clip(7.0 * sky(1, 1, 500, 500), sigma=sigma, iterations=rounds)
    assert std.item() / clipped_fraction(sigma, rounds) == pytest.approx(7.0, rel=0.02)


# The redrawn pixels ----------------------------------------------------------------------------


@given(skies(), st.sampled_from(CLIPS), st.integers(0, 2**32))
def test_pixels_at_or_above_the_threshold_are_kept_to_the_bit(images, clip, seed):
    sigma, rounds = clip
    mean, std = (x[..., None, None] for x in sigma_clip(images, sigma=sigma, iterations=rounds))
    view = resample_background(images, sigma=sigma, iterations=rounds, generator=seeded(seed))
    kept = images >= mean + sigma * std
    assert torch.equal(view[kept], images[kept])
    assert torch.equal(view.isnan(), images.isnan())


def mixed_skies():
    """Two images of three bands, each with its own sky, and a bright galaxy in the middle."""
    level = torch.tensor([[0.0, 5.0, -20.0], [1.0, 100.0, 0.3]], dtype=torch.float64)
    noise = torch.tensor([[1.0, 0.1, 30.0], [4.0, 2.0, 0.01]], dtype=torch.float64)
    images = level[..., None, None] + noise[..., None, None] * sky(2, 3, 400, 400)
    images[..., 190:210, 190:210] += 1000 * noise[..., None, None]
    return images


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_pixel_below_the_threshold_is_redrawn_from_the_band_s_own_gaussian(dtype, sigma):
    images = mixed_skies().to(dtype)
    view = resample_background(images, sigma=sigma, generator=seeded(1))
    mean, std = sigma_clip(images, sigma=sigma)
    for at in np.ndindex(images.shape[:2]):
        redrawn = view[at][view[at] != images[at]].double().numpy()
        below = (images[at] < mean[at] + sigma * std[at]).sum().item()
        assert below * 0.999 < len(redrawn) <= below
        assert kstest((redrawn - mean[at].item()) / std[at].item(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("pedestal", [0.0, 1e4, 1e8])
def test_the_redrawn_deviation_survives_a_pedestal_in_float64(pedestal):
    images = sky(1, 1, 300, 300) + pedestal
    view = resample_background(images, generator=seeded(1))
    redrawn = view[view != images]
    assert len(redrawn) > 0.6 * images.numel()
    assert redrawn.std().item() == pytest.approx(clipped_fraction(1.0, 1), rel=0.03)


def test_the_new_noise_has_nothing_in_common_with_the_old_nor_between_bands():
    images = sky(1, 2, 400, 400)
    view = resample_background(images, generator=seeded(4))
    both = (view != images).all(1)
    rows = np.corrcoef([*(x[:, 0][both] for x in (images, view)), view[:, 1][both]])
    assert abs(rows[np.triu_indices(3, 1)]).max() < 5 / math.sqrt(both.sum())


@pytest.mark.parametrize(("sigma", "rounds"), [(1.0, 1), (1.0, 2), (2.0, 1), (3.0, 5)])
def test_unbiased_recovers_the_deviation_of_gaussian_noise(sigma, rounds):
    images = 3.0 * sky(1, 1, 700, 700)
    resample = ResampleBackground(sigma, rounds, unbiased=True, generator=seeded(2))
    view = resample(images)
    assert view[view != images].std().item() == pytest.approx(3.0, rel=0.02)


def test_equal_seeds_give_equal_views_and_the_next_view_differs():
    images = sky(2, 2, 16, 16, dtype=torch.float32)
    one, other = (ResampleBackground(generator=seeded(7)) for _ in range(2))
    first = one(images)
    assert torch.equal(first, other(images))
    assert not torch.equal(first, one(images))


def test_without_a_generator_torch_manual_seed_decides():
    images = sky(2, 2, 16, 16, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first, second = ResampleBackground()(images), ResampleBackground()(images)
        torch.manual_seed(5)
        assert torch.equal(ResampleBackground()(images), first)
    assert not torch.equal(first, second)


@given(skies(), st.sampled_from(CLIPS), st.booleans(), st.integers(0, 2**32))
def test_the_module_is_the_function(images, clip, unbiased, seed):
    options = {"sigma": clip[0], "iterations": clip[1], "unbiased": unbiased}
    module = ResampleBackground(**options, generator=seeded(seed))
    expected = resample_background(images, **options, generator=seeded(seed))
    np.testing.assert_array_equal(module(images), expected)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_type_and_memory_format_are_kept(dtype, layout):
    images = (3 + sky(2, 3, 32, 32)).to(dtype).contiguous(memory_format=layout)
    images[..., 10:13, 10:13] = 50.0
    view = resample_background(images, generator=seeded())
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=layout)
    assert (view[..., 10:13, 10:13] == 50.0).all()
    assert 0.5 < (view != images).float().mean().item() < 0.9


@given(st.floats(-1e6, 1e6), st.sampled_from(CLIPS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_an_image_without_noise_stays_as_it_is(dtype, value, clip):
    images = torch.full((1, 2, 4, 5), value, dtype=dtype)
    view = resample_background(images, sigma=clip[0], iterations=clip[1])
    assert torch.equal(view, images)


def test_images_are_not_changed_in_place():
    images = sky(1, 2, 16, 16)
    before = images.clone()
    resample_background(images)
    assert torch.equal(images, before)


def test_the_gradient_is_one_where_a_pixel_is_kept_and_zero_where_it_is_redrawn():
    images = sky(2, 2, 20, 20).requires_grad_()
    view = resample_background(images, generator=seeded())
    view.sum().backward()
    kept = (view == images).to(images.dtype)
    assert 0 < kept.mean().item() < 1
    assert torch.equal(images.grad, kept)


def test_an_empty_batch_stays_empty():
    assert resample_background(torch.empty(0, 5, 8, 8)).shape == (0, 5, 8, 8)


@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_compiles_to_one_graph(dynamic):
    images = sky(2, 2, 16, 16, dtype=torch.float32)
    options = {"fullgraph": True, "backend": "aot_eager", "dynamic": dynamic}
    compiled = torch.compile(ResampleBackground(), **options)
    mean, std = (x[..., None, None] for x in sigma_clip(images))
    kept = images >= mean + std
    assert torch.equal(compiled(images)[kept], images[kept])


@pytest.fixture(scope="module")
def stamps(data_folder):
    """The 21 galaxies of the real cut-outs, ugriz."""
    with np.load(data_folder / "stamps" / "sdss_ugriz_stamps51_galaxies.npz") as file:
        return torch.from_numpy(file["image"][file["is_galaxy_by_eye"]])


def test_real_galaxies_keep_their_cores_and_lose_their_sky(stamps):
    view = resample_background(stamps, generator=seeded())
    gri = [UGRIZ.index(band) for band in "gri"]
    core = (..., slice(24, 27), slice(24, 27))
    assert torch.equal(view[core][:, gri], stamps[core][:, gri])
    redrawn = (view != stamps).float().mean((-2, -1))
    assert redrawn.min().item() > 0.4


def test_the_redrawn_sky_of_real_stamps_lies_within_six_deviations(stamps):
    mean, std = (x[..., None, None] for x in sigma_clip(stamps))
    view = resample_background(stamps, generator=seeded())
    redrawn = view != stamps
    assert (((view - mean) / std).abs()[redrawn] < 6).all()


@pytest.mark.parametrize("count", [0, 1, 2, 5, 8])
def test_both_ways_to_a_median_are_numpys(count):
    generator = torch.Generator().manual_seed(count)
    values = torch.randint(-2, 3, (200, 8), generator=generator).double()  # ties
    values[:, count:] = torch.nan
    values = torch.stack([row[torch.randperm(8, generator=generator)] for row in values])
    number = values.isfinite().sum(-1, keepdim=True)
    for way in (clipping._select, clipping._sort):
        got = (sum(way(values, number)) / 2).squeeze(-1)
        expected = np.nanmedian(values.numpy(), 1) if count else np.full(200, np.nan)
        np.testing.assert_array_equal(got, expected)

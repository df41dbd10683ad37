"""Segmentation masks: the central source found, neighbours told apart, real skies kept."""

import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from photoz_losses.transforms import (
    ResampleBackground,
    SourceMask,
    resample_background,
    source_mask,
)


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    """Imported where these tests run, and not where tests are only counted: it takes seconds."""
    pytest.importorskip("photutils", reason="needs photutils: install the extra masks")
    pytest.importorskip("skimage", reason="needs scikit-image: install the extra masks")


SIDE, BANDS = 49, 3
NOISE = np.array([1.0, 0.01, 50.0])[:, None, None]  # bands in very different units


def blob(row, column, peak, width=2.0):
    """A round source in all bands, `peak` deviations of the sky high."""
    y, x = np.mgrid[:SIDE, :SIDE]
    shape = peak * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return shape * NOISE


def scene(*sources, seed=0, level=0.0):
    """One image (1, bands, SIDE, SIDE) with noise."""
    rng = np.random.default_rng(seed)
    sky = NOISE * (level + rng.normal(size=(BANDS, SIDE, SIDE)))
    return torch.from_numpy(sky + sum(sources, np.zeros_like(sky)))[None]


GALAXY, FAR, NEAR = blob(24, 24, 20.0), blob(8, 40, 20.0), blob(24, 33, 15.0)


@pytest.mark.parametrize("level", [0.0, 1000.0, -30.0])
def test_the_central_source_is_kept_and_the_far_one_is_a_source(level):
    mask, sources = source_mask(scene(GALAXY, FAR, level=level))
    assert mask.dtype == sources.dtype == torch.bool
    assert mask.shape == sources.shape == (1, SIDE, SIDE)
    assert label(mask[0])[1] == 1
    for at, kept, found in (
        ((24, 24), True, True),
        ((8, 40), False, True),
        ((44, 4), False, False),
    ):
        assert (bool(mask[0][at]), bool(sources[0][at])) == (kept, found)
    bright = torch.from_numpy(GALAXY > 1.0 * NOISE).any(0)  # one deviation in a band
    assert mask[0][bright].all()
    assert not (mask & ~sources).any()


def test_keep_all_is_the_sources():
    images = scene(GALAXY, FAR)
    central, everything = source_mask(images), source_mask(images, keep="all")
    assert torch.equal(everything.mask, everything.sources)
    assert torch.equal(everything.sources, central.sources)


def test_a_touching_neighbour_is_parted_from_the_galaxy_if_asked():
    images = scene(GALAXY, NEAR)
    parted, whole = source_mask(images), source_mask(images, deblend=False)
    assert [bool(x.mask[0, 24, 24]) for x in (parted, whole)] == [True, True]
    assert [bool(x.mask[0, 24, 33]) for x in (parted, whole)] == [False, True]
    assert parted.sources[0, 24, 33]


@pytest.mark.parametrize("grow", [0.0, 1.0, 2.5, 6.0])
def test_a_footprint_grows_by_as_many_pixels(grow):
    images = scene(GALAXY)
    lone = {"n_sigma": 4.0, "n_pixels": 20}  # no noise peak stands in its way
    bare = source_mask(images, grow=0.0, **lone).mask[0].numpy()
    expected = distance_transform_edt(~bare) <= grow
    np.testing.assert_array_equal(source_mask(images, grow=grow, **lone).mask[0], expected)


def test_a_source_growing_does_not_take_its_neighbour_s_pixels():
    images = scene(GALAXY, NEAR)
    bare = source_mask(images, grow=0.0)
    neighbour = bare.sources & ~bare.mask
    assert neighbour.any()
    assert not (source_mask(images, grow=8.0).mask & neighbour).any()


def test_the_detection_image_sums_signal_to_noise_over_bands():
    faint = blob(24, 24, 1.2, width=3.0)  # lost in each band's noise, not in the three together
    image = scene(faint, seed=3)
    together = source_mask(image, n_sigma=4.0, n_pixels=20, missing="keep").sources.any()
    alone = [
        source_mask(image[:, [b]], n_sigma=4.0, n_pixels=20, missing="keep").sources.any()
        for b in range(BANDS)
    ]
    assert together
    assert sum(alone) < BANDS


def test_the_threshold_is_the_closed_form_on_a_single_pixel_source_without_smoothing():
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, 400, 400)))
    mask = source_mask(images, keep="all", n_sigma=2.0, n_pixels=1, fwhm=0.0, grow=0.0).mask
    assert mask.double().mean().item() == pytest.approx(0.0228, rel=0.08)  # Gaussian above 2


@pytest.mark.parametrize(("n_sigma", "low"), [(2.0, 0.010), (2.5, 0.003)])
def test_peaks_of_noise_taken_for_sources_lower_the_sky_as_said(n_sigma, low):
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(60, 5, 64, 64)))
    mask = source_mask(images, keep="all", n_sigma=n_sigma, deblend=False).mask.unsqueeze(1)
    sky = torch.where(mask, torch.nan, images).nanmean((-2, -1))
    assert low - 0.001 < (images.mean((-2, -1)) - sky).mean() < low + 0.001


def test_pure_noise_has_next_to_no_source():
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 5, 64, 64)))
    mask = source_mask(images, keep="all", n_sigma=4.0).mask
    assert mask.double().mean() < 0.002


@pytest.mark.parametrize("sources", [(), (FAR,)])
def test_without_a_central_source_the_image_is_refused_or_kept_whole(sources):
    images = torch.cat([scene(GALAXY), scene(*sources)])
    options = {"n_sigma": 4.0, "n_pixels": 20}
    with pytest.raises(ValueError, match=r"none in 1 of 2, at index 1: .*missing='keep'"):
        source_mask(images, **options)
    mask, found = source_mask(images, missing="keep", **options)
    assert mask[1].all()
    assert not mask[0].all()
    assert bool(found[1].any()) == bool(sources)
    view = resample_background(images, mask=mask, sources=found)
    assert torch.equal(view[1], images[1])


def test_a_source_two_pixels_off_is_central_and_four_off_is_not():
    point = {"width": 0.7}
    assert source_mask(scene(blob(24, 26, 300.0, **point)), grow=0.0).mask.any()
    with pytest.raises(ValueError, match="centre"):
        source_mask(scene(blob(24, 34, 300.0, **point)), n_sigma=4.0, n_pixels=12)


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3, 9, 9)])
def test_images_without_noise_have_no_sources(shape):
    found = source_mask(torch.full(shape, 2.0), keep="all")
    assert not found.sources.any()
    assert found.mask.shape == (2, *shape[2:])


def test_an_empty_batch_stays_empty():
    assert source_mask(torch.empty(0, 5, 8, 8)).mask.shape == (0, 8, 8)


def test_nan_pixels_and_a_band_without_noise_are_left_out():
    images = scene(GALAXY, FAR)
    images[:, 1, :, :10] = torch.nan
    images = torch.cat([images, torch.zeros(1, 1, SIDE, SIDE)], 1)
    mask, sources = source_mask(images)
    assert mask[0, 24, 24]
    assert sources[0, 8, 40]
    images[..., 24, 25] = torch.inf
    assert source_mask(images, grow=0.0).mask[0, 24, 24]


def test_each_image_is_masked_on_its_own():
    images = torch.cat([scene(GALAXY, FAR, seed=1), scene(GALAXY, NEAR, seed=2)])
    together = source_mask(images)
    for i in range(2):
        alone = source_mask(images[i : i + 1])
        assert torch.equal(together.mask[i], alone.mask[0])
        assert torch.equal(together.sources[i], alone.sources[0])


@pytest.mark.parametrize("missing", ["photutils.segmentation", "skimage.segmentation"])
def test_without_its_packages_it_says_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"photoz-losses\[masks\]"):
        source_mask(scene(GALAXY))


# Real stamps ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stamps(data_folder):
    """The 21 galaxies of the real cut-outs, ugriz."""
    with np.load(data_folder / "stamps" / "sdss_ugriz_stamps51_galaxies.npz") as file:
        return torch.from_numpy(file["image"][file["is_galaxy_by_eye"]])


@pytest.fixture(scope="module")
def masks(stamps):
    return source_mask(stamps)


def test_every_real_galaxy_is_found_and_leaves_sky_to_measure(stamps, masks):
    assert isinstance(masks, SourceMask)
    kept = masks.mask.sum((1, 2))
    assert masks.mask[:, 25, 25].all()
    assert ((kept > 300) & (kept < 1100)).all()  # of 2601; by eye on a contact sheet
    assert (masks.sources.sum((1, 2)) < 1300).all()


@pytest.mark.parametrize("correlated", [False, True])
def test_real_skies_keep_their_mean_and_deviation_and_the_galaxy_its_pixels(
    stamps, masks, correlated
):
    generator = torch.Generator().manual_seed(0)
    view = ResampleBackground(correlated=correlated, generator=generator)(stamps, *masks)
    shift, ratio = (np.empty(stamps.shape[:2]) for _ in range(2))
    for i, b in np.ndindex(stamps.shape[:2]):
        old, new = stamps[i, b].numpy(), view[i, b].numpy()
        galaxy, sources = masks.mask[i].numpy(), masks.sources[i].numpy()
        np.testing.assert_array_equal(new[galaxy], old[galaxy])
        sky, drawn = old[~sources].astype(float), new[~galaxy].astype(float)
        shift[i, b] = (drawn.mean() - sky.mean()) / sky.std()
        ratio[i, b] = drawn.std() / sky.std()
    assert abs(shift.mean(0)).max() < 0.05
    assert abs(ratio.mean(0) - 1).max() < 0.05
    assert abs(ratio - 1).max() < 0.05
    assert abs(shift).max() < 0.15  # of single skies: their noise is correlated over pixels


def test_real_skies_keep_their_correlation(stamps, masks):
    generator = torch.Generator().manual_seed(0)
    view = ResampleBackground(correlated=True, generator=generator)(stamps, *masks)
    white = ResampleBackground(generator=generator)(stamps, *masks)

    def beside(images, known):
        """Mean correlation of horizontal neighbours in each band."""
        found = np.empty(images.shape[:2])
        for i, b in np.ndindex(images.shape[:2]):
            both = known[i, :, 1:] & known[i, :, :-1]
            found[i, b] = np.corrcoef(images[i, b, :, 1:][both], images[i, b, :, :-1][both])[0, 1]
        return found.mean(0)

    real = beside(stamps.numpy(), ~masks.sources.numpy())
    assert (real > 0.05).all()
    np.testing.assert_allclose(beside(view.numpy(), ~masks.mask.numpy()), real, atol=0.03)
    assert abs(beside(white.numpy(), ~masks.mask.numpy())).max() < 0.03

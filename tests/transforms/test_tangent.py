"""The tangent of a rotation: against closed forms, splines and the resampling transform."""

import numpy as np
import pytest
import torch
from rendered import profile
from scipy import ndimage

from photoz_losses.transforms import rotate, tangent_image


def exact_tangent(**shape):
    """Derivative by a complex step: no difference is taken, and no digit is lost."""
    return profile(1e-30j, **shape).imag / 1e-30


def as_batch(image):
    return torch.from_numpy(np.ascontiguousarray(image))[None, None]


@pytest.mark.parametrize(("fwhm", "error"), [(3.5, 0.0210), (5.0, 0.0033), (7.0, 0.0005)])
def test_the_tangent_of_a_galaxy_is_as_exact_as_the_docstring_says(fwhm, error):
    got, expected = (
        tangent_image(as_batch(profile(0.0, fwhm)))[0, 0].numpy(),
        exact_tangent(fwhm=fwhm),
    )
    off = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    assert 0.9 * error < off < 1.05 * error


def test_the_error_of_the_tangent_falls_as_the_sixth_power_of_the_pixel():
    off = [
        np.abs(
            tangent_image(as_batch(profile(0.0, fwhm, side=96)))[0, 0].numpy()
            - exact_tangent(fwhm=fwhm, side=96)
        ).max()
        for fwhm in (8.0, 12.0)
    ]
    # the tangent itself, radius times slope, keeps its size
    assert 5.5 < np.log(off[0] / off[1]) / np.log(12 / 8) < 6.2


def test_a_quarter_turn_is_rot90_and_the_tangent_turns_the_same_way():
    shape = {"fwhm": 5.0, "centre": (4.0, -2.0)}
    image, turned = profile(0.0, **shape), profile(np.pi / 2, **shape)
    np.testing.assert_allclose(torch.rot90(as_batch(image), 1, (-2, -1))[0, 0], turned, atol=1e-12)
    tangent = tangent_image(as_batch(image))[0, 0].numpy()
    small = profile(1e-3, **shape) - image
    assert np.sum(tangent * small) > 0.99 * np.linalg.norm(tangent) * np.linalg.norm(small)
    # whatever turns by rot90 has a tangent that turns along
    of_turned = tangent_image(torch.rot90(as_batch(image), 1, (-2, -1)))
    torch.testing.assert_close(of_turned[0, 0], torch.rot90(torch.from_numpy(tangent), 1, (0, 1)))


def test_the_tangent_of_a_rendered_galaxy_is_a_small_rotation_by_splines():
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.random((64, 64)) ** 8, 2.5)
    window = profile(0.0, 20.0, 1.0)  # dark at the border, where a rotation has no pixels
    image, angle = image * window**2, 0.01
    turned = [ndimage.rotate(image, np.degrees(a), reshape=False, order=5) for a in (angle, -angle)]
    expected = (turned[0] - turned[1]) / (2 * angle)
    off = np.linalg.norm(tangent_image(as_batch(image))[0, 0].numpy() - expected)
    assert off < 0.01 * np.linalg.norm(expected)


def test_a_slope_and_a_polynomial_are_exact():
    row, column = np.mgrid[:9, :11] - np.array([4.0, 5.0]).reshape(2, 1, 1)
    got = tangent_image(as_batch(2 * column - 3 * row))[0, 0]
    np.testing.assert_allclose(got, -2 * row - 3 * column, atol=1e-12)  # at the border too
    image = column**6 + row**5 * column - row**6
    expected = column * (5 * row**4 * column - 6 * row**5) - row * (6 * column**5 + row**5)
    got = tangent_image(as_batch(image))[0, 0]
    np.testing.assert_allclose(got[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-8)


def test_a_round_galaxy_at_the_centre_has_no_tangent_and_noise_grows_as_said():
    round_one = as_batch(profile(0.0, 6.0, 1.0))
    assert (
        tangent_image(round_one).abs().max()
        < 1e-2 * tangent_image(as_batch(profile(0.0, 6.0))).abs().max()
    )
    noise = torch.randn(3000, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    at = tangent_image(noise)[:, 0].std(0)
    # 1.08 times the distance: 3 rows down; on the border the differences are one-sided
    assert abs(at[4 + 0, 4]) < 1e-6
    assert 0.9 * 1.08 < at[4, 5] < 1.1 * 1.08


def test_it_is_the_derivative_of_rotate_as_far_as_that_resamples_well():
    image = as_batch(profile(0.0, fwhm=12.0, centre=(6.0, -3.0), side=96))
    angle = torch.tensor([0.05], dtype=torch.float64)  # pixels at the centre move by less than one
    slope = (rotate(image, angle, crop=64) - rotate(image, -angle, crop=64)) / (2 * angle)
    tangent = tangent_image(image)[..., 16:-16, 16:-16]
    assert (slope - tangent).norm() < 0.05 * tangent.norm()


@pytest.mark.parametrize(
    ("stencil", "errors"), [((1 / 2,), (0.17, 0.086)), ((2 / 3, -1 / 12), (0.051, 0.014))]
)
def test_lower_orders_err_as_much_as_the_docstring_says(monkeypatch, stencil, errors):
    monkeypatch.setattr("photoz_losses.transforms.tangent.SIXTH_ORDER", stencil)
    for fwhm, error in zip((3.5, 5.0), errors, strict=True):
        expected = exact_tangent(fwhm=fwhm)
        got = tangent_image(as_batch(profile(0.0, fwhm)))[0, 0].numpy()
        off = np.linalg.norm(got - expected)
        assert 0.95 * error < off / np.linalg.norm(expected) < 1.05 * error

import re

import numpy as np
import pytest
import torch
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from photometry.spectroscopy import write_spectrum

from photoz_losses.photometry import Spectra, read_sdss_spectra


@pytest.fixture
def files(tmp_path):
    """Three spectra that start and end on different pixels; z out of order."""
    rng = np.random.default_rng(0)
    ranges = {"b": (35805, 40, 0.3), "a": (35800, 20, 0.1), "c": (35830, 30, 0.2)}
    return {
        write_spectrum(tmp_path / f"{name}.fits", first, flux := rng.normal(size=n), z): (
            first,
            flux.astype(np.float32),
            z,
        )
        for name, (first, n, z) in ranges.items()
    }


# Reading -----------------------------------------------------------------------------------------


def test_spectra_keep_their_own_pixels_to_the_bit(files):
    spectra = read_sdss_spectra(files)
    assert spectra.flux.shape == (3, 60)  # pixels 35800 to 35859
    for row, (first, flux, _) in enumerate(files.values()):
        own = slice(first - 35800, first - 35800 + len(flux))
        assert np.array_equal(spectra.flux[row, own].numpy(), flux)
        assert (spectra.ivar[row, own] == 1).all()
        assert spectra.valid[row, own].all()
        assert spectra.valid[row].sum() == len(flux)
    assert (spectra.flux[~spectra.valid] == 0).all()
    assert (spectra.ivar[~spectra.valid] == 0).all()


def test_order_and_redshifts_are_those_of_the_paths(files):
    assert read_sdss_spectra(files).z.tolist() == pytest.approx([0.3, 0.1, 0.2])
    assert read_sdss_spectra(list(files)[::-1]).z.tolist() == pytest.approx([0.2, 0.1, 0.3])


def test_wavelengths_are_the_common_log_grid(files):
    wavelength = read_sdss_spectra(files).wavelength
    expected = 10.0 ** (np.arange(35800, 35860) * 1e-4)
    np.testing.assert_allclose(wavelength.numpy(), expected, rtol=1e-14)


def test_types_are_those_of_the_files_and_float64_for_what_is_exact(files):
    spectra = read_sdss_spectra(files)
    assert spectra.flux.dtype == spectra.ivar.dtype == torch.float32
    assert spectra.wavelength.dtype == spectra.z.dtype == torch.float64
    assert spectra.valid.dtype == torch.bool


def test_a_single_path_and_paths_as_strings_are_taken(files):
    path = next(iter(files))
    one, same = read_sdss_spectra(path), read_sdss_spectra([str(path)])
    assert len(one) == 1
    assert torch.equal(one.flux, same.flux)


def test_pixels_that_are_not_finite_are_not_valid(tmp_path):
    path = write_spectrum(tmp_path / "holes.fits", 35800, [1.0, np.nan, 2.0, np.inf, 3.0])
    spectra = read_sdss_spectra([path])
    assert spectra.valid.tolist() == [[True, False, True, False, True]]
    assert spectra.flux.tolist() == [[1, 0, 2, 0, 3]]
    assert spectra.ivar.tolist() == [[1, 0, 1, 0, 1]]


def test_pixels_of_zero_ivar_stay_valid(tmp_path):
    path = write_spectrum(tmp_path / "sky.fits", 35800, [1.0, 2.0, 3.0], ivar=[1.0, 0.0, 1.0])
    spectra = read_sdss_spectra([path])
    assert spectra.valid.all()
    assert spectra.ivar.tolist() == [[1, 0, 1]]


# A given grid ------------------------------------------------------------------------------------


def test_a_given_grid_takes_whole_pixels_and_leaves_out_the_rest(files):
    grid = 10 ** (torch.arange(35810, 35850, dtype=torch.float64) * 1e-4)
    spectra = read_sdss_spectra(files, wavelength=grid)
    assert torch.equal(spectra.wavelength, grid)
    whole = read_sdss_spectra(files)
    for name in ("flux", "ivar", "valid"):
        assert torch.equal(getattr(spectra, name), getattr(whole, name)[:, 10:50])
    assert torch.equal(spectra.z, whole.z)


def test_files_read_apart_onto_their_common_grid_are_the_same_as_together(files):
    whole = read_sdss_spectra(files)
    for row, path in enumerate(files):
        one = read_sdss_spectra(path, wavelength=whole.wavelength)
        for name in ("flux", "ivar", "valid", "z"):
            assert torch.equal(getattr(one, name), getattr(whole[row], name))


def test_a_grid_wider_than_all_files_is_not_valid_there(files):
    grid = 10 ** (torch.arange(35700, 35900).double() * 1e-4)
    spectra = read_sdss_spectra(files, wavelength=grid.float())  # rounding is no step
    assert spectra.valid.sum() == read_sdss_spectra(files).valid.sum()
    assert not spectra.valid[:, :100].any()


@pytest.mark.parametrize(
    "grid",
    [torch.linspace(3800.0, 9200.0, 4000), 10 ** ((torch.arange(35800, 35900) + 0.3) * 1e-4)],
    ids=["linear", "between the pixels"],
)
def test_a_grid_that_is_not_sdss_s_is_refused(files, grid):
    with pytest.raises(ValueError, match=r"wavelength must be whole steps of 0\.0001"):
        read_sdss_spectra(files, wavelength=grid)


def test_a_file_without_a_pixel_on_the_grid_is_named(files):
    path = next(iter(files))
    with pytest.raises(ValueError, match=names(path, "no pixel on the given wavelength")):
        read_sdss_spectra([path], wavelength=10 ** (torch.arange(30000, 30100).double() * 1e-4))


# Errors of reading: each names the file ----------------------------------------------------------


def test_no_paths_at_all_say_so():
    with pytest.raises(ValueError, match="paths is empty: give at least one"):
        read_sdss_spectra([])


def test_a_missing_file_is_named(files, tmp_path):
    missing = tmp_path / "spec-0000.fits"
    with pytest.raises(FileNotFoundError, match=re.escape(str(missing))):
        read_sdss_spectra([*files, missing])


def names(path, *words: str) -> str:
    return "(?s)" + re.escape(str(path)) + ".*".join(("", *map(re.escape, words)))


def test_a_file_that_is_not_fits_is_named(tmp_path):
    path = tmp_path / "index.csv"
    path.write_text("file,z\n" * 1000)
    with pytest.raises(ValueError, match=names(path, "no whole SDSS spectrum")):
        read_sdss_spectra([path])


def test_an_image_is_named(tmp_path):
    path = tmp_path / "image.fits"
    image = fits.ImageHDU(np.zeros((5, 5)))
    fits.HDUList([fits.PrimaryHDU(), image, image]).writeto(path)
    with pytest.raises(ValueError, match=names(path, "no whole SDSS spectrum")):
        read_sdss_spectra([path])


@pytest.mark.parametrize("column", ["loglam", "flux", "ivar"])
def test_a_missing_column_is_named_with_its_file(tmp_path, column):
    path = write_spectrum(tmp_path / "lacks.fits", 35800, [1.0, 2.0], drop=[column])
    with pytest.raises(ValueError, match=names(path, "HDU 1 with loglam, flux, ivar", column)):
        read_sdss_spectra([path])


def test_a_file_without_redshift_is_named(tmp_path):
    path = write_spectrum(tmp_path / "no_z.fits", 35800, [1.0, 2.0], drop=["Z"])
    with pytest.raises(ValueError, match=names(path, "HDU 2 with Z")):
        read_sdss_spectra([path])


@pytest.mark.parametrize("offset", [0.3, np.arange(50) * 0.02], ids=["shifted", "stretched"])
def test_wavelengths_off_the_grid_are_named_with_the_mend(tmp_path, offset):
    path = write_spectrum(tmp_path / "off.fits", 35800, np.ones(50), offset=offset)
    with pytest.raises(ValueError, match=names(path, "SDSS's grid", "build Spectra(...)")):
        read_sdss_spectra([path])


def test_a_file_without_pixels_is_named(tmp_path):
    path = write_spectrum(tmp_path / "empty.fits", 35800, [])
    with pytest.raises(ValueError, match=names(path)):
        read_sdss_spectra([path])


def test_a_file_whose_wavelengths_are_nan_is_named(tmp_path):
    path = write_spectrum(tmp_path / "nan.fits", 35800, [1.0, 2.0], offset=np.nan)
    with pytest.raises(ValueError, match=names(path)):
        read_sdss_spectra([path])


def test_a_file_with_a_negative_inverse_variance_is_named(tmp_path):
    path = write_spectrum(tmp_path / "negative.fits", 35800, [1.0, 2.0], ivar=[1.0, -1.0])
    with pytest.raises(ValueError, match=names(path)):
        read_sdss_spectra([path])


# Real files --------------------------------------------------------------------------------------


def test_real_spectra_are_on_the_common_grid_to_the_bit(spectrum_files):
    spectra = read_sdss_spectra(spectrum_files)
    assert len(spectra) == 19
    for row, path in enumerate(spectrum_files):
        with fits.open(path, memmap=False) as hdus:
            table, z = hdus[1].data, hdus[2].data["Z"][0]
            own = spectra.valid[row].numpy()
            assert own.sum() == len(table)
            assert np.array_equal(spectra.flux[row].numpy()[own], table["flux"])
            assert np.array_equal(spectra.ivar[row].numpy()[own], table["ivar"])
            wavelength = 10 ** table["loglam"].astype(np.float64)
            np.testing.assert_allclose(spectra.wavelength.numpy()[own], wavelength, rtol=1e-6)
            assert spectra.z[row].item() == z


# The container -----------------------------------------------------------------------------------


def five_spectra() -> Spectra:
    flux = torch.arange(5.0).unsqueeze(-1).expand(5, 3).clone()
    valid = torch.ones(5, 3, dtype=torch.bool)
    return Spectra(torch.tensor([4000.0, 5000.0, 6000.0]), flux, 2 * flux, flux[:, 0] / 10, valid)


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (0, [0]),
        (-1, [4]),
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, 2), [0, 2, 4]),
        (slice(None, None, -2), [4, 2, 0]),
        (slice(3, 1), []),
        (slice(-1, -3), []),
        (slice(2, 4, -1), []),
        (slice(1, 4, 2**70), [1]),
        (slice(3, 0, -(2**70)), [3]),
        ([3, 1], [3, 1]),
        ([], []),
        (torch.tensor([2, 2]), [2, 2]),
        (torch.tensor(3), [3]),
        (np.array([4, 0]), [4, 0]),
        (np.array([4, 0], np.uint16), [4, 0]),
        (np.array([4, 0], np.uint64), [4, 0]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        ([True, False, False, True, False], [0, 3]),
        (np.array([True, False, False, True, False])[::-1], [1, 4]),
    ],
    ids=str,
)
def test_indexing_takes_the_rows_of_everything(index, rows):
    spectra = five_spectra()
    some = spectra[index]
    assert len(some) == len(rows)
    assert torch.equal(some.wavelength, spectra.wavelength)
    for name in ("flux", "ivar", "z", "valid"):
        assert torch.equal(getattr(some, name), getattr(spectra, name)[rows])


@given(st.permutations(range(5)))
def test_indexing_twice_is_indexing_once(order):
    assert torch.equal(five_spectra()[order][[2, 0]].z, five_spectra()[[order[2], order[0]]].z)


def test_an_index_outside_raises_and_so_ends_iteration():
    with pytest.raises(IndexError):
        five_spectra()[5]
    assert [one.z.item() for one in five_spectra()] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_to_moves_everything():
    spectra = five_spectra()
    moved = spectra.to("cpu")
    for name in ("wavelength", "flux", "ivar", "z", "valid"):
        assert torch.equal(getattr(moved, name), getattr(spectra, name))
    assert torch.equal(spectra.to(torch.device("cpu"))[[1]].z, spectra.z[[1]])


def test_repr_states_number_pixels_and_range():
    assert repr(five_spectra()) == "Spectra(5 on 3 pixels, 4000-6000 A)"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"wavelength": torch.tensor([6e3, 5e3, 4e3])}, ValueError, "wavelength must increase"),
        (
            {"wavelength": torch.tensor([4e3, 5e3])},
            ValueError,
            r"flux must have the shape \(5, 2\)",
        ),
        ({"flux": torch.ones(3)}, ValueError, r"flux must have shape \(N, L\), got \(3,\)"),
        ({"flux": torch.full((5, 3), torch.nan)}, ValueError, "flux must be finite.*invalid"),
        ({"ivar": torch.ones(5, 2)}, ValueError, r"ivar must have the shape \(5, 3\) of flux"),
        ({"ivar": -torch.ones(5, 3)}, ValueError, "ivar must not be negative.*0 marks"),
        ({"ivar": torch.full((5, 3), torch.nan)}, ValueError, "ivar must not be negative or NaN"),
        ({"z": torch.ones(4)}, ValueError, r"z must have the shape \(5,\) of the spectra"),
        ({"z": torch.ones(5, 1)}, ValueError, r"z must have .*call z\.squeeze\(-1\)"),
        ({"valid": torch.ones(5, 3)}, TypeError, "valid must be a bool tensor, got torch.float32"),
        ({"valid": torch.ones(3, dtype=torch.bool)}, ValueError, "valid must have the shape"),
    ],
)
def test_what_does_not_fit_together_is_named(change, error, message):
    names = ("wavelength", "flux", "ivar", "z", "valid")
    parts = {name: getattr(five_spectra(), name) for name in names} | change
    with pytest.raises(error, match=message):
        Spectra(**parts)


def test_flux_may_be_nan_where_it_is_not_valid():
    spectra = five_spectra()
    spectra.flux[0, 0], spectra.valid[0, 0] = torch.nan, False
    assert len(spectra[0]) == 1

"""The galaxies: the catalogue's own numbers, images that sum to them, spectra that carry them."""

from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy import units
from astropy.io import fits
from speclite.filters import load_filters

for package in ("galsim", "h5py", "kcorrect", "tqdm"):
    pytest.importorskip(package, reason=f"the examples' galaxies need {package}")

galaxies, rendering = import_module("galaxies"), import_module("rendering")


@pytest.fixture(scope="module")
def photometry() -> Any:
    return galaxies.load_photometry()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Any:
    return galaxies.load_galaxies(40, cache=folder, workers=1, progress=False)


def catalogue_rows(row: torch.Tensor) -> dict[str, np.ndarray]:
    path = files("kcorrect") / "data/test/gst_tests_small.fits"
    with as_file(path) as real_path, fits.open(real_path, memmap=False) as hdus:
        return {name: hdus[1].data[name][row.numpy()] for name in hdus[1].data.names}


def test_cut_and_dereddening(photometry: Any) -> None:
    assert len(photometry) == 9783
    assert len(photometry.row.unique()) == 9783
    rows = catalogue_rows(photometry.row)
    extinction = rows["EXTINCTION"].astype(float)
    petro_r = 22.5 - 2.5 * np.log10(rows["PETROFLUX"][:, 2]) - extinction[:, 2]
    assert petro_r.max() < 17.77
    assert photometry.z_spec.min() > 0
    assert photometry.z_spec.max() <= 0.4
    np.testing.assert_array_equal(photometry.z_spec, rows["Z"])
    clear = 10 ** (0.4 * extinction)
    np.testing.assert_allclose(photometry.flux, rows["MODELFLUX"] * clear, rtol=1e-6)
    signal_to_noise = rows["MODELFLUX"] * np.sqrt(rows["MODELFLUX_IVAR"])
    np.testing.assert_allclose(photometry.flux / photometry.flux_error, signal_to_noise, rtol=1e-5)
    # One E(B-V) for all five bands, in the ratios of Stoughton et al. 2002.
    ratios = np.array([5.155, 3.793, 2.751, 2.086, 1.479])
    np.testing.assert_allclose(photometry.ebv.numpy()[:, None] * ratios, extinction, rtol=1e-5)


def test_spectra_have_the_catalogued_magnitudes(photometry: Any) -> None:
    """By speclite and the newer filter curves, which this module does not use."""
    some = photometry.subset(torch.arange(200))
    filters = load_filters("sdss2010-*")
    unit = 1e-17 * units.erg / units.s / units.cm**2 / units.AA
    spectrum = some.spectrum.double().numpy() * unit
    maggies = filters.get_ab_maggies(spectrum, some.wavelength.numpy() * units.AA)
    synthetic = np.stack([np.asarray(maggies[name]) for name in filters.names], axis=1)
    difference = -2.5 * np.log10(1e9 * synthetic / some.flux.numpy())[:, 1:4]
    assert np.all(np.median(np.abs(difference), axis=0) < 0.01)
    assert np.all(np.abs(difference) < 0.2)


def test_spectra_stay_covered(photometry: Any) -> None:
    wavelength = photometry.wavelength
    for curve in load_filters("sdss2010-*"):
        assert wavelength[0] * 1.4 < curve.wavelength[0]
        assert wavelength[-1] / 1.4 > curve.wavelength[-1]
    assert torch.isfinite(photometry.spectrum).all()
    assert (photometry.spectrum >= 0).all()
    assert (photometry.spectrum[:, [0, -1]] > 0).all()


@pytest.mark.parametrize(("magnitude", "colour", "scale"), [(-23, 1.0, 0.3), (-18, 0.5, 2.0)])
def test_noise_free_bands_sum_to_the_flux(magnitude: float, colour: float, scale: float) -> None:
    flux = np.array([-0.5, 25.0, 60.0, 90.0, 110.0])
    rng = np.random.default_rng(5)
    image = rendering.draw_galaxy(flux, magnitude, colour, scale, rng)
    assert image.shape == (5, 64, 64)
    np.testing.assert_allclose(image.sum((1, 2)), flux, rtol=1e-7)
    assert (image[1:] > -1e-4 * image[1:].max()).all()


def test_images_hold_the_observed_flux(drawn: Any) -> None:
    """Observed, not dereddened, and no more noise than the sky's."""
    observed = catalogue_rows(drawn.row)["MODELFLUX"]
    sum_noise = 64 * np.array(rendering.SKY_NOISE)
    deviation = (drawn.image.double().sum((2, 3)).numpy() - observed) / sum_noise
    assert 0.8 < deviation.std() < 1.2
    assert abs(deviation.mean()) < 4 / np.sqrt(deviation.size)


def test_seeing_of_each_band() -> None:
    """A point's width after broadening is the stated one: variances of Gaussians add."""
    arcsec = (np.arange(64) - 32) * rendering.PIXEL
    sharpest = min(rendering.SEEING) / np.sqrt(8 * np.log(2))
    point = np.exp(-(arcsec[:, None] ** 2 + arcsec**2) / (2 * sharpest**2))
    seen = rendering._broaden(np.broadcast_to(point, (5, 64, 64)), 1.0)
    variance = (seen * arcsec**2).sum((1, 2)) / seen.sum((1, 2))
    np.testing.assert_allclose(np.sqrt(8 * np.log(2) * variance), rendering.SEEING, rtol=1e-3)


def test_bulge_is_redder_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    share = np.array([rendering._bulge_share(c, rng) for c in np.linspace(-0.5, 1.5, 200)])
    assert ((share > 0) & (share < 1)).all()
    assert (np.diff(share, axis=1) > 0).all()


@pytest.mark.slow
def test_same_galaxy_whatever_the_workers_and_the_number(drawn: Any, tmp_path: Path) -> None:
    fewer = galaxies.load_galaxies(33, cache=tmp_path, workers=2, progress=False)
    assert torch.equal(fewer.image, drawn.image[:33])
    assert torch.equal(fewer.spectrum, drawn.spectrum[:33])
    assert torch.equal(fewer.row, drawn.row[:33])


def test_cache(drawn: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = galaxies.cache_path(40, 0, folder)
    assert [file.name for file in folder.iterdir()] == [path.name]
    monkeypatch.setattr(rendering, "draw_all", None)  # a second drawing would fail
    again = galaxies.load_galaxies(40, cache=folder)
    for name, value in vars(drawn).items():
        assert torch.equal(getattr(again, name), value), name
    changed = tmp_path / "rendering.py"  # a recipe with another sky
    changed.write_text(Path(rendering.__file__).read_text().replace("0.040, 0.016", "0.050, 0.016"))
    monkeypatch.setattr(rendering, "__file__", str(changed))
    paths = {
        path,
        galaxies.cache_path(40, 0, folder),
        galaxies.cache_path(40, 1, folder),
        galaxies.cache_path(41, 0, folder),
    }
    assert len(paths) == 4


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PHOTOZ_LOSSES_CACHE", str(tmp_path))
    assert galaxies.cache_path(10, 0).parent == tmp_path
    monkeypatch.delenv("PHOTOZ_LOSSES_CACHE")
    assert galaxies.cache_path(10, 0).parent == Path.home() / ".cache" / "photoz_losses"


def test_a_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> np.ndarray:
        return np.zeros(3, dtype=object)  # h5py cannot hold it

    monkeypatch.setattr(rendering, "draw_all", broken)
    with pytest.raises(TypeError):
        galaxies.load_galaxies(3, cache=tmp_path, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_split(drawn: Any) -> None:
    parts = galaxies.split(drawn, (0.7, 0.1, 0.2), seed=3)
    assert [len(part) for part in parts] == [28, 4, 8]
    rows = torch.cat([part.row for part in parts])
    assert sorted(rows.tolist()) == sorted(drawn.row.tolist())
    assert all(torch.equal(part.wavelength, drawn.wavelength) for part in parts)
    assert torch.equal(galaxies.split(drawn, seed=3)[0].row, parts[0].row)
    assert not torch.equal(galaxies.split(drawn, seed=4)[0].row, parts[0].row)
    with pytest.raises(ValueError, match="fractions must be >= 0 and sum to at most 1"):
        galaxies.split(drawn, (0.9, 0.2))


def test_number_of_galaxies() -> None:
    with pytest.raises(ValueError, match="or None, got 20000"):
        galaxies.load_photometry(20_000)

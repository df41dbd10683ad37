"""Each layout of data, in small files written here, and what each reader says of another."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from config import Config
from galaxies import load_galaxies
from loading import Items, prepare
from readers import Cutouts, Hayat, Pasquet, Rendered, sdss_id, split_rows
from torch.utils.data import DataLoader

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry

RNG = np.random.default_rng(0)
Z, EBV = np.array([0.05, 0.15, 0.25, 0.35]), np.array([0.01, 0.02, 0.03, 0.04])
PLATE, MJD, FIBER = [266, 266, 1201, 300], [51630] * 4, [1, 27, 3, 640]
IDS = ["266-51630-1", "266-51630-27", "1201-51630-3", "300-51630-640"]
LABELS = np.rec.fromarrays([Z, EBV, PLATE, MJD, FIBER], names="z,EBV,plate,mjd,fiberid")
CUBE = RNG.normal(size=(4, 64, 64, 5)).astype(np.float32)


def check(reader, images: np.ndarray, ids=IDS) -> None:
    """Every item, and batches of the reader and of what a worker gets."""
    assert len(reader) == len(images)
    assert reader.ids == list(ids)
    for index, image in enumerate(images):
        galaxy = reader[index]
        assert galaxy.image.dtype == galaxy.ebv.dtype == galaxy.z_spec.dtype == torch.float32
        np.testing.assert_array_equal(galaxy.image, image.astype(np.float32))
        assert float(galaxy.ebv) == np.float32(EBV[index])
        assert float(galaxy.z_spec) == np.float32(Z[index])
        assert galaxy.id == ids[index]
    twin = pickle.loads(pickle.dumps(reader))
    for source in (reader, twin):
        batches = list(DataLoader(source, batch_size=3))
        np.testing.assert_array_equal(torch.cat([batch.image for batch in batches]), images)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "sdss.npz", cube=CUBE, labels=LABELS)
    return tmp_path / "sdss.npz"


def test_pasquets_file(npz):
    check(Pasquet(npz), CUBE.transpose(0, 3, 1, 2))


def test_pasquets_cube_is_mapped_and_not_loaded(npz):
    """A change of one byte of the file shows: nothing was copied."""
    reader = Pasquet(npz)
    assert isinstance(reader.cube, np.memmap)
    place = reader.cube.offset + CUBE[:2].nbytes
    with npz.open("r+b") as file:
        file.seek(place)
        assert file.read(4) == CUBE[2, 0, 0, 0].tobytes()
        file.seek(place)
        file.write(np.float32(7).tobytes())
    assert reader[2].image[0, 0, 0] == 7


def test_pasquets_file_where_it_is_another_one(tmp_path):
    path = tmp_path / "sdss.npz"
    np.savez(path, images=CUBE, labels=LABELS)
    with pytest.raises(ValueError, match=r"array 'cube' is missing; found images, labels"):
        Pasquet(path)
    np.savez(path, cube=CUBE)
    with pytest.raises(ValueError, match=r"array 'labels' is missing; found cube"):
        Pasquet(path)
    np.savez_compressed(path, cube=CUBE, labels=LABELS)
    with pytest.raises(ValueError, match=r"compressed .* write it anew with np\.savez"):
        Pasquet(path)
    np.savez(path, cube=CUBE, labels=LABELS[["z", "plate", "mjd", "fiberid"]])
    with pytest.raises(ValueError, match=r"EBV not found in \('z', 'plate'"):
        Pasquet(path)
    np.savez(path, cube=CUBE, labels=np.array([{"z": 0.1}] * 4, dtype=object))
    with pytest.raises(ValueError, match="Python objects, which are not unpickled"):
        Pasquet(path)
    np.savez(path, cube=CUBE[:3], labels=LABELS)
    with pytest.raises(ValueError, match=r"\[N, H, W, 5\] with N = 4 .* got \[3, 64, 64, 5\]"):
        Pasquet(path)


def write_hayat(path: Path, rows: slice, images: np.ndarray, **more: object) -> None:
    arrays = {"images": images[rows], "e_bv": EBV[rows], "specz_redshift": Z[rows]}
    with h5py.File(path, "w") as file:
        for name, values in (arrays | more).items():
            file.create_dataset(name, data=values, chunks=name == "images" or None)


def test_hayats_files_are_cut_to_their_middle(tmp_path):
    images = RNG.normal(size=(4, 5, 107, 107)).astype(np.float32)
    write_hayat(tmp_path / "a.h5", slice(0, 3), images)
    write_hayat(tmp_path / "b.hdf5", slice(3, 4), images)
    ids = ["a:0", "a:1", "a:2", "b:0"]
    check(Hayat(tmp_path), images[..., 21:85, 21:85], ids)
    check(Hayat(tmp_path, side=72), images[..., 17:89, 17:89], ids)
    names = {"plate": PLATE, "mjd": MJD, "fiberid": FIBER}
    write_hayat(tmp_path / "named.h5", slice(0, 4), images, **names)
    check(Hayat(tmp_path / "named.h5"), images[..., 21:85, 21:85])
    with pytest.raises(ValueError, match=r"107 x 107 pixels, side=128"):
        Hayat(tmp_path, side=128)


def test_what_the_crop_moves_over_is_read_too(tmp_path):
    images = RNG.normal(size=(4, 5, 107, 107)).astype(np.float32)
    write_hayat(tmp_path / "a.h5", slice(0, 4), images)
    config = Config(data="hayat", path=tmp_path, jitter=4, test=0.25, validation=0)
    data = prepare(config, RedshiftBins.uniform(0.0, 0.4, 4))
    rows = data.train.rows
    np.testing.assert_array_equal(data.train[0]["image"], images[rows[0], :, 17:89, 17:89])


def test_hayats_file_where_it_is_another_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*\.h5"):
        Hayat(tmp_path)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["ebv"] = np.zeros((4, 5, 107, 107)), EBV
    with pytest.raises(ValueError, match=r"array 'e_bv' is missing; found ebv, images"):
        Hayat(path)
    write_hayat(path, slice(0, 4), np.zeros((4, 107, 107, 5)))
    with pytest.raises(ValueError, match=r"\[N, 5, H, W\], got \[4, 107, 107, 5\]"):
        Hayat(path)
    write_hayat(path, slice(0, 4), np.zeros((4, 5, 107, 107)), e_bv=EBV[:2])
    with pytest.raises(ValueError, match=r"e_bv must be \[N\] with N = 4 .* got \[2\]"):
        Hayat(path)


def write_cutouts(folder: Path, name: str, **more: object) -> tuple[Path, np.ndarray]:
    images = RNG.normal(size=(4, 5, 70, 66)).astype(np.float32)
    (folder / "stamps").mkdir(exist_ok=True)
    for index, image in enumerate(images):  # FITS holds big-endian numbers
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image)] if index else [fits.PrimaryHDU(image)]
        fits.HDUList(hdus).writeto(folder / f"stamps/{index}.fits", overwrite=True)
    table = Table({"file": [f"stamps/{k}.fits" for k in range(4)], "z_spec": Z, "ebv": EBV} | more)
    form = "ascii.csv" if name.endswith("csv") and not name.endswith("ecsv") else None
    table.write(folder / name, format=form, overwrite=True)
    return folder / name, images


@pytest.mark.parametrize("name", ["galaxies.csv", "galaxies.ecsv", "galaxies.fits"])
def test_a_folder_of_cutouts(name, tmp_path):
    table, images = write_cutouts(tmp_path, name, plate=PLATE, mjd=MJD, fiberid=FIBER)
    check(Cutouts(table), images[..., 3:67, 1:65])
    table, images = write_cutouts(tmp_path, name)
    check(Cutouts(table, 32), images[..., 19:51, 17:49], [f"stamps/{k}.fits" for k in range(4)])


def test_a_folder_of_cutouts_where_it_is_another_one(tmp_path):
    table, _ = write_cutouts(tmp_path, "galaxies.csv")
    Table.read(table, format="ascii.csv")["file", "z_spec"].write(tmp_path / "short.csv")
    with pytest.raises(ValueError, match=r"column 'ebv' is missing; found file, z_spec"):
        Cutouts(tmp_path / "short.csv")
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "stamps/0.fits", overwrite=True)
    with pytest.raises(ValueError, match=r"must be \[5, H, W\], got \[5, 5\]"):
        Cutouts(table)[0]


@pytest.mark.parametrize("way", ["../outside.fits", "{parent}/outside.fits", "link.fits"])
def test_the_paths_of_a_table_do_not_leave_its_folder(way, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "outside.fits").touch()
    (folder / "link.fits").symlink_to(tmp_path / "outside.fits")
    way = way.format(parent=tmp_path)
    Table({"file": [way], "z_spec": [0.1], "ebv": [0.0]}).write(folder / "galaxies.ecsv")
    with pytest.raises(ValueError, match="lies outside the table's folder"):
        Cutouts(folder / "galaxies.ecsv")


def test_the_rendered_catalogue_is_read_from_its_file(tmp_path):
    drawn = load_galaxies(6, cache=tmp_path, workers=1, progress=False)
    reader = Rendered(6, cache=tmp_path)
    assert len(reader) == 6
    twin = pickle.loads(pickle.dumps(reader))
    for index in range(6):
        for galaxy in (reader[index], twin[index]):
            assert torch.equal(galaxy.image, drawn.image[index])
            assert galaxy.ebv == drawn.ebv[index]
            assert galaxy.z_spec == drawn.z_spec[index]
            assert galaxy.id == str(int(drawn.row[index]))
    spectra = reader.spectra(torch.tensor([4, 1]))
    assert torch.equal(spectra.flux, drawn.spectrum[[4, 1]])
    assert torch.equal(spectra.z, drawn.z_spec[[4, 1]])


@pytest.mark.slow
def test_the_rendered_galaxies_have_a_residual_each(tmp_path):
    bins = RedshiftBins.uniform(0.0, 0.4, 20)
    load_galaxies(10, cache=tmp_path, workers=1, progress=False)
    data = prepare(Config(galaxies=10, gamma_flux=0.1), bins, cache=tmp_path)
    assert [len(part) for part in data] == [7, 1, 2]
    assert len({part.reader.ids[row] for part in data for row in part.rows}) == 10
    item = data.train[3]
    assert (item["band_weight"] == 1).all()  # kcorrect's spectra cover every band at every bin
    truth = bins.index(item["z_spec"])
    assert item["residual"][truth].abs().max() < 0.05
    assert "residual" not in data.test[0]


def test_spectra_join_by_plate_mjd_and_fiber(npz):
    names = ["spec-0266-51630-0027.fits", "spec-0300-51630-0640.fits"]
    wavelength = torch.linspace(3000.0, 9000.0, 601)
    flux = torch.stack([wavelength**-2, wavelength**-1])
    spectra = Spectra(wavelength, flux, torch.ones_like(flux), torch.tensor(Z[[1, 3]]), flux > 0)
    box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    photometry = SyntheticPhotometry(box, wavelength)
    table = FluxTable.build(spectra, bins, photometry, object_ids=names, progress=False)
    items = Items(Pasquet(npz), torch.tensor([3, 0, 1]), table)
    assert [item["id"] for item in items] == [IDS[3], IDS[0], IDS[1]]
    for item, row in zip(items, [1, None, 0], strict=True):
        if row is None:
            assert not item["band_weight"].any()
        else:
            residual, band_weight = table[row]
            assert torch.equal(item["residual"], residual)
            assert torch.equal(item["band_weight"], band_weight)
            assert band_weight.all()
    with pytest.raises(ValueError, match="none of 2 galaxies is in the table"):
        Items(Pasquet(npz), torch.tensor([0, 2]), table)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("spec-0266-51630-0001.fits", "266-51630-1"),
        ("266-51630-1", "266-51630-1"),
        ("stamps/3.fits", "stamps/3.fits"),
        ("9783", "9783"),
    ],
)
def test_objects_are_known_by_their_numbers(name, key):
    assert sdss_id(name) == key


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(607_712, (466_170, 20_000, 121_542)), (9_783, (6_848, 978, 1_957)), (10, (7, 1, 2))],
)
def test_the_papers_split(n, sizes):
    """Appendix and section 4: a fifth to test with, 20,000 to validate where there are so many."""
    parts = split_rows(torch.randperm(n), test=0.2, validation=20_000)
    assert tuple(len(part) for part in parts) == sizes
    assert torch.equal(torch.cat(parts).sort()[0], torch.arange(n))


def test_galaxies_beyond_the_bins_are_left_out_and_counted(npz, capsys):
    bins = RedshiftBins.uniform(0.0, 0.3, 4)
    data = prepare(Config(data="pasquet", path=npz, test=0.34, validation=0), bins)
    assert sorted(torch.cat([part.rows for part in data]).tolist()) == [0, 1, 2]
    assert "1 of 4 galaxies lie beyond the bins" in capsys.readouterr().out
    with pytest.raises(ValueError, match="gamma_flux needs spectra"):
        prepare(Config(data="pasquet", path=npz, gamma_flux=0.1), bins)
    with pytest.raises(ValueError, match="data=hayat needs path"):
        prepare(Config(data="hayat"), bins)

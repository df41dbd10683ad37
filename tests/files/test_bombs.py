"""Small files that unfold to more memory than a machine has: refused before it is asked for."""

import copy
import tracemalloc
import zipfile
from io import BytesIO

import numpy as np
import pytest
from files.written import COARSE, PROBS

from photoz_losses.io import _formats, load_predictions

GALAXIES = 400_000  # 9.6 MB of zeros, which deflate makes 10 kB
REFUSED = r"arrays are to take \S+ bytes of memory, where .* may take \S+: .* without compression"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Bombs of a few megabytes, for a test to be quick."""
    monkeypatch.setattr(_formats, "SMALL", 2**16)


def zeros() -> bytes:
    """An npy file of float64 zeros, shape (GALAXIES, 3)."""
    head = BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (GALAXIES, 3)}
    np.lib.format.write_array_header_1_0(head, shape)
    return head.getvalue() + bytes(GALAXIES * 24)


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("bomb") / "predictions.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probs.npy", zeros())
        with archive.open("edges.npy", "w") as file:
            np.lib.format.write_array(file, COARSE.edges.numpy())
    assert path.stat().st_size < 24 * GALAXIES / _formats.INFLATION
    return path


def refused_unread(path):
    tracemalloc.start()
    with pytest.raises(ValueError, match=REFUSED):
        load_predictions(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2e6  # and not 9.6


def test_a_deflated_bomb_is_not_unfolded(npz):
    refused_unread(npz)


def test_members_that_share_one_bomb_are_counted_each(npz, tmp_path, monkeypatch):
    """Entries of the directory may point at the same bytes: what they declare is added up."""
    path = tmp_path / "predictions.npz"
    path.write_bytes(npz.read_bytes())
    monkeypatch.setattr(_formats, "SMALL", 10**7)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(2):
            again = copy.copy(archive.getinfo("probs.npy"))
            again.filename = f"{number}.npy"
            archive.filelist.append(again)
        archive._didModify = True
    refused_unread(path)


def test_an_hdf5_bomb_is_not_unfolded(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "predictions.h5"
    with h5py.File(path, "w") as file:
        file["edges"] = COARSE.edges.numpy()
        data = file.create_dataset(
            "probs", (GALAXIES, 3), "f8", chunks=(GALAXIES // 2, 3), compression="gzip"
        )
        data[...] = np.zeros((GALAXIES, 3))
    assert path.stat().st_size < 24 * GALAXIES / _formats.INFLATION
    refused_unread(path)


def test_one_hot_densities_may_be_compressed(tmp_path):
    path = tmp_path / "predictions.npz"
    rows = np.zeros((2_000, 180))
    rows[np.arange(len(rows)), np.random.default_rng(0).integers(180, size=len(rows))] = 1.0
    np.savez_compressed(path, probs=rows, edges=np.linspace(0, 0.4, 181))
    assert load_predictions(path).probs.shape == rows.shape


def test_what_is_not_compressed_may_have_any_size(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(path, probs=PROBS.numpy(), edges=COARSE.edges.numpy())
    assert len(load_predictions(path).probs) == len(PROBS)

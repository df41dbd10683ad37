"""Densities through files and through qp: what comes back, and what is refused."""

import errno
import os
import re
import subprocess
import sys
import zipfile
from enum import Enum, IntEnum
from io import BytesIO

import numpy as np
import pytest
import reference
import torch
from astropy import units
from astropy.table import Column
from hypothesis import given
from hypothesis import strategies as st
from strategies import graded, masses, redshift_bins

from photoz_losses import RedshiftBins
from photoz_losses.io import from_qp, load_predictions, save_predictions, to_qp

BINS = RedshiftBins([0.0, 0.1, 0.4, 1.0])
PROBS = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
SUFFIXES = [".h5", ".hdf5", ".npz"]


# qp ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qp():
    return pytest.importorskip("qp", reason="needs the extra qp")


@given(graded())
def test_qp_gives_the_pdf_and_the_cdf_of_the_bins(qp, case):
    bins, probs, z_spec = case
    ensemble = to_qp(probs, bins)
    assert ensemble.npdf == len(probs)
    grid = torch.cat([bins.centers, z_spec]).sort().values  # qp answers in rising order, always
    expected = [
        [reference.cdf(bins.edges.tolist(), row, z) for z in grid.tolist()]
        for row in probs.tolist()
    ]
    cdf = np.reshape(ensemble.cdf(grid.numpy()), (len(probs), -1))
    np.testing.assert_allclose(cdf, expected, rtol=0, atol=1e-12)
    density = np.reshape(ensemble.pdf(bins.centers.numpy()), probs.shape)
    np.testing.assert_allclose(density, bins.density(probs), rtol=1e-12)


def test_what_qp_got_may_be_changed(qp):
    bins = RedshiftBins([0.0, 0.1, 0.4])
    to_qp(torch.tensor([[0.5, 0.5]]), bins).metadata["bins"] *= 2
    assert bins.edges.tolist() == [0.0, 0.1, 0.4]


@given(st.data())
def test_there_and_back_keeps_every_mass(qp, data):
    bins = data.draw(redshift_bins())
    probs = data.draw(masses(len(bins)))
    torch.testing.assert_close(from_qp(to_qp(probs, bins), bins), probs, rtol=1e-14, atol=0)


@given(st.data())
def test_histograms_on_other_edges_give_the_cdf_there(qp, data):
    bins, other = data.draw(redshift_bins()), data.draw(redshift_bins())
    wide = RedshiftBins([-0.9, *other.edges.tolist(), 50.0])
    probs = data.draw(masses(len(bins)))
    taken = from_qp(to_qp(probs, bins), wide)
    below = taken.cumsum(-1)
    for row, expected in zip(below.tolist(), probs.tolist(), strict=True):
        at_edges = [reference.cdf(bins.edges.tolist(), expected, z) for z in wide.edges.tolist()]
        np.testing.assert_allclose(row, at_edges[1:], rtol=0, atol=1e-12)


def test_gaussians_give_the_differences_of_their_cdf(qp):
    loc, scale = np.array([[0.4], [0.5]]), np.array([[0.02], [0.05]])
    gaussians = qp.Ensemble(qp.stats.norm, data={"loc": loc, "scale": scale})
    from scipy import stats

    expected = np.diff(stats.norm.cdf(BINS.edges.numpy(), loc, scale), axis=-1)
    np.testing.assert_allclose(from_qp(gaussians, BINS), expected, rtol=0, atol=1e-15)


def test_mass_outside_the_bins_is_refused_with_its_size_unless_allowed(qp):
    gaussian = qp.Ensemble(
        qp.stats.norm, data={"loc": np.array([[0.1]]), "scale": np.array([[0.1]])}
    )
    with pytest.raises(ValueError, match=r"density 0 has 0\.159 of its mass outside .* \[0, 1\]"):
        from_qp(gaussian, BINS)
    kept = from_qp(gaussian, BINS, max_outside=0.2)
    torch.testing.assert_close(kept.sum(-1), torch.ones(1, dtype=torch.float64))
    far = qp.Ensemble(qp.stats.norm, data={"loc": np.array([[90.0]]), "scale": np.array([[0.1]])})
    with pytest.raises(ValueError, match="has 1 of its mass outside"):
        from_qp(far, BINS, max_outside=1.0)


def test_what_qp_can_not_take_or_give_is_refused(qp):
    with pytest.raises(ValueError, match="probs is empty"):
        to_qp(torch.empty(0, 3), BINS)
    with pytest.raises(ValueError, match=r"probs must have shape \(galaxies, bins\), got \(3,\)"):
        to_qp(PROBS[0], BINS)
    with pytest.raises(TypeError, match=r"ensemble must be a qp\.Ensemble, got Tensor"):
        from_qp(PROBS, BINS)
    with pytest.raises(ValueError, match=r"max_outside must lie in \[0, 1\], got 5"):
        from_qp(to_qp(PROBS, BINS), BINS, max_outside=5)

    class Falling:
        def cdf(self, z):
            return np.array([[0.0, 0.5, 0.4, 1.0]])

    with pytest.raises(ValueError, match="CDF of density 0 falls"):
        from_qp(Falling(), BINS)


@pytest.mark.parametrize(
    ("missing", "call", "extra"),
    [
        ("qp", lambda path: to_qp(PROBS, BINS), "qp"),
        ("h5py", lambda path: save_predictions(path, PROBS, BINS), "hdf5"),
    ],
    ids=["qp", "h5py"],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, missing, call, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=re.escape(f"pip install 'photoz-losses[{extra}]'")):
        call(tmp_path / "a.h5")


# Files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_file_gives_back_every_bit(tmp_path, suffix, dtype):
    path = tmp_path / f"predictions{suffix}"
    probs = torch.tensor([[0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]], dtype=dtype)
    z_spec = torch.tensor([0.1, torch.nan])
    save_predictions(path, probs, BINS, z_spec, ["a", "δ-b"], r=[17, 18], color=z_spec.double())
    found = load_predictions(path)
    assert torch.equal(found.probs, probs)
    assert found.probs.dtype == dtype
    assert torch.equal(found.bins.edges, BINS.edges)
    torch.testing.assert_close(found.z_spec, z_spec, rtol=0, atol=0, equal_nan=True)
    assert found.object_id.tolist() == ["a", "δ-b"]
    assert sorted(found.columns) == ["color", "r"]
    assert found.columns["r"].tolist() == [17, 18]
    assert found.columns["color"].dtype == torch.float64


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_not_given_is_not_there(tmp_path, suffix):
    path = tmp_path / f"predictions{suffix}"
    save_predictions(path, PROBS, BINS, object_id=torch.tensor([7, 2**62]))
    found = load_predictions(str(path))
    assert found.z_spec is None
    assert found.columns == {}
    assert found.object_id.tolist() == [7, 2**62]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bfloat16_comes_back_as_the_float32_masses_that_metrics_read(tmp_path, suffix):
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    logits = 3 * torch.randn(500, 180, generator=torch.Generator().manual_seed(0))
    probs = logits.softmax(-1).to(torch.bfloat16)
    assert (probs.float().sum(-1) - 1).abs().max() > 1e-3  # more than float32 is forgiven
    save_predictions(tmp_path / f"p{suffix}", probs, bins)
    found = load_predictions(tmp_path / f"p{suffix}").probs
    assert found.dtype == torch.float32
    total = probs.double().sum(-1, keepdim=True)
    torch.testing.assert_close(found.double(), probs.double() / total, rtol=1e-6, atol=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("older", [True, False])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path, monkeypatch, suffix, older
):
    path = tmp_path / f"p{suffix}"
    if older:
        save_predictions(path, PROBS, BINS)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_predictions(path, PROBS.flip(0), BINS)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [".h5", pytest.param(".npz", marks=pytest.mark.slow)])
def test_a_write_that_is_killed_leaves_the_older_file(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    save_predictions(path, PROBS, BINS)
    code = """
import os, signal, sys, torch
from photoz_losses import RedshiftBins
from photoz_losses.io import save_predictions
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
save_predictions(sys.argv[1], torch.full((9, 2), 0.5), RedshiftBins([0, 1, 2]))
"""
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True)
    assert run.returncode == -9, run.stderr
    assert torch.equal(load_predictions(path).probs, PROBS)
    assert [file.suffix for file in tmp_path.iterdir() if file != path] == [".part"]


def write(path, **arrays):
    """A file of another program."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_big_endian_arrays_of_other_programs_are_read(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    probs = PROBS.numpy().astype(">f8")
    write(
        path,
        probs=probs,
        edges=BINS.edges.numpy().astype(">f8"),
        z_spec=np.array([0.1, 0.2], ">f4"),
    )
    found = load_predictions(path)
    assert torch.equal(found.probs, PROBS)
    assert found.z_spec.dtype == torch.float32


GOOD = {"probs": PROBS.numpy(), "edges": BINS.edges.numpy()}


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"probs": None}, ValueError, r"lacks probs: it has edges, z; it must hold"),
        ({"probs": None, "edges": None}, ValueError, r"lacks probs and edges: it has z;"),
        ({"edges": [0.0, 0.1, 0.4]}, ValueError, r"probs must have shape \(\.\.\., 2\)"),
        ({"edges": [0.0, 0.4, 0.1, 1.0]}, ValueError, "edges must increase strictly"),
        ({"probs": [0.2, 0.3, 0.5]}, ValueError, r"probs must have shape \(galaxies, bins\)"),
        ({"probs": [[2.0, 3.0, 5.0]]}, ValueError, "probs must be masses per bin"),
        ({"probs": [[2, 3, 5]]}, ValueError, "probs must be a floating-point tensor"),
        ({"z_spec": [0.1]}, ValueError, r"z_spec must have shape \(2,\), as probs, got \(1,\)"),
        ({"id": [[1], [2]]}, ValueError, r"id must have shape \(2,\), as probs, got \(2, 1\)"),
        ({"name": [b"a", b"b"]}, ValueError, "name must be of numbers"),
    ],
)
def test_a_file_without_what_is_needed_says_what_it_lacks(tmp_path, suffix, change, error, says):
    path = tmp_path / f"other{suffix}"
    arrays = GOOD | {"z": np.zeros(2)} | change
    write(path, **{name: np.asarray(x) for name, x in arrays.items() if x is not None})
    with pytest.raises(error, match=f"other{suffix}.*{says}"):
        load_predictions(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_none_or_of_another_kind(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    with pytest.raises(FileNotFoundError, match=f"broken{suffix}"):
        load_predictions(path)
    path.write_text("probs, edges")
    with pytest.raises(ValueError, match=f"broken{suffix} is no (HDF5|npz) file"):
        load_predictions(path)


@pytest.mark.parametrize(
    ("name", "arguments", "columns", "says"),
    [
        ("p.fits", (PROBS, BINS), {}, r"must end in \.h5, \.hdf5 or \.npz, got p\.fits"),
        ("p.npz", (2 * PROBS, BINS), {}, "probs must be masses"),
        ("p.npz", (PROBS, BINS, torch.zeros(3)), {}, r"z_spec must have shape \(2,\)"),
        ("p.npz", (PROBS, BINS), {"id": [1, 2]}, "columns must have names of their own.*got .id"),
    ],
)
def test_what_can_not_be_read_is_not_written(tmp_path, name, arguments, columns, says):
    with pytest.raises(ValueError, match=says):
        save_predictions(tmp_path / name, *arguments, **columns)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mag/r", "", ".", "file", "allow_pickle"])
def test_a_column_that_a_format_would_lose_is_refused(tmp_path, name):
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    path = tmp_path / "predictions.h5"
    with pytest.raises(ValueError, match="columns must have names of their own"):
        save_predictions(path, torch.full((2, 4), 0.25), bins, **{name: torch.zeros(2)})
    assert not path.exists()


# Damaged and hostile files ----------------------------------------------------------------------


def hostile(kind, path):
    """An HDF5 file whose column `r` lies elsewhere, or not at all."""
    h5py = pytest.importorskip("h5py")
    write(path, **GOOD, z_spec=np.array([0.1, 0.2]))
    elsewhere = path.with_name("elsewhere.h5")
    write(elsewhere, secret=np.array([7.0, 8.0]))
    path.with_name("raw").write_bytes(np.array([7.0, 8.0]).tobytes())
    with h5py.File(path, "a") as file:
        if kind == "external link":
            file["r"] = h5py.ExternalLink("elsewhere.h5", "/secret")
        elif kind == "soft link":
            file["r"] = h5py.SoftLink("/z_spec")
        elif kind == "dangling link":
            file["r"] = h5py.SoftLink("/nothing")
        elif kind == "external storage":
            raw = [(str(path.with_name("raw")), 0, 16)]
            file.create_dataset("r", shape=(2,), dtype="f8", external=raw)
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
            layout[:] = h5py.VirtualSource(str(elsewhere), "secret", shape=(2,))
            file.create_virtual_dataset("r", layout)
        elif kind == "no chunk":
            file.create_dataset("r", shape=(2,), dtype="f8", chunks=(1,), compression="gzip")
            file["r"][0] = 17.0
        elif kind == "a size no machine holds":
            file.create_dataset("r", shape=(2**45,), dtype="f8")
        elif kind == "no shape":
            file["r"] = h5py.Empty("f8")
        else:
            file.create_dataset("r", data=[file.ref] * 2, dtype=h5py.ref_dtype)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("external link", r"r is a link into another file, elsewhere\.h5"),
        ("soft link", "r is a soft link, to /z_spec"),
        ("dangling link", "r is a soft link, to /nothing"),
        ("external storage", "r lies in another file, .*raw: copy it"),
        ("virtual", "r is a virtual dataset"),
        ("no chunk", "r was never written whole: the file has 1 of 2 chunks"),
        ("a size no machine holds", "r was never written whole: the file has 0 of"),
        ("no shape", "r has no shape"),
        ("references", "r must be of numbers, got Python objects"),
    ],
)
def test_hdf5_that_lies_elsewhere_is_refused_by_name(tmp_path, kind, says):
    path = tmp_path / "p.h5"
    hostile(kind, path)
    with pytest.raises(ValueError, match=rf"p\.h5.*{says}"):
        load_predictions(path)


def test_groups_are_passed_over(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "p.h5"
    save_predictions(path, PROBS, BINS)
    with h5py.File(path, "a") as file:
        file["provenance/r"] = [1.0, 2.0]
        file["loop"] = file["/"]
    assert load_predictions(path).columns == {}


def test_an_array_that_was_written_and_is_gone_is_missed(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "p.h5"
    save_predictions(path, PROBS, BINS, r=[17.0, 18.0], i=[16.0, 17.0])
    with h5py.File(path, "a") as file:
        del file["r"], file["i"]
    with pytest.raises(ValueError, match=r"p\.h5.*r, i was written and is not there"):
        load_predictions(path)


@pytest.mark.parametrize("names", ["3", '{"probs": 1}', "[1]"])
def test_a_list_of_arrays_that_is_none_is_refused(tmp_path, names):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "p.h5"
    save_predictions(path, PROBS, BINS)
    with h5py.File(path, "a") as file:
        file.attrs["arrays"] = np.bytes_(names)
    with pytest.raises(ValueError, match=r"p\.h5.*its attribute arrays is no list of names"):
        load_predictions(path)


def meddled(path, change):
    """A file of ours with `change` made to it by another program."""
    h5py = pytest.importorskip("h5py")
    save_predictions(path, PROBS, BINS, torch.tensor([0.1, 0.2]), ["a", "δ"])
    with h5py.File(path, "a") as file:
        change(file)
    return path


def without_sum(file):
    del file["z_spec"].attrs["sha256"]
    file["z_spec"][0] = 0.333


def without_sum_or_names(file):
    del file.attrs["arrays"]
    without_sum(file)


def without_names(file):
    del file.attrs["arrays"]


def with_sum_of_variable_length(file):
    file["z_spec"].attrs["sha256"] = file["z_spec"].attrs["sha256"].decode()


def with_names_of_variable_length(file):
    file.attrs["arrays"] = file.attrs["arrays"].decode()


def with_text_of_variable_length(file):
    del file["id"]
    file["id"] = ["a", "δ"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_sum, "z_spec is not what was written, by its checksum"),
        (without_sum_or_names, "/ has no attribute arrays of fixed length"),
        (without_names, "/ has no attribute arrays of fixed length"),
        (with_sum_of_variable_length, "z_spec has no attribute sha256 of fixed length"),
        (with_names_of_variable_length, "/ has no attribute arrays of fixed length"),
        (with_text_of_variable_length, "id has entries of variable length"),
    ],
)
def test_a_file_of_ours_without_what_ours_have_is_refused(tmp_path, change, says):
    path = meddled(tmp_path / "p.h5", change)
    with pytest.raises(ValueError, match=rf"p\.h5.*{says}"):
        load_predictions(path)


def test_text_of_variable_length_of_other_programs_is_read(tmp_path):
    path = tmp_path / "p.h5"
    write(path, **GOOD, id=["a", "δ"])
    assert load_predictions(path).object_id.tolist() == ["a", "δ"]


def test_our_hdf5_has_no_heap_and_checksums_of_its_structure(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "p.h5"
    save_predictions(path, PROBS, BINS, torch.tensor([0.1, 0.2]), ["a", "δ"], r=[17, 18])
    content = path.read_bytes()
    assert b"GCOL" not in content  # where HDF5 keeps strings of variable length, unchecked
    assert b"OHDR" in content  # an object header of version 2
    assert content[8] == 2  # version of the superblock, the first that has a checksum


def member(array):
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(array))
    return file.getvalue()


class Pickled:
    opened = False

    def __reduce__(self):
        return setattr, (Pickled, "opened", True)


def objects():
    file = BytesIO()
    np.lib.format.write_array(file, np.array([Pickled(), Pickled()], dtype=object))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "compression", "says"),
    [
        ("r.npy", objects(), zipfile.ZIP_STORED, "r: Object arrays cannot be loaded"),
        ("r.npy", b"\x80\x04.", zipfile.ZIP_STORED, "r: "),
        ("readme.txt", b"read me", zipfile.ZIP_STORED, "readme.txt: "),
        ("r.npy", member([1.0, 2.0])[:-8], zipfile.ZIP_STORED, "r: it is shorter than its"),
        ("r.npy", member([1.0, 2.0]) + b"more", zipfile.ZIP_STORED, "r: it is longer than its"),
        ("r.npy", member([1.0, 2.0]), zipfile.ZIP_BZIP2, "r.npy is compressed as NumPy does not"),
        ("probs", member(GOOD["probs"]), zipfile.ZIP_STORED, "it holds probs twice"),
        ("r.npy", member([1.0] * 2).replace(b"(2,), }", b"(2_0,)}"), zipfile.ZIP_STORED, "r: "),
        (
            "r.npy",
            member(np.zeros(8)).replace(b"(8,), }            ", b"(1125899906842624,)}"),
            zipfile.ZIP_STORED,
            "r: it is shorter than its shape",
        ),
    ],
)
def test_an_odd_member_of_an_npz_is_refused_by_name(tmp_path, name, content, compression, says):
    path = tmp_path / "p.npz"
    write(path, **GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content, compression)
    with pytest.raises(ValueError, match=rf"p\.npz is no npz file of whole.*{says}"):
        load_predictions(path)
    assert not Pickled.opened


def damaged(content, number, seed=0):
    """Cut short, or with one to three bits the other way round: half of them each."""
    random = np.random.default_rng(seed)
    for turn in range(number):
        if turn % 2:
            yield content[: random.integers(len(content))]
            continue
        changed = bytearray(content)
        for at in random.integers(len(content), size=random.integers(1, 4)):
            changed[at] ^= 1 << int(random.integers(8))
        yield bytes(changed)


def found_or_refused(path, content):
    """The predictions, or what the ValueError says; any other exception is a failure."""
    path.write_bytes(content)
    try:
        return load_predictions(path)
    except ValueError as error:
        return str(error)


def same(found, expected):
    return (
        torch.equal(found.probs, expected.probs)
        and torch.equal(found.bins.edges, expected.bins.edges)
        and torch.equal(found.z_spec, expected.z_spec)
        and np.array_equal(found.object_id, expected.object_id)
        and found.columns.keys() == expected.columns.keys()
        and all(torch.equal(found.columns[name], x) for name, x in expected.columns.items())
    )


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_npz_is_an_error_or_the_very_same_data(tmp_path, packed):
    path = tmp_path / "p.npz"
    columns = {"z_spec": np.array([0.1, 0.2]), "id": np.array(["a", "δ"]), "r": np.array([17, 18])}
    (np.savez_compressed if packed else np.savez)(path, **GOOD, **columns)
    expected, refused = load_predictions(path), 0
    for content in damaged(path.read_bytes(), 200):
        found = found_or_refused(path, content)
        if isinstance(found, str):
            assert str(path) in found
            refused += 1
        else:
            assert same(found, expected)
    assert refused > 100  # every one that is cut short, and some


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_hdf5_is_an_error_or_passes_every_check(tmp_path, packed):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "p.h5"
    save_predictions(path, PROBS, BINS, torch.tensor([0.1, 0.2]), ["a", "δ"], r=[17, 18])
    if packed:
        with h5py.File(path, "w") as file:
            for name, array in {**GOOD, "z_spec": np.array([0.1, 0.2])}.items():
                chunk = array.shape if array.ndim == 1 else (1, 3)
                file.create_dataset(
                    name, data=array, chunks=chunk, compression="gzip", fletcher32=True
                )
    refused = 0
    for content in damaged(path.read_bytes(), 200):
        found = found_or_refused(path, content)
        if isinstance(found, str):
            assert str(path) in found
            refused += 1
        else:
            found.bins.read_probs(found.probs)
            for array in (found.z_spec, *found.columns.values()):
                assert array is None or array.shape == found.probs.shape[:1]
    assert refused > 100


Survey = Enum("Survey", {"SDSS": "sdss", "LEGACY": "legacy"}, type=str)  # str(): Survey.SDSS
Number = IntEnum("Number", ["ONE"])


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (np.array(["a", "δ"], dtype=object), ["a", "δ"]),  # pandas' text
        (np.array([7, 8], dtype=object), [7, 8]),
        (["a", 1], ["a", "1"]),
        ([Survey.SDSS, Survey.LEGACY], ["sdss", "legacy"]),
        (np.array([Survey.SDSS, 2**63], dtype=object), ["sdss", str(2**63)]),
        ([np.str_("a"), np.int64(-1)], ["a", "-1"]),
        ([Number.ONE, np.uint8(2)], [1, 2]),
        ([2**63, 1], [2**63, 1]),
        ((2**64 - 1, np.int64(2**62 + 1)), [2**64 - 1, 2**62 + 1]),
        (np.array([2**64 - 1, 1], dtype=np.uint64), [2**64 - 1, 1]),
    ],
)
def test_ids_are_kept_as_text_or_integers(tmp_path, ids, kept):
    path = tmp_path / "predictions.npz"
    save_predictions(path, PROBS, BINS, object_id=ids)
    assert load_predictions(path).object_id.tolist() == kept


@pytest.mark.parametrize(
    "kind", [Column, units.Quantity, lambda *a, **b: [*units.Quantity(*a, **b)]]
)
def test_what_has_a_dimensionless_unit_is_kept_as_a_number(tmp_path, kind):
    path = tmp_path / "predictions.npz"
    ids = units.Quantity([7, 2**62], dtype=int)
    z_spec, share = kind([10.0, 20.0], unit="percent"), kind([0.5, 1.0], unit="")
    save_predictions(path, PROBS, BINS, z_spec, ids, share=share)
    found = load_predictions(path)
    assert found.z_spec.tolist() == [0.1, 0.2]
    assert found.columns["share"].tolist() == [0.5, 1.0]
    assert found.object_id.tolist() == [7, 2**62]


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize(
    ("dtype", "number"),
    [(torch.uint16, 2**16 - 1), (torch.uint32, 2**24 + 1), (torch.uint64, 2**63 + 1)],
    ids=str,
)
def test_unsigned_tensors_keep_every_digit(tmp_path, suffix, dtype, number):
    path, pixels = tmp_path / f"predictions{suffix}", torch.tensor([1, number], dtype=dtype)
    save_predictions(path, PROBS, BINS, object_id=pixels, pixel=pixels)
    found = load_predictions(path)
    assert found.columns["pixel"].tolist() == found.object_id.tolist() == [1, number]


def test_a_view_that_torch_has_not_negated_yet_is_read(tmp_path):
    z_spec = torch.tensor([-0.1j, -0.2j], dtype=torch.complex128).conj().imag
    assert z_spec.is_neg()
    save_predictions(tmp_path / "predictions.npz", PROBS, BINS, z_spec)
    assert load_predictions(tmp_path / "predictions.npz").z_spec.tolist() == [0.1, 0.2]


def test_lists_of_tensors_of_any_kind_are_read(tmp_path):
    r = [torch.tensor(17.25, requires_grad=True), torch.tensor(17.5, dtype=torch.bfloat16)]
    ids = [torch.tensor(2**60 + 1), torch.tensor(3)]
    save_predictions(tmp_path / "predictions.npz", PROBS, BINS, object_id=ids, r=r)
    found = load_predictions(tmp_path / "predictions.npz")
    assert found.columns["r"].tolist() == [17.25, 17.5]
    assert found.object_id.tolist() == [2**60 + 1, 3]


def test_what_a_file_would_lose_is_refused(tmp_path):
    bins, probs = RedshiftBins.uniform(0.0, 0.4, 4), torch.full((2, 4), 0.25)
    path = tmp_path / "predictions.npz"
    with pytest.raises(TypeError, match=r"must have no mask, got MaskedArray: .* \w+\.filled"):
        save_predictions(path, probs, bins, r=np.ma.masked_array([17.0, 18.0], [True, False]))
    with pytest.raises(ValueError, match="without slash or NUL"):
        save_predictions(path, probs, bins, **{"a\0b": [1.0, 2.0]})
    with pytest.raises(TypeError, match=r"object_id must be text or integers, got 1\.0"):
        save_predictions(path, probs, bins, object_id=[1.0, float("nan")])
    assert not path.exists()


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"object_id": ["a\0", "b"]}, ValueError, "object_id must be text of UTF-8 without NUL"),
        ({"object_id": [2**63, -1]}, TypeError, "object_id must fit one type of integers"),
        ({"object_id": ["\ud800", "b"]}, ValueError, "object_id must be text of UTF-8"),
        ({"object_id": [[1], [1, 2]]}, ValueError, "rows of unequal lengths"),
        ({"r": [[1], [1, 2]]}, ValueError, "rows of unequal lengths"),
        (
            {"r": [2**63 + 1, -1]},
            ValueError,
            "of one type that holds them, got 9223372036854775809",
        ),
        ({"r": [torch.tensor(2**53 + 1), torch.tensor(0.5)]}, ValueError, "got 9007199254740993"),
        ({"r": torch.ones(2).to_sparse()}, TypeError, r"call r\.to_dense\(\)"),
        ({"r" * 70000: [1, 2]}, ValueError, "columns must have names of their own"),
        ({"\ud800": [1, 2]}, ValueError, "columns must have names of their own"),
    ],
)
def test_what_a_file_would_not_keep_is_refused(tmp_path, suffix, options, error, says):
    with pytest.raises(error, match=says):
        save_predictions(tmp_path / f"p{suffix}", PROBS, BINS, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [5, None])
def test_a_path_that_is_none_is_named(path):
    for call in (lambda: load_predictions(path), lambda: save_predictions(path, PROBS, BINS)):
        with pytest.raises(TypeError, match="path must be a str or a Path"):
            call()


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_who_may_read_the_file_of_before_may_read_the_new_one(tmp_path, suffix):
    path = tmp_path / f"predictions{suffix}"
    for _ in range(2):
        save_predictions(path, PROBS, BINS)
        path.chmod(0o600)
    save_predictions(path, PROBS, BINS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_disk_without_modes_keeps_predictions(tmp_path, monkeypatch):
    def chmod(*arguments, **options):
        raise PermissionError(errno.EPERM, "no modes")

    monkeypatch.setattr(os, "chmod", chmod)
    for _ in range(2):
        save_predictions(tmp_path / "predictions.npz", PROBS, BINS)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: '\S+/none'"):
        save_predictions(tmp_path / "none/predictions.npz", PROBS, BINS)

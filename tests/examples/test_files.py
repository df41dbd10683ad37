"""Damaged and hostile files before the examples' readers, checkpoints, runs and configurations."""

import pickle
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import checkpoints
import galaxies
import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import Cutouts, Hayat, Pasquet, Rendered
from study import work

FEW = settings(max_examples=20)
IMAGES = np.random.default_rng(0).normal(size=(2, 5, 8, 8)).astype(np.float32)
LABELS = np.rec.fromarrays(
    [[0.1, 0.2], [0.01] * 2, [1, 2], [3, 4], [5, 6]], names="z,EBV,plate,mjd,fiberid"
)
STATE = {"weights": {"w": torch.arange(6.0).reshape(2, 3)}, "step": 7, "name": "run"}


def write_pasquet(folder: Path) -> Path:
    np.savez(folder / "sdss.npz", cube=IMAGES.transpose(0, 2, 3, 1), labels=LABELS)
    return folder / "sdss.npz"


def write_hayat(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=True, fletcher32=True)
        for name in ("e_bv", "specz_redshift"):
            file.create_dataset(name, data=LABELS["z"], chunks=True, fletcher32=True)
    return folder / "a.h5"


def write_cutouts(folder: Path) -> Path:
    for number, image in enumerate(IMAGES):
        fits.PrimaryHDU(image).writeto(folder / f"{number}.fits", checksum=True)
    (folder / "table.csv").write_text("file,z_spec,ebv\n0.fits,0.1,0.01\n1.fits,0.2,0.02\n")
    return folder / "0.fits"


def write_checkpoint(folder: Path) -> Path:
    checkpoints.save(STATE, folder / checkpoints.LAST)
    return folder / checkpoints.LAST


def write_run(folder: Path) -> Path:
    work.write(
        folder / "run.json", {"crps": 0.1 + 0.2, "steps": [1, 2], "made_by": {2: "b", 10: "a"}}
    )
    return folder / "run.json"


def write_cache(folder: Path) -> Path:
    path = galaxies.cache_path(2, 0, folder)
    rows = torch.from_numpy(IMAGES).flatten(1)
    columns = {name: rows[:, k].clone() for k, name in enumerate(galaxies.ARRAYS)}
    more = {"image": torch.from_numpy(IMAGES), "spectrum": rows, "row": torch.arange(2)}
    more |= {"wavelength": torch.arange(1.0, 1 + rows.shape[1])}
    galaxies.write(path, galaxies.Galaxies(**columns | more))
    return path


def rendered(path: Path) -> list:
    reader = Rendered(2, cache=path.parent)
    spectra = reader.spectra(torch.arange(2))
    return [*items(reader), spectra.flux.tolist(), spectra.wavelength.tolist()]


def items(reader) -> list:
    return [
        (g.image.tolist(), g.ebv.item(), g.z_spec.item(), g.id)
        for g in map(reader.__getitem__, range(2))
    ]


FILES = {
    "pasquet": (write_pasquet, lambda path: items(Pasquet(path))),
    "hayat": (write_hayat, lambda path: items(Hayat(path, side=8))),
    "cutouts": (write_cutouts, lambda path: items(Cutouts(path.with_name("table.csv"), side=8))),
    "rendered": (write_cache, rendered),
    "cache": (write_cache, lambda path: [x.tolist() for x in vars(galaxies.read(path)).values()]),
    "checkpoint": (write_checkpoint, lambda path: str(checkpoints.load(path))),
    "run": (write_run, work.read),
}
UNSUMMED = ("pasquet", "hayat")  # where a bit that no checksum holds may be another: documented


@pytest.fixture(scope="module", params=FILES)
def finished(request, tmp_path_factory):
    write, read = FILES[request.param]
    path = write(tmp_path_factory.mktemp("finished"))
    return request.param, path, read, read(path), path.read_bytes()


def read_or_refused(read, path: Path):
    """What is read, or None where a ValueError names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's, of cards that it mends
        try:
            return read(path)
        except ValueError as error:
            return None if str(path) in str(error) else error


@FEW
@given(data=st.data())
def test_a_file_that_was_cut_short_is_refused(finished, data):
    _, path, read, expected, content = finished
    length = data.draw(st.integers(0, len(content) - 2))  # JSON's last byte is the end of a line
    try:
        path.write_bytes(content[:length])
        assert read_or_refused(read, path) is None
    finally:
        path.write_bytes(content)
    assert read(path) == expected


@FEW
@given(data=st.data())
def test_a_single_bit_that_is_another_is_refused_or_changes_nothing(finished, data):
    name, path, read, expected, content = finished
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        path.write_bytes(changed)
        found = read_or_refused(read, path)
        if name == "run" and found is not None:  # of the checksum's own name a bit may be another
            found = {key: found[key] for key in expected}
        assert found is None or found == expected or (name in UNSUMMED and isinstance(found, list))
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("place", ["labels", "images"])
def test_what_has_a_checksum_is_compared_with_it(tmp_path, place):
    write, read = FILES["pasquet" if place == "labels" else "hayat"]
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    known = LABELS.tobytes() if place == "labels" else IMAGES[0, :2, 0, :2].tobytes()[:8]
    content[content.index(known) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} is damaged"):
        read(path)


def test_a_card_whose_quote_is_another_character_is_refused(tmp_path):
    """astropy's own error for it is no ValueError."""
    write, read = FILES["cutouts"]
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    opened = content.index(b"'", content.index(b"DATASUM ="))
    content[content.index(b"'", opened + 1)] ^= 0x80
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            read(path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "rendered"])  # is drawn
def test_what_is_not_there_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        FILES[name][1](tmp_path / "none.npz")


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def payload(tmp_path):
    yield Payload(tmp_path / "marker")
    assert not (tmp_path / "marker").exists()


def test_a_checkpoint_with_a_pickle(tmp_path, payload):
    torch.save(STATE | {"more": payload}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(payload))
    torch.save(payload, tmp_path / "c.ckpt", _use_new_zipfile_serialization=False)
    for name in "abc":
        with pytest.raises(ValueError, match=rf"{name}\.ckpt is damaged, or no checkpoint"):
            checkpoints.load(tmp_path / f"{name}.ckpt")
        with pytest.raises(ValueError, match=rf"{name}\.ckpt is damaged, or no checkpoint"):
            checkpoints.AtomicFiles().load_checkpoint(tmp_path / f"{name}.ckpt")


def test_data_with_a_pickle(tmp_path, payload):
    file = BytesIO()
    np.lib.format.write_array(file, np.array([payload] * 2, dtype=object))
    for name in ("cube.npy", "labels.npy"):
        path = write_pasquet(tmp_path)
        with zipfile.ZipFile(path) as archive:
            kept = {other: archive.read(other) for other in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for other, content in (kept | {name: file.getvalue()}).items():
                archive.writestr(other, content)
        with pytest.raises(ValueError, match=r"sdss\.npz: .* Python objects, which are not unp"):
            Pasquet(path)
    path = write_hayat(tmp_path)
    with h5py.File(path, "a") as h5:
        del h5["e_bv"]
        h5["e_bv"] = np.array([pickle.dumps(payload)] * 2)
    with pytest.raises(ValueError, match=r"a\.h5: e_bv must be of numbers"):
        Hayat(path, side=8)
    write_cutouts(tmp_path).write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=r"0\.fits"):
        Cutouts(tmp_path / "table.csv", side=8)[0]
    (tmp_path / "run.json").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        work.read(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr: !!python/object/apply:os.system ['touch {marker}']", "no YAML of plain values"),
        ("!!python/object/new:os.system ['touch {marker}']", "no YAML of plain values"),
        ("lr: [1", "no YAML of plain values"),
        ("- lr", "must hold lines 'name: value', got a list"),
        ("lr: {{a: 1}}", "lr must be one value, got a dict"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nlr: [*b, *b]", "a must be one value, got a list"),
        ("_" * 9 + ": 1", "unknown option"),
    ],
)
def test_a_configuration_holds_plain_values(tmp_path, payload, text, says):
    path = tmp_path / "run.yaml"
    path.write_text(text.format(marker=payload.marker))
    with pytest.raises(ValueError, match=says):
        Config.read(path)


@pytest.mark.parametrize("read", ["rendered", "cache"])
@pytest.mark.parametrize("name", ["image", "z_spec"])
def test_a_bit_of_a_cached_array_that_is_another_is_noticed(tmp_path, read, name):
    path = write_cache(tmp_path)
    with h5py.File(path) as file:
        place = file[name].id.get_offset()
    content = bytearray(path.read_bytes())
    content[place + 3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged .*checksum.*: delete it, to have it"):
        FILES[read][1](path)


@pytest.mark.parametrize("read", ["rendered", "cache"])
def test_a_cache_without_a_checksum_is_refused(tmp_path, read):
    path = write_cache(tmp_path)
    with h5py.File(path, "a") as file:
        del file.attrs["sha256"]
    with pytest.raises(ValueError, match=f"{path} is damaged .*no attribute sha256.*: delete it"):
        FILES[read][1](path)


def put(file: h5py.File, name: str, kind: str, other: Path) -> None:
    """Something that is no array of numbers within the file, in one piece."""
    if kind == "external":
        file[name] = h5py.ExternalLink(other.name, "/secret")
    elif kind == "soft":
        file[name] = h5py.SoftLink("/specz_redshift")
    elif kind == "storage":
        raw = [(str(other), 0, 16)]
        file.create_dataset(name, shape=(2,), dtype="f8", external=raw)
    elif kind == "virtual":
        layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
        layout[:] = h5py.VirtualSource(str(other), "secret", shape=(2,))
        file.create_virtual_dataset(name, layout)
    elif kind == "group":
        file.create_group(name)
    elif kind == "chunks":
        file.create_dataset(name, data=np.zeros(2), chunks=(1,))
    elif kind == "pickle":
        file[name] = np.array([pickle.dumps(STATE)] * 2)
    else:
        file.create_dataset(name, shape=(2, 2**40), dtype="f4")  # never written


def replace(path, name, kind):
    """Put in the place of an array what lies elsewhere, or is none."""
    secret = path.with_name("other.h5")
    with h5py.File(secret, "w") as other:
        other["secret"] = LABELS["z"]
    with h5py.File(path, "a") as file:
        del file[name]
        put(file, name, kind, secret)


HOSTILE = ["external", "soft", "storage", "virtual", "group"]


@pytest.mark.parametrize("read", ["rendered", "cache"])
@pytest.mark.parametrize("kind", [*HOSTILE, "chunks", "pickle", "vast"])
def test_a_cache_of_something_else_is_refused(tmp_path, kind, read):
    path = write_cache(tmp_path)
    replace(path, "ebv", kind)
    says = "is no array" if kind in ("external", "soft", "group") else "does not lie in|must be of"
    with pytest.raises(ValueError, match=f"{path} is damaged .ebv ({says})"):
        FILES[read][1](path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hdf5_that_lies_elsewhere_is_refused(tmp_path, kind):
    path = write_hayat(tmp_path)
    replace(path, "e_bv", kind)
    with pytest.raises(ValueError, match=r"a\.h5: e_bv is no array of this file"):
        Hayat(path, side=8)


@pytest.mark.parametrize("write", [write_checkpoint, write_run])
def test_a_full_disk_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch, write):
    path = write(tmp_path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_a_path_out_of_the_tables_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    write_cutouts(tmp_path)
    (tmp_path / "in" / "link.fits").symlink_to(tmp_path / "0.fits")
    for name in ("../0.fits", str(tmp_path / "0.fits"), "link.fits"):
        (tmp_path / "in" / "table.csv").write_text(f"file,z_spec,ebv\n{name},0.1,0.01\n")
        with pytest.raises(ValueError, match="lies outside the table's folder"):
            Cutouts(tmp_path / "in" / "table.csv", side=8)
    with pytest.raises(ValueError, match=r"must end in \.csv, \.ecsv, \.fits"):
        Cutouts(tmp_path / "in" / "table.pickle")

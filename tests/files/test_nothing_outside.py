"""Paths in a file, and links in a folder, lead nowhere else; no size is believed unseen."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from files.written import NPZ, SPECTRA, TABLE, build

from photoz_losses.photometry import FluxTable
from photoz_losses.photometry._header import sealed


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in" / TABLE.name
    build(path)
    return path


@pytest.mark.parametrize("name", ["../../evil.npy", "/tmp/evil.npy", "a/../../evil.npy"])
def test_members_of_a_zip_name_no_file(tmp_path, name):
    """They are names of columns, and nothing is ever written by them."""
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    NPZ.make(folder / NPZ.name)
    with zipfile.ZipFile(folder / NPZ.name, "a") as archive, archive.open(name, "w") as file:
        np.lib.format.write_array(file, np.array([1.0, 2.0]))
    assert NPZ.read(folder / NPZ.name)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [NPZ.name]


@pytest.mark.parametrize(
    "what",
    ["residual/c/0/0/0", "residual/c", "residual/zarr.json", "residual", "zarr.json", "checksum"],
)
def test_links_in_a_table_are_not_followed(table, tmp_path, what):
    moved = tmp_path / "out" / what
    moved.parent.mkdir(parents=True)
    (table / what).rename(moved)
    (table / what).symlink_to(moved)
    for call in (FluxTable.load, build):
        with pytest.raises(ValueError, match=rf"{table}.* is a link, or behind one"):
            call(table)


def unfinished(folder):
    """A table whose build was stopped."""

    def stops():
        yield SPECTRA[:3]
        raise KeyboardInterrupt

    path = folder / TABLE.name
    with pytest.raises(KeyboardInterrupt):
        build(path, stops())
    return path


def test_links_in_an_unfinished_table_are_not_written_through(tmp_path):
    path = unfinished(tmp_path)
    (tmp_path / "out").mkdir()
    shutil.rmtree(path / "residual" / "c")
    (path / "residual" / "c").symlink_to(tmp_path / "out")
    with pytest.raises(ValueError, match="is a link, or behind one"):
        build(path)
    assert not list((tmp_path / "out").iterdir())


def test_a_table_may_itself_be_reached_by_a_link(table, tmp_path):
    (tmp_path / "link").symlink_to(table.parent)
    assert len(FluxTable.load(tmp_path / "link" / TABLE.name)) == len(SPECTRA)
    assert len(build(tmp_path / "link" / TABLE.name)) == len(SPECTRA)


def rewritten(table, **changes) -> None:
    """Another header with the right checksum: made to harm, not by accident."""
    document = json.loads((table / "zarr.json").read_text())
    document["attributes"] = sealed(document["attributes"] | changes)
    (table / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"galaxies": 10**12}, "2 of its 333333333334 chunks are there"),
        ({"galaxies": 10**15}, "describes no table"),
        ({"galaxies": -1}, "describes no table"),
        ({"galaxies": "5"}, "describes no table"),
        ({"chunk": 0}, "describes no table"),
        ({"chunk": 10**11, "galaxies": 5}, "is damaged"),
        ({"bins": "0123"}, "describes no table"),
        ({"bins": [0.0, 1e999]}, "describes no table"),
        ({"dtype": "object"}, "describes no table"),
        ({"options": []}, "describes no table"),
        ({"filters": {"names": ["../../u"]}}, "describes no table"),
        ({"format": 1}, "has format 1, this version reads 2: build the table again"),
    ],
)
def test_a_header_is_not_believed_even_with_its_checksum(table, changes, says):
    rewritten(table, **changes)
    with pytest.raises(ValueError, match=rf"{table}.*({says}|cannot be mapped)"):
        FluxTable.load(table)


def of_another_type(value, name=""):
    """What has not the type of this value of a header, or lacks or holds something that has not."""
    legal = {"min_snr": [0.5], "cosmology": ["x"], "edge": [5]}.get(name, [])
    for other in (None, True, 5, 0.5, "x", [], {}):
        if type(other) is not type(value) and other not in legal:
            yield other
    if isinstance(value, dict) and name != "versions":
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield from (value | {key: other} for other in of_another_type(value[key], key))
    if isinstance(value, list):
        entry = "" if name == "names" else "edge"
        yield from ([other, *value[1:]] for other in of_another_type(value[0], entry))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / TABLE.name
    build(path)
    return path, json.loads((path / "zarr.json").read_text())


FIELDS = ["bins", "filters", "wavelength", "denominator", "options", "dtype", "chunk", "versions",
          "created", "complete", "galaxies", "clamped", "array_digest", "data_digest"]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_a_header_has_its_type_or_is_refused(one, field):
    table, document = one
    header = document["attributes"]
    assert {*header} == {*FIELDS, "format", "digest"}
    headers = [header | {field: other} for other in of_another_type(header[field], field)]
    headers += [{name: header[name] for name in header if name != field}]
    for hostile in headers:
        (table / "zarr.json").write_text(json.dumps(document | {"attributes": sealed(hostile)}))
        for call in (FluxTable.load, build):
            with pytest.raises(ValueError, match=rf"{table} is damaged.*no table: {field} missing"):
                call(table)
    assert len(headers) > 5


@pytest.mark.parametrize("field", ["format", "chunk", "galaxies"])
def test_an_unfinished_table_is_held_to_the_types_too(tmp_path, field):
    path = unfinished(tmp_path)
    rewritten(path, **{field: 2.0})
    for call in (FluxTable.load, build):
        with pytest.raises(ValueError, match=rf"{path} is damaged.*no table: {field}"):
            call(path)


def test_a_name_of_a_filter_is_no_path(table):
    filters = json.loads((table / "zarr.json").read_text())["attributes"]["filters"]
    rewritten(table, filters=filters | {"names": ["../../../etc/passwd", "/dev/zero"]})
    before = sorted(table.parent.rglob("*"))
    assert FluxTable.load(table).filters.names == ("../../../etc/passwd", "/dev/zero")
    assert sorted(table.parent.rglob("*")) == before


def test_a_size_is_compared_with_the_file_before_memory_is_asked_for(tmp_path):
    NPZ.make(tmp_path / NPZ.name)
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,), }"
    text = header.ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)
    with zipfile.ZipFile(tmp_path / NPZ.name, "a") as archive:
        archive.writestr("q.npy", content)
    with pytest.raises(ValueError, match="q: it is shorter than its shape says"):
        NPZ.read(tmp_path / NPZ.name)

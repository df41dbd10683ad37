"""Files that were cut short, or of which one bit is another: noticed, or the very same data."""

import os
import shutil
import signal
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from files.written import (
    HDF5,
    NPZ,
    SDSS,
    SPECTRA,
    TABLE,
    build,
    read_sdss,
    read_table,
    same,
    write_sdss,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from photometry.galaxies import chunks, galaxies

from photoz_losses.photometry import FluxTable

ALL = [TABLE, NPZ, HDF5, SDSS]
MORE = galaxies(9)
FEW = settings(max_examples=25)
SECONDS = 10  # that a read may take: what is damaged may hang a library within C


@pytest.fixture(scope="module", params=ALL, ids=lambda one: one.name)
def finished(request, tmp_path_factory):
    """Something written, what it says, and the content of each of its files."""
    path = tmp_path_factory.mktemp("finished") / request.param.name
    request.param.make(path)
    files = {file: file.read_bytes() for file in request.param.files(path)}
    return request.param, path, request.param.read(path), files


def read_or_refused(one, path: Path):
    """What is read, or None where a ValueError names the file or its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's, of cards that it mends
        try:
            return one.read(path)
        except ValueError as error:
            return None if str(path) in str(error) else error


@FEW
@given(data=st.data())
def test_a_file_that_was_cut_short_is_refused(finished, data):
    one, path, expected, files = finished
    file = data.draw(st.sampled_from(sorted(files)))
    length = data.draw(st.integers(0, len(files[file]) - 1))
    try:
        file.write_bytes(files[file][:length])
        assert read_or_refused(one, path) is None
    finally:
        file.write_bytes(files[file])
    assert same(one.read(path), expected)


@FEW
@given(data=st.data())
def test_a_single_bit_that_is_another_is_refused_or_changes_nothing(finished, data):
    one, path, expected, files = finished
    file = data.draw(st.sampled_from(sorted(files)))
    bit = data.draw(st.integers(0, 8 * len(files[file]) - 1))
    content = bytearray(files[file])
    content[bit // 8] ^= 1 << bit % 8
    try:
        file.write_bytes(content)
        found = read_or_refused(one, path)
        assert found is None or same(found, expected)
    finally:
        file.write_bytes(files[file])


def flip_each(one, path: Path, expected, file: Path, before: bytes, log: Path) -> None:
    """Read the file with each of its bits another: one line of the log for each, by what came."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with log.open("w") as lines:
        for bit in range(0, 8 * len(before), 1 if len(before) < 3000 else 101):
            content = bytearray(before)
            content[bit // 8] ^= 1 << bit % 8
            file.write_bytes(content)
            lines.write(f"{bit} ")
            lines.flush()  # the last line says where it ended
            signal.alarm(SECONDS)
            found = read_or_refused(one, path)
            what = "same" if same(found, expected) else repr(found)[:200]
            lines.write(f"{'noticed' if found is None else what}\n")


@pytest.mark.slow
def test_every_single_bit_of_a_file_is_refused_or_changes_nothing(finished, tmp_path):
    one, path, expected, files = finished
    noticed, tried = 0, 0
    for file, before in files.items():
        child = os.fork()  # an alarm ends it where a read hangs or breaks down
        if not child:
            try:
                flip_each(one, path, expected, file, before, tmp_path / "log")
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        file.write_bytes(before)
        lines = (tmp_path / "log").read_text().splitlines()
        assert status == 0, (file, lines[-1:])
        assert [x for x in lines if x.split(" ", 1)[1] not in ("noticed", "same")] == [], file
        noticed += sum(line.endswith("noticed") for line in lines)
        tried += len(lines)
    assert noticed > tried / 2  # the others are padding, or names that nobody reads


@pytest.mark.parametrize(
    "lost", ["residual/c/1/0/0", "z_spec/c/1", "input_digest/c/1/0", "checksum/c/1/0/0"]
)
@pytest.mark.parametrize("how", ["lost", "short", "flipped"])
def test_what_is_lost_of_a_finished_table_is_made_anew(tmp_path, lost, how):
    path = tmp_path / "t.zarr"
    build(path)
    expected = read_table(path)
    file = path / lost
    content = bytearray(file.read_bytes())
    if how == "flipped":
        content[len(content) // 3] ^= 8
    file.unlink() if how == "lost" else file.write_bytes(content[: -1 if how == "short" else None])
    with pytest.raises(ValueError, match=r"FluxTable\.build\(\.\.\., path=\.\.\.\) again"):
        read_table(path)
    other = path / "residual" / "c" / "0" / "0" / "0"
    before = other.stat().st_mtime_ns
    build(path)
    assert same(read_table(path), expected)
    assert other.stat().st_mtime_ns == before  # what is whole stays
    assert [item.name for item in tmp_path.iterdir()] == ["t.zarr"]


def stream_of(*numbers):
    return iter([MORE[: numbers[0]], *(MORE[a:b] for a, b in pairwise(numbers))])


OF_ANOTHER_LENGTH = {
    "stream": (lambda: stream_of(9), "6 in the table at .*, 9 or more given: give those"),
    "stream of parts": (lambda: stream_of(3, 6, 9), "9 or more given"),
    "one more": (lambda: stream_of(7), "7 given"),
    "one less": (lambda: stream_of(5), "5 given"),
    "a chunk less": (lambda: stream_of(3), "3 given"),
    "list": (lambda: [MORE[:9]], "6 in the table, 9 given"),
    "shorter list": (lambda: [MORE[:3]], "6 in the table, 3 given"),
}


@pytest.mark.parametrize("lost", ["residual/c/1/0/0", "input_digest/c/1/0", "input_digest/c/1"])
@pytest.mark.parametrize("name", OF_ANOTHER_LENGTH)
def test_a_damaged_table_is_mended_with_as_many_galaxies_as_it_had(tmp_path, name, lost):
    path, (source, says) = tmp_path / "t.zarr", OF_ANOTHER_LENGTH[name]
    build(path, MORE[:6])
    expected, files = read_table(path), chunks(path)
    shutil.rmtree(path / lost) if (path / lost).is_dir() else (path / lost).write_bytes(b"")
    for _ in range(2):  # the first may have taken the table up again, the second finds it so
        with pytest.raises(ValueError, match=f"galaxies: .*{says}"):
            build(path, source())
        assert chunks(path).keys() <= files.keys()
    build(path, MORE[:6])
    assert same(read_table(path), expected)
    assert chunks(path) == files


@pytest.mark.parametrize(("length", "others"), [(5, 4), (4, 5), (8, 7), (7, 8), (5, 6)])
def test_a_last_chunk_that_is_not_full_is_held_to_its_length_too(tmp_path, length, others):
    path = tmp_path / "t.zarr"
    build(path, MORE[:length])
    files = chunks(path)
    (path / "input_digest" / "c" / str((length - 1) // 3) / "0").unlink()
    with pytest.raises(
        ValueError, match=f"galaxies: {length} in the table .* {others} (or more )?given"
    ):
        build(path, stream_of(others))
    build(path, stream_of(length))
    assert chunks(path) == files


@pytest.mark.parametrize("source", [stream_of(9), [MORE[:9]]], ids=["stream", "list"])
def test_a_mend_that_was_stopped_goes_on_with_as_many_galaxies(tmp_path, source):
    def stops():
        yield MORE[:3]
        raise KeyboardInterrupt

    path = tmp_path / "t.zarr"
    build(path, MORE[:6])
    files = chunks(path)
    (path / "residual/c/1/0/0").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        build(path, stops())
    with pytest.raises(ValueError, match="galaxies: 6 in the table"):
        build(path, source)
    build(path, MORE[:6])
    assert chunks(path) == files


@pytest.mark.parametrize("stray", ["2", "02", "x", "700"])
def test_a_mark_beyond_a_finished_table_counts_as_no_chunk_of_it(tmp_path, stray):
    path = tmp_path / "t.zarr"
    build(path)
    expected = read_table(path)
    shutil.copytree(path / "input_digest/c/1", path / "input_digest/c" / stray)
    assert same(read_table(path), expected)
    (path / "residual/c/1/0/0").unlink()
    build(path)
    assert same(read_table(path), expected)


@pytest.mark.parametrize(
    "name", ["zarr.json", "residual/zarr.json", "checksum/zarr.json", "z_spec/c/0", ".zgroup"]
)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, name, damaged):
    path = tmp_path / "t.zarr"
    build(path)
    expected = read_table(path)
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    if damaged:
        (path / "residual/c/1/0/0").unlink()
    if name.endswith("zarr.json"):
        for call in (read_table, build):
            with pytest.raises(ValueError, match=rf"{path}.*no file .*{name}"):
                call(path)
    else:
        build(path)
        assert same(read_table(path), expected)


def test_a_chunk_of_an_unfinished_table_that_lost_a_file_is_made_anew(tmp_path):
    def stops():
        yield SPECTRA[:4]
        raise KeyboardInterrupt

    path = tmp_path / "t.zarr"
    with pytest.raises(KeyboardInterrupt):
        build(path, stops(), chunk=2)
    (path / "band_weight" / "c" / "1" / "0").unlink()
    build(path, chunk=2)
    build(tmp_path / "whole.zarr", chunk=2)
    assert same(read_table(path), read_table(tmp_path / "whole.zarr"))


def test_a_mapped_table_is_compared_with_its_checksums_where_it_is_looked_up(tmp_path):
    path = tmp_path / "t.zarr"
    build(path)
    file = path / "residual" / "c" / "1" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    table = FluxTable.load(path)
    assert table[0][0].shape == (7, 2)  # the other chunk is whole
    with pytest.raises(ValueError, match=r"residual/c/1/0/0 is not what was written"):
        table[4]


@pytest.mark.parametrize("how", ["lost", "short", "empty", "longer", "folder"])
def test_a_file_that_is_lost_after_the_table_was_opened_is_named(tmp_path, how):
    path = tmp_path / "t.zarr"
    build(path)
    table = FluxTable.load(path)
    table[0]
    file = path / "residual" / "c" / "1" / "0" / "0"
    content = file.read_bytes()
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how != "lost":
        file.write_bytes({"short": content[:-1], "empty": b"", "longer": content + b"0"}[how])
    says = rf"{file} is gone, or not of {len(content)} bytes any more.*call FluxTable\.build\("
    for look in (
        lambda: table[4],
        lambda: table[:],
        lambda: table.residual,
        lambda: table.to("cpu"),
    ):
        with pytest.raises(ValueError, match=says):
            look()
    assert table[0][0].shape == (7, 2)  # the other chunk is whole


def test_what_says_nothing_of_the_data_is_compared_too(tmp_path):
    build(tmp_path / "t.zarr")
    described = tmp_path / "t.zarr" / "residual" / "zarr.json"
    described.write_text(described.read_text().replace('"galaxy"', '"gal`xy"'))
    for call in (read_table, build):
        with pytest.raises(ValueError, match=r"a zarr\.json in it is not what was written: copy"):
            call(tmp_path / "t.zarr")


def test_a_table_whose_description_is_damaged_is_not_taken_up_again(tmp_path):
    path = tmp_path / "t.zarr"
    build(path)
    (path / "residual" / "zarr.json").unlink()
    for call in (read_table, build):
        with pytest.raises(ValueError, match=r"residual .*zarr\.json is missing .*delete"):
            call(path)


@pytest.mark.parametrize("card", ["DATASUM", "TTYPE1", "TFORM1"])
def test_a_card_whose_quote_is_another_character_is_refused(tmp_path, card):
    """astropy's own error for it is no ValueError."""
    path = tmp_path / "spec-1.fits"
    write_sdss(path, checksum=card == "DATASUM")
    content = bytearray(path.read_bytes())
    opened = content.index(b"'", content.index(f"{card:8}=".encode(), 2880))
    content[content.index(b"'", opened + 1)] ^= 0x80
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (read_sdss, lambda path: build(None, [path])):
            with pytest.raises(ValueError, match=rf"{path} is no whole SDSS spectrum"):
                read(path)


def test_sdss_files_without_checksums_are_read_where_a_flux_is_another(tmp_path):
    """What is not noticed, in SDSS's own files: documented, and held here."""
    write_sdss(tmp_path / "a.fits", checksum=False)
    before = read_sdss(tmp_path / "a.fits")
    content = bytearray((tmp_path / "a.fits").read_bytes())
    place = content.index(np.array(before[1][0, 3], ">f4").tobytes())
    content[place + 3] ^= 1
    (tmp_path / "a.fits").write_bytes(content)
    assert not same(read_sdss(tmp_path / "a.fits"), before)
    for length in (0, 2880, len(content) // 2, len(content) - 2880):
        (tmp_path / "b.fits").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"b\.fits is no whole SDSS spectrum"):
            read_sdss(tmp_path / "b.fits")

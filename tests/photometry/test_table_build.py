"""How a FluxTable is built: from any source the same bytes, resumed after a kill, never mixed."""

import os
import subprocess
import sys
from dataclasses import replace
from enum import Enum
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from astropy.cosmology import WMAP9, Planck18
from hypothesis import given
from hypothesis import strategies as st
from photometry import kill_builds
from photometry.galaxies import (
    BINS,
    COUNT,
    FILTERS,
    GRID,
    PHOTOMETRY,
    chunks,
    expected,
    galaxies,
    names,
    write_files,
)

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    read_sdss_spectra,
)

SPECTRA = galaxies()


def build(source=SPECTRA, bins=BINS, photometry=PHOTOMETRY, **options) -> FluxTable:
    return FluxTable.build(source, bins, photometry, **{"chunk": 4, "progress": False} | options)


# Sources -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The galaxies as files, some of them in a folder below."""
    folder = tmp_path_factory.mktemp("spectra")
    for number, path in enumerate(write_files(folder, SPECTRA)):
        (folder / "plate" / str(number // 5)).mkdir(parents=True, exist_ok=True)
        path.rename(folder / "plate" / str(number // 5) / path.name)
    (folder / "index.csv").write_text("not a spectrum\n")
    return folder


def in_parts(*sizes: int):
    """The galaxies as a stream, in parts of these sizes and one with the rest."""
    ends = np.minimum(np.cumsum([0, *sizes, COUNT]), COUNT)
    return (SPECTRA[int(start) : int(end)] for start, end in pairwise(ends))


def test_every_source_gives_the_same_bytes(folder, tmp_path):
    files = sorted(folder.rglob("*.fits"))
    # files hold redshifts in float32
    single = Spectra(GRID, SPECTRA.flux, SPECTRA.ivar, SPECTRA.z.float(), SPECTRA.valid)
    ids = {"object_ids": names()}
    sources = {
        "spectra": (single, ids),
        "stream": ((single[row : row + 3] for row in range(0, COUNT, 3)), ids),
        "list": ([single[:1], single[1:]], {"object_ids": iter(names())}),
        "folder": (folder, {}),
        "folder, text": (str(folder), {}),
        "files": (files, {}),
        "files, a stream": (map(str, files), {}),
        "files, redshifts given": (files, {"z_spec": dict(zip(names(), single.z, strict=True))}),
    }
    for name, (source, options) in sources.items():
        build(source, path=tmp_path / name, **options)
    first, *others = (chunks(tmp_path / name, "input_digest", "checksum") for name in sources)
    for name, other in zip(list(sources)[1:], others, strict=True):
        assert other == first, name


@given(st.lists(st.integers(0, COUNT), max_size=6))
def test_a_stream_may_come_in_parts_of_any_size(sizes):
    table, whole = build(in_parts(*sizes)), build()
    assert torch.equal(table.residual, whole.residual)
    assert torch.equal(table._digests, whole._digests)


def test_a_stream_is_not_read_further_than_it_is_worked_on(tmp_path):
    read = []

    def stream():
        for row in range(COUNT):
            done = len(list((tmp_path / "t.zarr").glob("input_digest/c/*/0")))
            read.append(row - 4 * done)
            yield SPECTRA[row]

    build(stream(), path=tmp_path / "t.zarr")
    assert max(read) <= 4


def test_real_files_give_the_residuals_of_their_common_reading(spectrum_files):
    spectra = read_sdss_spectra(spectrum_files)
    bins = RedshiftBins.uniform(0.0, 0.6, 20)
    grid = 10 ** (torch.arange(35400, 40300).double() * 1e-4)
    filters = FilterSet.from_speclite("sdss2010-*")
    table = build(
        spectrum_files[0].parent, bins, SyntheticPhotometry(filters, grid), dtype=torch.float32
    )
    residual, weight = flux_residual(
        SyntheticPhotometry(filters, spectra.wavelength), spectra.flux, spectra.z, bins,
        valid=spectra.valid,
    )  # fmt: skip
    torch.testing.assert_close(table.residual, residual, rtol=1e-5, atol=1e-6)
    assert torch.equal(table.band_weight, weight)
    assert table.object_ids.tolist() == [path.name for path in spectrum_files]


def test_integers_and_other_alphabets_are_names():
    assert build(object_ids=np.arange(COUNT) + 2**60).object_ids[0] == str(2**60)
    greek = [f"α{number}" for number in range(COUNT)]
    assert build(object_ids=greek).object_ids.tolist() == greek
    longest = ["δ" * 31 + f"{number:02}" for number in range(COUNT)]  # 64 bytes
    assert build(object_ids=longest).object_ids.tolist() == longest
    named = Enum("Named", {f"M{i}": f"m{i}" for i in range(COUNT)}, type=str)  # str(): Named.M0
    assert build(object_ids=list(named)).object_ids.tolist() == [one.value for one in named]


# Errors of the source ----------------------------------------------------------------------------


OTHER_GRID = Spectra(GRID + 1, SPECTRA.flux, SPECTRA.ivar, SPECTRA.z, SPECTRA.valid)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ([], {}, ValueError, "spectra is empty"),
        (SPECTRA[:0], {}, ValueError, "spectra is empty"),
        (iter([SPECTRA[:0]]), {}, ValueError, "spectra is empty"),
        (3, {}, TypeError, "spectra must be Spectra, an iterable .* got int"),
        (SPECTRA.flux, {}, TypeError, "spectra must yield Spectra or paths.*got Tensor: wrap"),
        ([SPECTRA, 3], {}, TypeError, "spectra must yield Spectra throughout, got int"),
        (OTHER_GRID, {}, ValueError, "must lie on the wavelengths of photometry.*wavelength=..."),
        (SPECTRA, {"z_spec": {}}, ValueError, "z_spec goes with files"),
        (SPECTRA, {"object_ids": ["a"]}, ValueError, "object_ids must be 10, .* got 1"),
        (SPECTRA, {"object_ids": iter(["a"])}, ValueError, "object_ids end before galaxy 4"),
        (SPECTRA, {"object_ids": map(str, range(11))}, ValueError, "more than the 10 galaxies"),
        (SPECTRA, {"object_ids": [0.5] * 10}, TypeError, "text or integers, got 0.5"),
        (SPECTRA, {"object_ids": ["x" * 65] * 10}, ValueError, "must fit 64 bytes.*shorten"),
        (SPECTRA, {"dtype": torch.bfloat16}, ValueError, "dtype must be torch.float16 or"),
        (SPECTRA, {"chunk": 0}, ValueError, "chunk must be at least 1, got 0"),
        (SPECTRA, {"dimming": "dust"}, ValueError, "dimming must be one of"),
        (SPECTRA, {"client": "here"}, TypeError, "client must be a distributed.Client, got str"),
    ],
)
def test_bad_arguments_are_named_with_the_mend(source, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        build(source, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"object_ids": names()}, ValueError, "object_ids go with Spectra"),
        ({"z_spec": [0.1] * 10}, TypeError, "z_spec must be a mapping from file name.*list"),
        ({"z_spec": {"spec-0000.fits": 0.01}}, ValueError, "z_spec lacks spec-0001.fits, one of 9"),
        (
            {"z_spec": dict.fromkeys(names(), 0.01) | {"spec-0007.fits": 0.7}},
            ValueError,
            r"object spec-0007.fits has z_spec 0.7, outside the bins \[0, 0.05\]: leave it out",
        ),
    ],
)
def test_bad_arguments_for_files_are_named_with_the_mend(folder, options, error, message):
    with pytest.raises(error, match=message):
        build(folder, **options)


def test_no_two_files_have_one_name(folder):
    path = next(folder.rglob("spec-0000.fits"))
    with pytest.raises(ValueError, match="names of files must be different, got 'spec-0000"):
        build([path, path])


def test_a_name_that_comes_again_far_behind_in_a_stream_is_refused():
    ids = [*map(str, range(COUNT - 1)), 0]
    with pytest.raises(ValueError, match="object_ids must be different, got '0' twice: leave one"):
        build(in_parts(3, 3), object_ids=iter(ids))


def test_a_folder_without_spectra_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no spec-\*.fits"):
        build(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"spec-9\.fits"):
        build(tmp_path / "spec-9.fits")


def test_a_redshift_outside_the_bins_names_the_object(tmp_path):
    z = SPECTRA.z.clone()
    z[[6, 8]] = torch.tensor([0.5, torch.nan], dtype=torch.float64)
    bad = Spectra(GRID, SPECTRA.flux, SPECTRA.ivar, z, SPECTRA.valid)
    with pytest.raises(ValueError, match=r"object spec-0006.fits has z_spec 0.5.*\(and 1 more"):
        build(bad, object_ids=names())
    with pytest.raises(ValueError, match=r"object 6 has z_spec 0.5, outside"):
        build(iter([bad]))
    write_files(tmp_path, bad[:7])
    with pytest.raises(ValueError, match=r"object spec-0006.fits has z_spec 0.5, outside"):
        build(tmp_path)


def test_the_last_edge_in_float32_lies_in_the_bins():
    z = torch.full((COUNT,), 0.05)  # in float64 a little above 0.05
    assert len(build(Spectra(GRID, SPECTRA.flux, SPECTRA.ivar, z, SPECTRA.valid))) == COUNT


def test_a_residual_that_overflows_names_the_object():
    flux = SPECTRA.flux.double()
    flux[5] = 1e305
    spectra = Spectra(GRID, flux, SPECTRA.ivar, SPECTRA.z, SPECTRA.valid)
    with pytest.raises(ValueError, match=r"object 5 has a residual that is NaN.*scale its flux"):
        build(spectra)


# Resumed -----------------------------------------------------------------------------------------


class StoppedError(Exception):
    pass


def stops_after(rows: int):
    yield SPECTRA[:rows]
    raise StoppedError


@pytest.fixture
def begun(tmp_path):
    """A table of which two chunks of four galaxies are done."""
    path = tmp_path / "begun.zarr"
    with pytest.raises(StoppedError):
        build(stops_after(9), path=path)
    return path


def test_an_unfinished_table_does_not_open_and_says_what_to_do(begun):
    with pytest.raises(ValueError, match=r"not finished, 2 chunks of 4 .*build\(\.\.\., path="):
        FluxTable.load(begun)
    assert zarr.open_group(begun, mode="r")["residual"].shape == (0, 7, 2)  # no fill value is data


def test_it_is_resumed_without_doing_again_what_is_done(begun, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in begun.rglob("*/c/**/0")}
    table = build(path=begun)
    assert before
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    build(path=tmp_path / "whole.zarr")
    assert chunks(begun) == chunks(tmp_path / "whole.zarr")
    assert torch.equal(table.residual, expected(SPECTRA)[0].half())


def test_a_mark_cut_short_by_the_machine_marks_nothing(begun, tmp_path):
    mark = begun / "input_digest" / "c" / "1" / "0"
    mark.write_bytes(mark.read_bytes()[:7])
    build(path=begun)
    build(path=tmp_path / "whole.zarr")
    assert chunks(begun) == chunks(tmp_path / "whole.zarr")


def test_a_finished_table_is_only_read(begun):
    build(path=begun)
    before = {file: file.stat().st_mtime_ns for file in begun.rglob("*")}
    assert len(build(iter([SPECTRA]), path=begun)) == COUNT
    assert {file: file.stat().st_mtime_ns for file in begun.rglob("*")} == before


def changed(**columns) -> Spectra:
    return replace(SPECTRA, **columns)


def with_filters(names, responses) -> SyntheticPhotometry:
    return SyntheticPhotometry(FilterSet(names, FILTERS.wavelengths, responses), GRID)


OTHERS = {
    "bins": ({"bins": RedshiftBins.uniform(0, 0.05, 8)}, "bins: 7 in the table, 8 given"),
    "edge": (
        {"bins": RedshiftBins.uniform(0, 0.06, 7)},
        "bins: edge 1 is 0.007.* in the table, 0.008.* given",
    ),
    "filters": (
        {"photometry": with_filters(["g", "r"], FILTERS.responses)},
        "filters: blue, red in the table, g, r given",
    ),
    "curve": (
        {"photometry": with_filters(FILTERS.names, [[0.0, 1.0, 0.0], [0.0, 0.9, 0.0]])},
        "same names, but another curve of red",
    ),
    "denominator": (
        {"photometry": SyntheticPhotometry(FILTERS, GRID, denominator="full")},
        "denominator: covered in the table, full given",
    ),
    "wavelength": (
        {
            "photometry": SyntheticPhotometry(FILTERS, GRID + 1),
            "source": changed(wavelength=GRID + 1),
        },
        "wavelength: 300 pixels on 3801.89-.* in the table, 300 pixels on 3802.89-.* given",
    ),
    "quadrature": (
        {"quadrature": "trapezoid"},
        "quadrature: midpoint in the table, trapezoid given",
    ),
    "min_coverage": ({"min_coverage": 0.4}, "min_coverage: 0.5 in the table, 0.4 given"),
    "dimming": ({"dimming": "f_nu"}, "dimming: none in the table, f_nu given"),
    "dtype": ({"dtype": torch.float32}, "dtype: float16 in the table, float32 given"),
    "chunk": ({"chunk": 5}, "chunk: 4 in the table, 5 given"),
    "flux": ({"source": changed(flux=SPECTRA.flux * 1.0001)}, "galaxies 0 to 3, from 0 on: ids"),
    "redshift": ({"source": changed(z=SPECTRA.z.flip(0))}, "redshifts or spectra are not those"),
    "ivar": ({"source": changed(ivar=SPECTRA.ivar * 2)}, "and seed what is random"),
    "order": ({"source": SPECTRA[[*range(5), 6, 5, 7, 8, 9]]}, "galaxies 4 to 7, from 4 on"),
    "ids": ({"object_ids": names()}, "galaxies 0 to 3, from spec-0000.fits on"),
    "fewer": ({"source": SPECTRA[:4]}, "galaxies: 4 given, 1 chunks; .* has 2"),
    "fewer in a chunk": ({"source": SPECTRA[:7]}, "galaxies 4 to 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_table_is_not_continued_and_the_difference_is_named(begun, name):
    options, message = OTHERS[name]
    before = chunks(begun)
    with pytest.raises(ValueError, match=message):
        build(path=begun, **options)
    assert chunks(begun) == before


def test_all_differences_are_named_at_once(begun):
    with pytest.raises(ValueError, match=r"bins: .*; chunk: .*; min_coverage: .*Give another path"):
        build(path=begun, bins=RedshiftBins.uniform(0, 1, 9), min_coverage=0.1, chunk=3)


def test_another_cosmology_is_named_with_its_parameters(tmp_path):
    bins = RedshiftBins.uniform(0.0001, 0.05, 4)
    options = {"bins": bins, "dimming": "distance", "path": tmp_path / "t.zarr"}
    table = build(**options, cosmology=Planck18)
    assert "Planck18" in table.header["options"]["cosmology"]
    assert "67.66" in table.header["options"]["cosmology"]
    with pytest.raises(ValueError, match=r"cosmology: .*Planck18.* in the table, .*WMAP9.* given"):
        build(**options, cosmology=WMAP9)


def test_another_version_of_this_package_does_not_continue(begun, monkeypatch):
    monkeypatch.setattr("photoz_losses.photometry._header._installed", lambda name: "99.0")
    with pytest.raises(ValueError, match=r"photoz-losses: .* in the table, 99.0 given"):
        build(path=begun)


@pytest.mark.parametrize("more", [SPECTRA, iter([SPECTRA]), iter([SPECTRA[:8], SPECTRA[8:]])])
def test_a_finished_table_is_not_lengthened(tmp_path, more):
    path = tmp_path / "t.zarr"
    build(SPECTRA[:8], path=path)
    with pytest.raises(ValueError, match="galaxies: 8 in the table"):
        build(more, path=path)
    assert len(FluxTable.load(path)) == 8


def test_a_galaxy_that_stopped_a_build_may_be_left_out_and_the_build_goes_on(tmp_path):
    z = SPECTRA.z.clone()
    z[9] = 0.9
    path = tmp_path / "t.zarr"
    with pytest.raises(ValueError, match=r"object 9 has z_spec 0.9"):
        build(iter([changed(z=z)]), path=path)
    assert len(build(SPECTRA[:9], path=path)) == 9


def test_files_may_change_only_where_no_chunk_is_done(tmp_path):
    write_files(tmp_path, SPECTRA)
    path = tmp_path / "t.zarr"
    (tmp_path / "spec-0008.fits").write_text("broken")
    with pytest.raises(ValueError, match=r"spec-0008.fits is no whole SDSS spectrum"):
        build(tmp_path, path=path)
    (tmp_path / "spec-0008.fits").unlink()
    assert len(build(sorted(tmp_path.glob("*.fits")), path=path)) == 9
    with (tmp_path / "spec-0001.fits").open("ab") as file:
        file.write(b"\0" * 2880)
    with pytest.raises(ValueError, match=r"galaxies 0 to 3, from spec-0000\.fits on"):
        build(sorted(tmp_path.glob("*.fits")), path=path)


# Killed ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wherever_a_build_is_killed_it_leaves_nothing_or_what_resumes(tmp_path, monkeypatch):
    """Kill it before each step at which bytes become durable or a file gets its name."""
    script = Path(kill_builds.__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parents[1]), *sys.path])}
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda file: None)  # slow, and no machine dies here
    steps = int(run.stdout)
    source = galaxies(5)
    whole = build(source, chunk=3, path=tmp_path / "whole.zarr")
    assert steps > 2 * 2 * 7  # two chunks of seven files, each flushed and named
    done = []
    for step in range(steps):
        path = tmp_path / str(step) / "table.zarr"
        if path.exists():
            with pytest.raises(ValueError, match="not finished"):
                FluxTable.load(path)
            done.append(len(list(path.glob("input_digest/c/*/0"))))
        table = build(source, chunk=3, path=path)
        assert chunks(path) == chunks(tmp_path / "whole.zarr"), step
        assert torch.equal(table.residual, whole.residual)
        assert [item.name for item in path.parent.iterdir()] == ["table.zarr"]
        assert not [*path.rglob("*.partial"), *path.rglob("*.part")]
    assert set(done) == {0, 1, 2}


# Progress and extras -----------------------------------------------------------------------------


def test_a_progress_bar_counts_galaxies(capsys, begun):
    build(path=begun, progress=True)
    assert "10/10" in capsys.readouterr().err
    build(path=begun, progress=False)
    assert capsys.readouterr().err == ""


def test_without_tqdm_there_is_no_bar(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(build(progress=True)) == COUNT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("missing", "options"), [("zarr", {"path": "t.zarr"}), ("distributed", {"client": object()})]
)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, missing, options):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*pip install 'photoz-losses\[scale\]'"):
        build(**options)
    assert not list(tmp_path.iterdir())


def test_a_finished_table_opens_without_zarr(monkeypatch, tmp_path):
    build(path=tmp_path / "t.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert len(FluxTable.load(tmp_path / "t.zarr")) == COUNT

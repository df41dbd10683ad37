"""FluxTable as a training sees it: what it holds, how it is looked up, saved and loaded."""

import json
import pickle
import shutil
from importlib.metadata import PackageNotFoundError
from operator import iadd

import numpy as np
import pytest
import torch
import zarr
from hypothesis import example, given
from hypothesis import strategies as st
from photometry.galaxies import BINS, COUNT, FILTERS, GRID, PHOTOMETRY, expected, files, galaxies
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from photoz_losses import FluxLoss, RedshiftBins, flux_loss
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    relative_variance,
)

SPECTRA = galaxies()
TABLE = FluxTable.build(SPECTRA, BINS, PHOTOMETRY, chunk=4, progress=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The table in memory, written to disk."""
    path = tmp_path_factory.mktemp("tables") / "table.zarr"
    TABLE.save(path)
    return path


@pytest.fixture(params=["in memory", "memory-mapped"])
def table(request, path):
    return FluxTable.load(path, mmap=request.param == "memory-mapped")


# What it holds -----------------------------------------------------------------------------------


def test_float32_is_flux_residual_to_the_bit():
    table = FluxTable.build(SPECTRA, BINS, PHOTOMETRY, dtype=torch.float32, chunk=3, progress=False)
    assert torch.equal(table.residual, expected(SPECTRA)[0])
    assert torch.equal(table.band_weight, expected(SPECTRA)[1])
    assert table.residual.dtype == table.band_weight.dtype == torch.float32


def test_options_are_those_of_flux_residual():
    options = {"quadrature": "trapezoid", "min_coverage": 0.1, "dimming": "f_nu"}
    table = FluxTable.build(
        SPECTRA, BINS, PHOTOMETRY, dtype=torch.float32, progress=False, **options
    )
    assert torch.equal(table.residual, expected(SPECTRA, **options)[0])
    assert not torch.equal(table.residual, expected(SPECTRA)[0])
    assert table.header["options"] == options | {"cosmology": None, "min_snr": None}


def test_it_says_what_it_was_made_for(table):
    assert torch.equal(table.bins.edges, BINS.edges)
    assert table.filters.digest == FILTERS.digest
    assert table.filters.names == ("blue", "red")
    assert torch.equal(table.z_spec, SPECTRA.z)
    assert table.object_ids.tolist() == [str(number) for number in range(COUNT)]
    assert table.header["wavelength"]["pixels"] == len(GRID)
    assert table.header["denominator"] == "covered"
    assert {"photoz-losses", "torch", "numpy", "speclite", "zarr"} == set(table.header["versions"])


def test_repr_states_sizes_type_and_place(path):
    sizes = "10 galaxies x 7 bins x 2 bands, float16"
    assert repr(TABLE) == f"FluxTable({sizes}, in memory)"
    assert repr(FluxTable.load(path)) == f"FluxTable({sizes}, memory-mapped)"


# Errors of measurement ---------------------------------------------------------------------------


def noisy() -> Spectra:
    """The same galaxies, ever fainter beside their errors; some pixels are not trusted."""
    error = 10 ** torch.linspace(-2, 1.5, COUNT).unsqueeze(-1)
    ivar = torch.where(SPECTRA.valid, error**-2, 0.0).expand(-1, len(GRID)).clone()
    ivar[:, 100::50] = 0.0
    return Spectra(GRID, SPECTRA.flux, ivar, SPECTRA.z, SPECTRA.valid)


@pytest.mark.parametrize("least", [0.0, 10.0])
def test_with_min_snr_the_table_keeps_the_variance(tmp_path, least):
    spectra = noisy()
    options = {"min_snr": least, "dtype": torch.float32, "chunk": 4, "progress": False}
    table = FluxTable.build(spectra, BINS, PHOTOMETRY, **options)
    residual, weight = expected(spectra, ivar=spectra.ivar, min_snr=least)
    variance = relative_variance(PHOTOMETRY, spectra.flux, spectra.ivar, valid=spectra.valid)
    assert table.header["options"]["min_snr"] == least
    assert torch.equal(table.residual, residual)
    assert torch.equal(table.band_weight, weight)
    assert torch.equal(table.variance, variance.float())
    switched_off = (table.band_weight == 0) & (expected(spectra, ivar=spectra.ivar)[1] > 0)
    assert torch.equal(switched_off, (variance.rsqrt() < least) & variance.isfinite())
    assert switched_off.any() == (least > 0)
    built = FluxTable.build(spectra, BINS, PHOTOMETRY, path=tmp_path / "built.zarr", **options)
    table.header["created"] = built.header["created"]
    table.save(tmp_path / "saved.zarr")
    assert files(tmp_path / "saved.zarr") == files(tmp_path / "built.zarr")
    for other in (
        built,
        FluxTable.load(tmp_path / "saved.zarr"),
        FluxTable.load(tmp_path / "saved.zarr", mmap=False),
        pickle.loads(pickle.dumps(FluxTable.load(tmp_path / "saved.zarr"))),
        table.to("cpu"),
    ):
        assert torch.equal(other.variance, table.variance)
        assert torch.equal(other.residual, table.residual)
        assert torch.equal(other.band_weight, table.band_weight)
        assert other.variance.dtype == torch.float32
    assert table.to("meta").variance.device.type == "meta"
    assert "variance" in set(zarr.open_group(tmp_path / "saved.zarr", mode="r").array_keys())


def test_a_loss_in_units_of_error_takes_what_the_table_keeps():
    spectra = noisy()
    table = FluxTable.build(spectra, BINS, PHOTOMETRY, min_snr=3.0, progress=False)
    logits = torch.randn(COUNT, len(BINS), generator=torch.Generator().manual_seed(0))
    residual, weight = table[:]
    value = FluxLoss(BINS)(logits, residual, weight, variance=table.variance)
    assert value.isfinite()
    assert torch.equal(value, flux_loss(logits, residual, weight, variance=table.variance))


def test_without_min_snr_there_is_no_variance_and_ivar_is_not_looked_at(path):
    spectra = noisy()
    table = FluxTable.build(spectra, BINS, PHOTOMETRY, chunk=4, progress=False)
    assert torch.equal(table.residual, TABLE.residual)
    for without in (table, FluxTable.load(path)):
        with pytest.raises(AttributeError, match=r"no variance: build it with min_snr=0\.0"):
            without.variance  # noqa: B018


def test_another_min_snr_is_another_table(tmp_path):
    options = {"path": tmp_path / "table.zarr", "progress": False}
    FluxTable.build(SPECTRA, BINS, PHOTOMETRY, min_snr=0.0, **options)
    for other in (None, 3.0):
        with pytest.raises(ValueError, match="min_snr"):
            FluxTable.build(SPECTRA, BINS, PHOTOMETRY, min_snr=other, **options)


# Half precision ----------------------------------------------------------------------------------


def half_error(value: torch.Tensor) -> torch.Tensor:
    """What rounding to float16 may change: half a step of 2**-10 of the value, or of 2**-24."""
    return torch.maximum(value.abs() * 2.0**-11, torch.tensor(2.0**-25, dtype=value.dtype))


def test_float16_errs_by_at_most_what_is_stated():
    exact = FluxTable.build(SPECTRA, BINS, PHOTOMETRY, dtype=torch.float32, progress=False)
    error = (TABLE.residual.double() - exact.residual.double()).abs()
    assert TABLE.residual.dtype == torch.float16
    assert (error <= half_error(exact.residual.double())).all()
    assert error.max() > 1e-5
    assert torch.equal(TABLE.band_weight, exact.band_weight)


@given(st.lists(st.floats(-65504, 65504, width=32), min_size=3, max_size=3), st.integers(0, 99))
@example([2.0**-25, -(2.0**-24) * 0.75, 1e-9], 0)
@example([65504.0, -65503.0, 32767.5], 1)
def test_the_loss_errs_by_at_most_what_is_stated(values, seed):
    residual = torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1)
    logits = torch.randn(1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    error = (flux_loss(logits, residual.half()) - flux_loss(logits, residual)).abs()
    size = (logits.softmax(-1).unsqueeze(-1) * residual.abs()).sum()
    assert error <= 2.0**-11 * size + 2.0**-25 + 1e-12 * size


def test_the_loss_of_a_float16_table_errs_by_at_most_what_is_stated():
    exact, _ = expected(SPECTRA)
    logits = torch.randn(COUNT, len(BINS), generator=torch.Generator().manual_seed(0))
    low, high = (
        flux_loss(logits.double(), residual, TABLE.band_weight, reduction="none")
        for residual in (TABLE.residual, exact)
    )
    bound = 2.0**-11 * flux_loss(logits.double(), exact.abs(), TABLE.band_weight, reduction="none")
    assert ((low - high).abs() <= bound + 2.0**-25).all()
    assert (low != high).any()


def nearly_dark() -> Spectra:
    """A galaxy of flux 1e-6 at its own redshift, ten million times that in the next bins."""
    wavelength = torch.linspace(3800.0, 4800.0, 2001, dtype=torch.float64)
    flux = torch.where((wavelength > 3990) & (wavelength < 4110), 1e-6, 10.0).expand(3, -1).clone()
    flux[1] = 1.0
    z = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
    return Spectra(wavelength, flux, torch.ones_like(flux), z, flux > 0)


DARK_BAND = FilterSet(["box"], [[4000.0, 4100.0]], [[1.0, 1.0]])


def test_what_float16_cannot_hold_is_clamped_counted_and_told(tmp_path):
    spectra = nearly_dark()
    photometry = SyntheticPhotometry(DARK_BAND, spectra.wavelength)
    bins = RedshiftBins.uniform(-0.1, 0.1, 20)
    exact = FluxTable.build(
        spectra, bins, photometry, dtype=torch.float32, min_coverage=0.0, progress=False
    )
    assert exact.residual.max() > 1e6
    assert exact.header["clamped"] == 0
    assert (exact.clamped == 0).all()
    beyond = (exact.residual.abs() > 65504).sum((1, 2))
    with pytest.warns(UserWarning, match=f"{beyond.sum()} residuals lie beyond.*torch.float32"):
        table = FluxTable.build(
            spectra, bins, photometry, chunk=2, min_coverage=0.0, progress=False,
            path=tmp_path / "dark.zarr",
        )  # fmt: skip
    assert torch.equal(table.clamped, beyond.int())
    assert beyond.tolist()[1] == 0
    assert table.residual.isfinite().all()
    assert table.residual.max() == 65504
    assert FluxTable.load(tmp_path / "dark.zarr").header["clamped"] == beyond.sum()


def test_flux_loss_takes_what_the_table_gives(table):
    logits = torch.randn(COUNT, len(BINS), requires_grad=True)
    residual, band_weight = table[:]
    loss = FluxLoss(BINS)(logits, residual, band_weight)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, flux_loss(logits, residual.float(), band_weight))
    loss.backward()
    assert logits.grad.isfinite().all()
    flux_loss(logits[0], *table[0]).backward()


# Look-up -----------------------------------------------------------------------------------------

INDICES = [
    0,
    -1,
    slice(None),
    slice(2, 9, 3),
    [3, 1, 9, 3],
    [],
    -COUNT,
    np.int64(-2),
    slice(-3, None),
    slice(None, None, -3),
    slice(5, 2),
    slice(-1, -3),
    slice(8, 3, 2),
    slice(2, 5, -1),
    slice(5, 2, -1),
    slice(COUNT, None),
    slice(2, 9, 2**70),
    slice(9, 2, -(2**70)),
    slice(-(2**70), 2**70),
    torch.tensor([5, 0, 2]),
    torch.tensor(4),
    torch.tensor([[5, 0], [1, 2]]),
    torch.arange(COUNT) % 3 == 0,
    [True, False] * 5,
    np.array([8, 2]),
    np.array([8, 2], dtype=">i8"),
    np.array([8, 2])[::-1],
    (np.arange(COUNT) % 3 == 1)[::-1],
    torch.zeros(COUNT, dtype=torch.bool),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_index_gives_the_rows_that_it_gives_of_a_tensor(table, index):
    rows = range(COUNT)[index] if isinstance(index, slice) else index  # tensors go forward only
    rows = list(rows) if isinstance(rows, range) else rows
    rows = rows.tolist() if isinstance(rows, np.ndarray) else rows
    for got, whole in zip(table[index], (TABLE.residual, TABLE.band_weight), strict=True):
        assert torch.equal(got, whole[rows])
        assert got.dtype == whole.dtype


BEYOND = f"is out of range for {COUNT} galaxies"
REFUSED = [
    (COUNT, f"index {COUNT} {BEYOND}"),
    (-COUNT - 1, f"index {-COUNT - 1} {BEYOND}"),
    ([0, COUNT], f"index {COUNT} {BEYOND}"),
    (torch.tensor(COUNT), f"index {COUNT} {BEYOND}"),
    ([3, -1], "negative numbers, got -1"),
    (np.array([-2, 0]), "negative numbers, got -2"),
    (torch.tensor([5, 0, -2]), "negative numbers, got -2"),
    (torch.tensor(-1), "negative numbers, got -1"),
    (torch.ones(COUNT - 1, dtype=torch.bool), f"mask.*{COUNT},.*{COUNT - 1},"),
    ([True] * (COUNT + 1), f"mask.*{COUNT},.*{COUNT + 1},"),
    ([0.5], "index must be of integers, a slice or a mask, got list"),
    (torch.tensor([1.0]), "index must be of integers, a slice or a mask, got torch.float32"),
    (None, "index must be of integers, a slice or a mask, got None"),
    ("a", "index must be of integers, a slice or a mask, got 'a'"),
    (slice("a"), r"index, a slice, must have integers in it.*slice\(None, 'a', None\)"),
    (slice(0.5, None), "index, a slice, must have integers in it.*0.5"),
    (slice(None, None, 0), "no step of 0"),
]


@pytest.mark.parametrize(("index", "says"), REFUSED, ids=str)
def test_an_index_of_no_galaxies_is_refused(table, index, says):
    with pytest.raises(IndexError, match=says):
        table[index]


def test_a_batch_may_be_a_tuple(table):
    """Of a sampler that yields tuples; as an index a tuple is refused."""
    for got, one in zip(table.__getitems__((3, 1)), (3, 1), strict=True):
        assert all(map(torch.equal, got, table[one]))


def test_the_index_error_at_the_end_ends_iteration(table):
    assert len(list(table)) == len(table) == COUNT


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_what_is_looked_up_may_be_changed_in_place(table, index):
    for part in table[index]:
        part.fill_(-1)
    for part, whole in zip(table[:], TABLE[:], strict=True):
        assert torch.equal(part, whole)


def test_a_batch_may_be_changed_in_place(table):
    for part in sum(table.__getitems__([3, 1, 3]), ()):
        part += 1
    for part, whole in zip(table[:], TABLE[:], strict=True):
        assert torch.equal(part, whole)


@pytest.mark.parametrize("name", ["band_weight", "variance", "z_spec", "clamped"])
@pytest.mark.parametrize("place", ["in memory", "memory-mapped"])
def test_a_column_is_a_copy_that_cannot_be_set(tmp_path, name, place):
    options = {"path": tmp_path / "table.zarr"} if place == "memory-mapped" else {}
    table = FluxTable.build(noisy(), BINS, PHOTOMETRY, min_snr=0.0, progress=False, **options)
    before = getattr(table, name).clone()
    getattr(table, name).fill_(-1)
    assert torch.equal(getattr(table, name), before)
    with pytest.raises(AttributeError):  # table.variance += 1, in which Python sets it last
        setattr(table, name, iadd(getattr(table, name), 1))
    assert torch.equal(getattr(table, name), before)


def test_the_residuals_of_a_table_in_memory_are_its_own_and_of_another_a_copy(path):
    """As documented: a copy could be gigabytes."""
    table, mapped = FluxTable.load(path, mmap=False), FluxTable.load(path)
    table.residual[0] = 0
    mapped.residual[0] = 0
    assert (table[0][0] == 0).all()
    assert torch.equal(mapped[0][0], TABLE[0][0])
    assert table.to("cpu").residual.data_ptr() == table.residual.data_ptr()


def test_a_mapped_table_pickles_as_its_path(path):
    table = FluxTable.load(path)
    before = len(pickle.dumps(table))
    table[:]
    assert len(pickle.dumps(table)) == before < 20_000
    again = pickle.loads(pickle.dumps(table))
    assert torch.equal(again.residual, table.residual)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:This process .*multi-threaded:DeprecationWarning")  # torch's
def test_two_workers_of_a_data_loader_read_one_mapped_table(path, start):
    table = FluxTable.load(path)
    table[0]  # a file is open already when the workers start
    loader = DataLoader(table, batch_size=3, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    for part, whole in zip(map(torch.cat, zip(*batches, strict=True)), TABLE[:], strict=True):
        assert torch.equal(part, whole)


def test_a_sampler_of_batches_fetches_each_at_once(table):
    sampler = BatchSampler(SequentialSampler(table), batch_size=4, drop_last=False)
    batches = list(DataLoader(table, sampler=sampler, batch_size=None))
    assert [len(residual) for residual, _ in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([residual for residual, _ in batches]), TABLE.residual)


def test_to_puts_the_whole_table_on_a_device(table):
    moved = table.to("cpu")
    assert repr(moved).endswith("in memory)")
    assert torch.equal(moved.residual, TABLE.residual)
    meta = table.to("meta")
    assert meta[[0]][0].device.type == meta[[0]][1].device.type == "meta"
    assert repr(meta).endswith("on meta)")


@pytest.mark.gpu
def test_loaded_onto_a_gpu(path):
    table = FluxTable.load(path, device="cuda")
    residual, band_weight = table[torch.tensor([3, 1], device="cuda")]
    assert torch.equal(residual.cpu(), TABLE.residual[[3, 1]])
    assert band_weight.device.type == "cuda"


# On disk -----------------------------------------------------------------------------------------


def test_zarr_reads_what_the_table_holds(path):
    group = zarr.open_group(path, mode="r")
    assert np.array_equal(group["residual"][:], TABLE.residual.numpy())
    assert np.array_equal(group["band_weight"][:], TABLE.band_weight.numpy())
    assert np.array_equal(group["z_spec"][:], TABLE.z_spec.numpy())
    assert group["residual"].chunks == (4, 7, 2)
    assert group["residual"].metadata.dimension_names == ("galaxy", "bin", "band")
    assert group.attrs["bins"] == BINS.edges.tolist()
    assert group.attrs["filters"]["names"] == ["blue", "red"]
    assert set(group.array_keys()) == {
        *("residual", "band_weight", "z_spec", "object_id", "clamped", "input_digest", "checksum")
    }


def test_a_chunk_is_one_file_of_raw_bytes(path):
    raw = np.fromfile(path / "residual" / "c" / "1" / "0" / "0", "<f2").reshape(4, 7, 2)
    assert np.array_equal(raw, TABLE.residual[4:8].numpy())


@given(st.lists(st.floats(0, 9), min_size=3, max_size=8, unique=True).map(sorted))
def test_edges_come_back_from_json_to_the_bit(edges):
    bins = RedshiftBins(edges) if all(np.diff(edges) > 1e-30) else BINS  # float32 divides by it
    back = json.loads(json.dumps({"bins": bins.edges.tolist()}))["bins"]
    assert torch.equal(RedshiftBins(back).edges, bins.edges)


def test_saved_and_built_tables_have_the_same_bytes(tmp_path):
    built = FluxTable.build(
        SPECTRA, BINS, PHOTOMETRY, chunk=4, path=tmp_path / "built.zarr", progress=False
    )
    in_memory = FluxTable.build(SPECTRA, BINS, PHOTOMETRY, chunk=4, progress=False)
    in_memory.header["created"] = built.header["created"]
    in_memory.save(tmp_path / "saved.zarr")
    assert files(tmp_path / "saved.zarr") == files(tmp_path / "built.zarr")


def test_a_table_from_disk_saves_to_the_same_bytes(table, path, tmp_path):
    table.save(tmp_path / "again" / "table.zarr")
    assert files(tmp_path / "again" / "table.zarr") == files(path)
    assert [item.name for item in (tmp_path / "again").iterdir()] == ["table.zarr"]


def test_a_mended_table_has_and_saves_to_the_same_bytes(copy):
    before = files(copy)
    (copy / "residual" / "c" / "1" / "0" / "0").unlink()
    mended = FluxTable.build(SPECTRA, BINS, PHOTOMETRY, chunk=4, path=copy, progress=False)
    assert files(copy) == before
    mended.save(copy.with_name("again.zarr"))
    assert files(copy.with_name("again.zarr")) == before


def test_nothing_is_overwritten(path):
    with pytest.raises(FileExistsError, match=r"table\.zarr exists: delete it"):
        TABLE.save(path)


# Refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bins": RedshiftBins.uniform(0, 0.05, 8)}, "bins: 7 in the table, 8 given"),
        (
            {"bins": RedshiftBins([*BINS.edges[:-1].tolist(), np.nextafter(0.05, 1)])},
            "bins: edge 7 is 0.05 in the table, 0.05000000000000001 given",
        ),
        (
            {"filters": FilterSet(["a", "b"], FILTERS.wavelengths, FILTERS.responses)},
            "filters: blue, red in the table, a, b given",
        ),
        (
            {
                "filters": FilterSet(
                    FILTERS.names, FILTERS.wavelengths, [FILTERS.responses[0], [0, 0.9, 0]]
                )
            },
            r"same names, but another curve of red \(digest",
        ),
    ],
)
def test_other_bins_or_filters_are_named(path, given, message):
    with pytest.raises(ValueError, match=f"table.zarr is a table for others: .*{message}"):
        FluxTable.load(path, **given)


def test_the_same_bins_and_filters_are_taken(path):
    assert len(FluxTable.load(path, bins=TABLE.bins, filters=FILTERS)) == COUNT


def test_nothing_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table at .*FluxTable\.build"):
        FluxTable.load(tmp_path / "none.zarr")


@pytest.mark.parametrize("text", [None, "{", '{"attributes": {}}', "[]"])
def test_another_folder_is_no_table(tmp_path, text):
    if text is not None:
        (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(ValueError, match="is no FluxTable"):
        FluxTable.load(tmp_path)


@pytest.fixture
def copy(tmp_path):
    TABLE.save(tmp_path / "copy.zarr")
    return tmp_path / "copy.zarr"


def test_a_table_that_is_loaded_to_a_device_is_in_memory_there(copy):
    loaded, mapped = FluxTable.load(copy, device="cpu"), FluxTable.load(copy)
    rows = torch.arange(len(mapped))
    expected = mapped[rows]
    shutil.rmtree(copy)
    torch.testing.assert_close(loaded[rows], expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"zarr_format": 3, "node_type": "array", "attributes": {"format": 2}}', "of Zarr 3"),
        ('{"zarr_format": 2, "node_type": "group", "attributes": {"format": 2}}', "of Zarr 2"),
        ("[]", "no mapping"),
        ("[" * 200_000, "nested without end"),
    ],
)
def test_what_is_no_group_of_zarr_is_no_table(copy, text, says):
    (copy / "zarr.json").write_text(text)
    with pytest.raises(ValueError, match=f"is no FluxTable: .*{says}"):
        FluxTable.load(copy)


def test_a_table_names_the_version_of_what_is_installed_alone(monkeypatch):
    def version_of(name):
        if name == "speclite":
            raise PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr("photoz_losses.photometry._header.version", version_of)
    kept = FluxTable.build(SPECTRA, BINS, PHOTOMETRY).header["versions"]
    assert kept == dict.fromkeys(["photoz-losses", "torch", "numpy", "zarr"], "1.2")


def test_a_table_of_another_format_is_refused(copy):
    text = (copy / "zarr.json").read_text().replace('"format": 2', '"format": 1')
    (copy / "zarr.json").write_text(text)
    with pytest.raises(ValueError, match="has format 1, this version reads 2"):
        FluxTable.load(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("codecs", [{"name": "bytes", "configuration": {"endian": "big"}}]),
        ("codecs", [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd"}]),
        ("data_type", "float32"),
        ("shape", [9, 7, 2]),
        ("chunk_key_encoding", {"name": "v2", "configuration": {"separator": "."}}),
    ],
)
def test_bytes_that_are_not_raw_are_not_mapped(copy, key, value):
    file = copy / "residual" / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=f"residual cannot be mapped: its {key} is .*build it"):
        FluxTable.load(copy)


def test_a_lost_or_shortened_file_is_named(copy):
    file = copy / "residual" / "c" / "1" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="residual/c/1/0/0 is missing or not of 112 bytes"):
        FluxTable.load(copy)
    file.unlink()
    with pytest.raises(ValueError, match="residual/c/1/0/0 is missing"):
        FluxTable.load(copy)

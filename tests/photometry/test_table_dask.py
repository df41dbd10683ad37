"""FluxTable on a Dask cluster: the same bytes, whoever computes them."""

from contextlib import nullcontext

import pytest
import torch
from distributed import Client, LocalCluster
from photometry.galaxies import BINS, COUNT, GRID, PHOTOMETRY, chunks, galaxies, names, write_files

from photoz_losses.photometry import FluxTable, Spectra

SPECTRA = galaxies()
DIGESTS = ("input_digest", "checksum")  # which know of files, not of what is in them


def build(source=SPECTRA, **options) -> FluxTable:
    options = {"chunk": 2, "progress": False, "object_ids": names()} | options
    return FluxTable.build(source, BINS, PHOTOMETRY, **options)


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    path = tmp_path_factory.mktemp("loop") / "table.zarr"
    build(path=path)
    return path


def cluster(**options) -> LocalCluster:
    return LocalCluster(threads_per_worker=1, dashboard_address=":0", **options)


@pytest.fixture(scope="module")
def client():
    with cluster(processes=False, n_workers=2) as workers, Client(workers) as client:
        yield client


def test_workers_write_the_bytes_of_the_loop(client, loop, tmp_path):
    table = build(client=client, path=tmp_path / "table.zarr")
    assert chunks(tmp_path / "table.zarr") == chunks(loop)
    assert table.object_ids.tolist() == names()


def test_chunks_that_come_back_in_any_order_are_put_in_theirs(client, loop, tmp_path):
    build(client=client).save(tmp_path / "table.zarr")
    assert chunks(tmp_path / "table.zarr") == chunks(loop)


def test_files_are_read_by_the_workers(client, loop, tmp_path):
    (tmp_path / "spectra").mkdir()
    write_files(tmp_path / "spectra", SPECTRA)
    z = dict(zip(names(), SPECTRA.z.tolist(), strict=True))
    build(
        tmp_path / "spectra",
        object_ids=None,
        z_spec=z,
        client=client,
        path=tmp_path / "table.zarr",
    )
    assert chunks(tmp_path / "table.zarr", *DIGESTS) == chunks(loop, *DIGESTS)


def test_a_stream_is_not_read_further_ahead_than_the_workers_need(client, monkeypatch):
    ahead, ended = [], []

    def stream():
        for row in range(0, 40, 2):
            ahead.append(row // 2 - len(ended))
            yield galaxies(2, seed=row)

    class Bar:
        def update(self, count):
            ended.append(count)

    monkeypatch.setattr("photoz_losses.photometry._build._bar", lambda *_: nullcontext(Bar()))
    build(stream(), client=client, object_ids=None)
    assert len(ended) == 20
    assert max(ahead) <= 2 * 2 + 1


def test_an_error_of_a_worker_names_the_object_and_the_rest_resumes(client, loop, tmp_path):
    z = SPECTRA.z.clone()
    z[7] = 0.8
    bad = Spectra(GRID, SPECTRA.flux, SPECTRA.ivar, z, SPECTRA.valid)
    path = tmp_path / "table.zarr"
    with pytest.raises(ValueError, match=r"object spec-0007\.fits has z_spec 0\.8"):
        build(iter([bad]), client=client, path=path)
    assert len(build(client=client, path=path)) == COUNT
    assert chunks(path) == chunks(loop)


@pytest.mark.slow
def test_two_processes_write_the_bytes_of_the_loop(loop, tmp_path):
    with cluster(processes=True, n_workers=2) as workers, Client(workers) as client:
        pids = client.run(lambda: __import__("os").getpid())
        table = build(iter(SPECTRA), client=client, path=tmp_path / "table.zarr")
        kept = build(client=client, dtype=torch.float32)
    assert len(set(pids.values())) == 2
    assert chunks(tmp_path / "table.zarr") == chunks(loop)
    assert torch.equal(table.residual, kept.residual.half())


def test_galaxies_too_many_for_a_damaged_table_spoil_nothing(client, tmp_path):
    path = tmp_path / "table.zarr"
    build(SPECTRA[:5], object_ids=None, path=path)
    files = chunks(path)
    (path / "input_digest" / "c" / "2" / "0").unlink()
    with pytest.raises(ValueError, match=r"galaxies: 5 in the table at .*, 6 or more given"):
        build(iter([SPECTRA]), object_ids=None, client=client, path=path)
    build(SPECTRA[:5], object_ids=None, client=client, path=path)
    assert chunks(path) == files

"""What does a table of residuals cost: to build from a stream, and to read in a training step?

    python benchmarks/table.py --data FOLDER

The build: copies of the real SDSS spectra in FOLDER/spectra, each with Gaussian noise of its own by
the pixels' inverse variance, made as they are asked for, into a Zarr table of 180 bins and 5 bands
in float16: a tenth of them and all of them in one process, then all by a Dask LocalCluster of two
processes, as Dask starts them and with their memory allocator left to keep what it has freed (Dask
has it give all back at once, and so take it anew for every block). Every run in a fresh process,
whose largest resident memory is reported, and that before the build, with everything imported. The
time holds the making of the noise. Each run is done once.

The step: 256 random galaxies out of 500,000 x 180 x 5 in float16 (0.9 GB), fetched from the table
in memory and from the memory-mapped one, whose pages the system has in memory; then the flux loss
of float32 logits, forward and backward. Against the same step on a batch that is at hand.
"""

import argparse
import filecmp
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path

import dask
import numpy as np
import torch
from distributed import Client, LocalCluster
from measure import save, take_turns
from torch import Tensor

from photoz_losses import RedshiftBins, flux_loss
from photoz_losses.photometry import (
    FilterSet,
    FluxTable,
    Spectra,
    SyntheticPhotometry,
    read_sdss_spectra,
)

BINS = RedshiftBins.uniform(0.0, 0.4, 180)
PART = 256  # spectra that the stream makes at once
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_MMAP_THRESHOLD_": 2**25}


def noisy_copies(spectra: Spectra, galaxies: int) -> Iterator[Spectra]:
    """As many spectra as wanted, the given ones over and over, each with noise of its own."""
    generator = torch.Generator().manual_seed(0)
    sigma = torch.where(spectra.ivar > 0, spectra.ivar.clamp(min=1e-30).rsqrt(), 0.0)
    for start in range(0, galaxies, PART):
        rows = torch.arange(start, min(start + PART, galaxies)) % len(spectra)
        some = spectra[rows]
        noise = sigma[rows] * torch.randn(some.flux.shape, generator=generator)
        flux = torch.where(some.valid, some.flux + noise, 0.0)
        yield Spectra(some.wavelength, flux, some.ivar, some.z, some.valid)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in kB


def build(
    results: "Queue[dict[str, float]]",
    data: Path,
    path: Path,
    galaxies: int,
    workers: int,
    environment: dict[str, int],
) -> None:
    """One build in this process, or by workers; its cost goes to `results`."""
    torch.set_num_threads(1)
    spectra = read_sdss_spectra(sorted((data / "spectra").glob("spec-*.fits")))
    spectra = spectra[spectra.z <= BINS.edges[-1]]
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), spectra.wavelength)
    before = peak_mb()

    def run(client: Client | None) -> float:
        start = time.perf_counter()
        FluxTable.build(noisy_copies(spectra, galaxies), BINS, photometry, path=path, client=client)
        return time.perf_counter() - start

    if workers:
        place = "distributed.nanny.pre-spawn-environ"
        dask.config.set({f"{place}.{name}": value for name, value in environment.items()})
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
            seconds = run(client)
            largest = max(client.run(peak_mb).values())
    else:
        seconds, largest = run(None), 0.0
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    row = {
        "galaxies": galaxies,
        "seconds": seconds,
        "galaxies_a_second": galaxies / seconds,
        "before_mb": before,
        "peak_mb": peak_mb(),
        "disk_mb": size / 2**20,
    }
    results.put(row | ({"peak_of_a_worker_mb": largest} if workers else {}))


def builds(data: Path, scratch: Path, galaxies: int) -> dict[str, dict[str, float]]:
    """Each build in a process of its own, and whether workers wrote the same bytes."""
    context, rows = get_context("spawn"), {}
    runs = {
        "build, a tenth": (galaxies // 10, 0, {}),
        "build, one process": (galaxies, 0, {}),
        "build, two workers": (galaxies, 2, {}),
        "build, two that keep memory": (galaxies, 2, KEEP_MEMORY),
    }
    for name, (count, workers, environment) in runs.items():
        results = context.Queue()
        arguments = (results, data, scratch / name, count, workers, environment)
        process = context.Process(target=build, args=arguments)
        process.start()
        rows[name] = results.get()
        process.join()
    _, one, *others = runs
    files = [
        str(file.relative_to(scratch / one))
        for file in (scratch / one).rglob("*")
        if file.is_file() and file != scratch / one / "zarr.json"  # which holds the date
    ]
    for other in others:
        same, *_ = filecmp.cmpfiles(scratch / one, scratch / other, files, shallow=False)
        rows[other]["same_bytes"] = len(same) == len(files)
    return rows


def large_table(data: Path, path: Path, galaxies: int) -> FluxTable:
    """A finished table of so many galaxies, the spectra with z <= 0.4 over and over."""
    spectra = read_sdss_spectra(sorted((data / "spectra").glob("spec-*.fits")))
    spectra = spectra[spectra.z <= BINS.edges[-1]]
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), spectra.wavelength)
    small = FluxTable.build(spectra, BINS, photometry, progress=False)
    rows = torch.arange(galaxies) % len(small)
    columns = {name: column[rows] for name, column in small._columns.items()}
    digests = torch.zeros(-(-galaxies // small.header["chunk"]), 32, dtype=torch.uint8)
    FluxTable(small.header | {"galaxies": galaxies}, columns, digests).save(path)
    return FluxTable.load(path)


def steps(mapped: FluxTable, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """A training step's part of the flux term, by where the table lies."""
    whole = mapped.to("cpu")  # and so every page of the file is in memory, too
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(batch, len(BINS), requires_grad=True)
    at_hand = whole[:batch]

    def rows() -> Tensor:
        return torch.randint(len(mapped), (batch,), generator=generator)

    def step(residual: Tensor, band_weight: Tensor) -> None:
        flux_loss(logits, residual, band_weight).backward()

    return take_turns(
        {
            "step, batch at hand": lambda: step(*at_hand),
            "step, table in memory": lambda: step(*whole[rows()]),
            "step, table memory-mapped": lambda: step(*mapped[rows()]),
            "fetch alone, in memory": lambda: whole[rows()],
            "fetch alone, memory-mapped": lambda: mapped[rows()],
        },
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("PHOTOZ_LOSSES_DATA"))
    parser.add_argument("--galaxies", type=int, default=100_000, help="of the build")
    parser.add_argument("--table", type=int, default=500_000, help="galaxies that steps read from")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set PHOTOZ_LOSSES_DATA: the folder that holds spectra/")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = builds(Path(options.data), Path(folder), options.galaxies)
        mapped = large_table(Path(options.data), Path(folder) / "large", options.table)
        rows |= steps(mapped, options.batch, options.rounds)
    settings = vars(options) | {"data": "SDSS spectra", "cores": os.cpu_count(), "bins": 180}
    save("table", rows, settings | {"numpy": np.__version__})


if __name__ == "__main__":
    main()

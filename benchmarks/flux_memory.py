"""How much memory do residuals of many spectra take, and does it grow with them?

    python benchmarks/flux_memory.py        Linux only

``flux_residual`` of float32 spectra on 3,801 pixels in 180 bins and 5 bands of SDSS, without and
with the gradient to the spectra. Each case runs in a fresh process, which resets its peak of
resident memory when the inputs are there and one galaxy has been through: `peak_mb` is what came on
top. Of that `results_mb` are residuals, weights and the gradient. For comparison: `cells_mb` is one
float64 number a galaxy, bin and band, of which some (both sums, flux, coverage) must be there at
once; `look_ups_mb` one a galaxy, bin and knot of the filters, which need not. With the gradient the
graph keeps up to 256 MiB of look-ups, and beyond makes them anew, block by block. `growth`, in the
JSON, is what the last galaxies added to the peak each, from the second largest case to the largest.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from measure import print_table, read, write

from photoz_losses import RedshiftBins, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

MIB = 2**20
CHUNKS = {"4 MiB": 2**22, "16 MiB, default": None, "64 MiB": 2**26}


def resident(field: str) -> float:
    """VmRSS or VmHWM, the peak, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def one_case(galaxies: int, gradient: bool, chunk_bytes: int | None) -> dict[str, float]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    wavelength = torch.from_numpy(10 ** (np.log10(3800) + 1e-4 * np.arange(3801)))
    flux = 1 + 0.2 * torch.randn(galaxies, len(wavelength), generator=generator)
    z_spec = 0.4 * torch.rand(galaxies, generator=generator)
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, wavelength, chunk_bytes=chunk_bytes)

    def run(some: int) -> list[torch.Tensor]:
        spectra = flux[:some].requires_grad_(gradient)
        results = flux_residual(photometry, spectra, z_spec[:some], bins)
        if not gradient:
            return list(results)
        return [
            part.detach() for part in (*results, *torch.autograd.grad(results[0].sum(), spectra))
        ]

    run(1)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    results = run(galaxies)
    seconds = time.perf_counter() - start
    return {
        "peak_mb": resident("VmHWM") - before,
        "results_mb": sum(part.nbytes for part in results) / MIB,
        "cells_mb": galaxies * len(bins) * len(filters) * 8 / MIB,
        "look_ups_mb": galaxies * len(bins) * sum(map(len, filters.wavelengths)) * 8 / MIB,
        "ms_a_galaxy": 1e3 * seconds / galaxies,
    }


def growth(rows: dict[str, dict[str, float]], galaxies: list[int]) -> dict[str, float]:
    """KiB that each further galaxy adds, by case."""
    few, many = sorted(galaxies)[-2:]
    return {
        name.removeprefix(f"{many}, "): 1024
        * (row["peak_mb"] - rows[name.replace(str(many), str(few), 1)]["peak_mb"])
        / (many - few)
        for name, row in rows.items()
        if name.startswith(f"{many}, ")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, nargs="+", default=[64, 256, 1024, 2048])
    parser.add_argument("--markdown", action="store_true", help="the last run's table, no run")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(one_case(*options.case)))
        return
    if not options.markdown:
        rows = {}
        for galaxies in options.galaxies:
            for gradient in (False, True):
                for chunk, chunk_bytes in CHUNKS.items():
                    case = json.dumps([galaxies, gradient, chunk_bytes])
                    command = [sys.executable, __file__, "--case", case]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    what = "forward and gradient" if gradient else "forward"
                    rows[f"{galaxies}, {what}, chunk_bytes {chunk}"] = json.loads(done.stdout)
        settings = {"galaxies": options.galaxies, "pixels": 3801, "bins": 180, "bands": 5}
        more = growth(rows, options.galaxies) if len(options.galaxies) > 1 else {}
        write("flux_memory", rows, settings, growth_kb_a_galaxy=more)
    written = read("flux_memory")
    content = written["rows"]
    heads = list(next(iter(content.values())))
    cells = [[name, *(f"{row[head]:.3g}" for head in heads)] for name, row in content.items()]
    print_table([["", *(head.replace("_", " ") for head in heads)], *cells], options.markdown)
    print()
    grown = [[name, f"{kb:.0f}"] for name, kb in written["growth_kb_a_galaxy"].items()]
    print_table([["", "KiB a further galaxy"], *grown], options.markdown)


if __name__ == "__main__":
    main()

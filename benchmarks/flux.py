"""What does the flux of a spectrum at 180 redshifts in 5 bands cost, and how exact is it?

    python benchmarks/flux.py [--peers] [--device cuda]
    python benchmarks/flux.py --markdown      the table of the last run, for README and docs

Synthetic spectra on SDSS's 3,801 pixels, even in log wavelength, each with a redshift of its own.
Against the direct sum (``direct_sum.py``) at its fastest number of galaxies at once stand the
engine, eager and compiled; the rival (``rest_frame.py``); the loss of a training step, which only
reads what the engine made; and with ``--peers`` the packages of ``peers.py`` that are installed.

Times are ms a galaxy on one core, of the forward pass or of forward and backward to the spectra
("gradient"), without compiling, which takes `compile_s` once. Errors are relative to the direct sum
in float64, cell by cell where the coverage exceeds 1e-3, for spectra with lines and a break and for
the same with 20 % of white noise; cells count as covered above 0.99. The loss's error is against
float64 residuals. Peers keep the whole filter in the denominator, and are compared with that.

The script starts itself anew with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ set, so that
freed memory is kept: page faults would cost what allocates much up to 1.9 times.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from direct_sum import Curves, direct, direct_sums, divide, whole_denominators
from measure import KEEP_FREED, print_table, read, restart_with, take_turns, write
from peers import PEERS, version
from rest_frame import RestFrame
from torch import Tensor

from photoz_losses import RedshiftBins, flux_loss, flux_residual
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

ENVIRONMENT = KEEP_FREED | {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # so that compile_s is that of a first run
}
CHUNKS = (1, 2, 4)  # galaxies at once, of the direct sum
COVERED, SEEN = 0.99, 1e-3  # coverage above which a cell is called so, or compared at all
LINES = {3727: 0.5, 3934: -0.3, 3969: -0.3, 4861: 0.2, 5007: 0.3, 5893: -0.2, 6563: 0.8, 6725: 0.2}
Function = Callable[[Tensor], Tensor]


@dataclass
class Sky:
    """Spectra, and what the direct sum gives for them."""

    wavelength: Tensor
    z_spec: Tensor
    nu: Tensor
    spectra: dict[str, Tensor]  # smooth and noisy, (N, L)
    bands: dict[str, Tensor]  # at nu = 1 and then at each bin, (N, 1 + C, B)
    full: dict[str, Tensor]  # the same with the whole filter in the denominator
    coverage: Tensor


@dataclass
class Candidate:
    """One row: `run` on the first `galaxies` spectra, in `dtype`."""

    run: Function
    galaxies: int
    dtype: torch.dtype = torch.float64
    gives: str = "bands"  # or full, residual, gradient, loss
    expected: Tensor | None = None
    compiled: bool = False
    calls: int = 1  # in a turn: what is small would else be timed with cold caches


def observe(curves: Curves, bins: RedshiftBins, galaxies: int, device: str) -> Sky:
    generator = torch.Generator().manual_seed(0)
    wavelength = torch.from_numpy(10 ** (np.log10(3800) + 1e-4 * np.arange(3801)))
    z_spec = 0.4 * torch.rand(galaxies, generator=generator, dtype=torch.float64)
    rest = wavelength / (1 + z_spec[:, None])
    smooth = 5000 / rest * (1 + 0.3 * torch.tanh((rest - 4000) / 50))
    for line, strength in LINES.items():  # 150 km/s wide
        smooth = smooth + strength * torch.exp(-(((rest / line).log() / 5e-4) ** 2) / 2)
    noise = torch.randn(smooth.shape, generator=generator, dtype=torch.float64)
    nu = (1 + bins.centers) / (1 + z_spec[:, None])
    wavelength, z_spec, nu = (x.to(device) for x in (wavelength, z_spec, nu))
    spectra = {"smooth": smooth.to(device), "noisy": (smooth * (1 + 0.2 * noise)).to(device)}
    shifts = torch.cat([torch.ones_like(nu[:, :1]), nu], -1)
    bands, full, whole = {}, {}, whole_denominators(curves)
    for kind, flux in spectra.items():
        single = zip(flux.split(1), shifts.split(1), strict=True)
        sums = [direct_sums(curves, wavelength, *part) for part in single]
        above, below = (torch.cat(part) for part in zip(*sums, strict=True))
        bands[kind], full[kind] = divide(above, below), above / whole
    return Sky(wavelength, z_spec, nu, spectra, bands, full, (below / whole)[:, 1:])


def candidates(
    sky: Sky, curves: Curves, filters: FilterSet, bins: RedshiftBins, some: int
) -> dict[str, Candidate]:
    """Rows in the order in which they are published."""
    galaxies, device = len(sky.nu), sky.nu.device
    photometry = SyntheticPhotometry(filters, sky.wavelength.cpu()).to(device)
    shares = torch.rand(sky.coverage.shape, dtype=torch.float64, device=device)
    shares = shares * (sky.coverage > SEEN)  # of each cell in what the gradient is taken of

    def directly(chunk: int, function: Callable[..., Tensor] = direct) -> Function:
        def run(flux: Tensor) -> Tensor:
            parts = zip(flux.split(chunk), sky.nu[: len(flux)].split(chunk), strict=True)
            return torch.cat([function(curves, sky.wavelength, *part) for part in parts])

        return run

    def gradient(run: Function) -> Function:
        def step(flux: Tensor) -> Tensor:
            flux = flux.detach().requires_grad_()
            bands = run(flux)
            return torch.autograd.grad(bands, flux, shares[: len(flux)].to(bands.dtype))[0]

        return step

    def loss(table: torch.dtype, learn: bool) -> Candidate:
        logits = torch.randn(galaxies, len(bins), device=device, requires_grad=learn)
        made = flux_residual(photometry, sky.spectra["smooth"], sky.z_spec, bins)
        at_hand = [part.to(table) for part in made]

        def step(_: Tensor) -> Tensor:
            score = flux_loss(logits, *at_hand, reduction="none")
            if learn:
                torch.autograd.grad(score.sum(), logits)
            return score

        expected = flux_loss(logits.detach().double(), *made, reduction="none")
        return Candidate(step, galaxies, gives="loss", expected=expected, calls=20)

    def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        whole: Callable[..., Tensor] = torch.compile(function, fullgraph=True, dynamic=False)
        return whole

    rows = {f"direct sum, {n} at once": Candidate(directly(n), some) for n in CHUNKS}
    slope = gradient(directly(1))
    rows["direct sum, gradient"] = Candidate(slope, some, gives="gradient")
    rows["direct sum, compiled"] = Candidate(directly(1, compiled(direct)), some, compiled=True)
    expected = slope(sky.spectra["smooth"][:some])

    products, refined = (
        RestFrame(curves, sky.wavelength, bins.centers, refined=refined).to(device)
        for refined in (False, True)
    )
    engines: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, torch.dtype]] = {
        "SyntheticPhotometry": (lambda *x: photometry(*x)[0], sky.nu, torch.float64),
        "rival, two products": (products, sky.z_spec, torch.float32),
        "rival, refined": (refined, sky.z_spec, torch.float32),
    }
    for name, (function, place, dtype) in engines.items():
        for how in ("", ", compiled"):
            for what in ("", ", gradient"):
                run = compiled(function) if how else function
                step: Function = partial(_at, run, place)
                rows[name + how + what] = Candidate(
                    gradient(step) if what else step,
                    galaxies,
                    dtype,
                    gives="gradient" if what else "bands",
                    compiled=bool(how),
                )
    for how in ("", ", compiled"):
        make = compiled(_residual) if how else _residual
        run = partial(make, photometry, sky.z_spec, bins)
        rows["flux_residual" + how] = Candidate(run, galaxies, gives="residual", compiled=bool(how))
    for table in (torch.float32, torch.float16):
        name = f"flux_loss, table in {str(table).removeprefix('torch.')}"
        rows |= {name: loss(table, False), f"{name}, gradient": loss(table, True)}
    for row in rows.values():
        row.expected = expected if row.gives == "gradient" else row.expected
    return rows


def _at(function: Callable[[Tensor, Tensor], Tensor], place: Tensor, flux: Tensor) -> Tensor:
    return function(flux, place)


def _residual(
    photometry: SyntheticPhotometry, z_spec: Tensor, bins: RedshiftBins, flux: Tensor
) -> Tensor:
    return flux_residual(photometry, flux, z_spec, bins)[0]


def errors(row: Candidate, sky: Sky) -> dict[str, dict[str, float]]:
    """Median and largest relative error, by kind of spectrum and coverage of the cell."""
    if row.expected is not None:  # of the largest slope of each spectrum, or of each loss
        values = row.run(sky.spectra["smooth"][: row.galaxies].to(row.dtype)).detach()
        expected = row.expected[: len(values)]
        values = values[: len(expected)].double()
        scale = expected.abs()
        scale = scale.amax(-1, keepdim=True) if row.gives == "gradient" else scale
        return {"all": _spread((values - expected).abs() / scale)}
    cells = {}
    coverage = sky.coverage[: row.galaxies]
    for kind, flux in sky.spectra.items():
        values = row.run(flux[: row.galaxies].to(row.dtype)).double()
        truth = (sky.full if row.gives == "full" else sky.bands)[kind][: row.galaxies]
        first, expected = truth[:, :1], truth[:, 1:]
        compare = coverage > SEEN
        if row.gives == "residual":
            compare = compare & (values != 0)
            values, expected = values + 1, expected / torch.where(first > 0, first, 1.0)
        error = (values - expected).abs() / expected.abs()
        cells[f"{kind}, covered"] = _spread(error[compare & (coverage > COVERED)])
        cells[f"{kind}, partly"] = _spread(error[compare & (coverage <= COVERED)])
    return cells


def _spread(error: Tensor) -> dict[str, float]:
    if not error.numel():
        return {}
    return {"median": error.median().item(), "largest": error.max().item()}


def measure(
    rows: Mapping[str, Candidate], sky: Sky, rounds: int, warm_up: int = 2
) -> dict[str, dict[str, Any]]:
    """Time and errors of each row; faster than the fastest of the direct sums among them."""
    finished: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        start = time.perf_counter()
        row.run(sky.spectra["smooth"][: row.galaxies].to(row.dtype))
        finished[name] = {"galaxies": row.galaxies}
        if row.compiled:
            finished[name]["compile_s"] = time.perf_counter() - start

    def turn(row: Candidate) -> Callable[[], None]:
        flux = sky.spectra["smooth"][: row.galaxies].to(row.dtype)

        def run() -> None:
            for _ in range(row.calls):
                row.run(flux)

        return run

    times = take_turns(
        {name: turn(row) for name, row in rows.items()},
        rounds,
        warm_up,
        torch.cuda.synchronize if sky.nu.is_cuda else lambda: None,
    )
    for name, row in rows.items():
        spent = {k: v / row.calls for k, v in times[name].items() if k.endswith("_s")}
        finished[name] |= spent | {
            "ms_a_galaxy": 1e3 * spent["median_s"] / row.galaxies,
            "errors": errors(row, sky),
        }
    direct_ms = min(
        row["ms_a_galaxy"] for name, row in finished.items() if name.endswith("at once")
    )
    for measured in finished.values():
        measured["times_faster"] = direct_ms / measured["ms_a_galaxy"]
    return finished


def measure_peers(sky: Sky, curves: Curves, galaxies: int, rounds: int) -> dict[str, Any]:
    """The same for every package that is installed, on a few galaxies."""
    if hasattr(os, "sched_setaffinity"):  # one core for those that start threads of their own, too
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    nu = sky.nu[:galaxies].cpu().numpy()
    plain = [(x.cpu().numpy(), y.cpu().numpy()) for x, y in curves]
    rows = {"1 at once": Candidate(partial(_directly, sky, curves), galaxies)}
    versions = {}
    for name, (package, make) in PEERS.items():
        try:
            peer = make(plain, sky.wavelength.cpu().numpy(), nu)
        except ImportError as error:
            print(f"{name}: not installed ({error})")
            continue

        def run(flux: Tensor, peer: Any = peer) -> Tensor:
            return torch.from_numpy(peer(flux.cpu().numpy())).to(flux.device)

        versions[name] = f"{package} {version(package)}"
        rows[name] = Candidate(run, galaxies, gives="full")
    finished = measure(rows, sky, rounds, warm_up=1)
    return {name: finished[name] | {"version": version} for name, version in versions.items()}


def _directly(sky: Sky, curves: Curves, flux: Tensor) -> Tensor:
    parts = zip(flux.split(1), sky.nu[: len(flux)].split(1), strict=True)
    return torch.cat([direct(curves, sky.wavelength, *part) for part in parts])


def bounds(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is asked of the engine, and whether this run has it."""

    def ms(name: str) -> float:
        return float(rows[name]["ms_a_galaxy"])

    def against(name: str) -> float:
        return ms("SyntheticPhotometry, compiled") / min(ms(name), ms(f"{name}, compiled"))

    def backward(name: str) -> float:
        return ms(f"{name}, gradient") / ms(name) - 1

    engine, fused = "SyntheticPhotometry", "SyntheticPhotometry, compiled"
    asked = [
        ("eager, times faster than the direct sum", rows[engine]["times_faster"], ">=", 60),
        ("compiled, times faster than the direct sum", rows[fused]["times_faster"], ">=", 300),
        ("aim: compiled, times faster", rows[fused]["times_faster"], ">=", 1000),
        ("compiled, time against the rival", against("rival, two products"), "<=", 1.5),
        ("aim: compiled, time against the rival", against("rival, two products"), "<=", 1),
        ("beyond: compiled, time against the refined", against("rival, refined"), "<=", 1.5),
        ("eager, backward / forward", backward(engine), "<=", 2),
        ("compiled, backward / forward", backward(fused), "<=", 2),
        ("eager, with the gradient / forward", ms(f"{engine}, gradient") / ms(engine), "<=", 2),
        ("compiled, with the gradient / forward", ms(f"{fused}, gradient") / ms(fused), "<=", 2),
    ]
    return [
        {
            "what": what,
            "value": value,
            "bound": f"{sign} {limit}",
            "met": bool(value >= limit if sign == ">=" else value <= limit),
        }
        for what, value, sign, limit in asked
    ]


def tables(content: Mapping[str, Any]) -> tuple[list[list[str]], list[list[str]]]:
    """Cells of the rows and of the bounds."""
    kinds = ["smooth, covered", "smooth, partly", "noisy, covered", "noisy, partly"]
    head = ["", "ms a galaxy", "quartiles", "× direct", *kinds, "compile s"]
    cells = [head]
    for name, row in content["rows"].items():
        in_ms = 1e3 / row["galaxies"]
        error = {kinds[0]: row["errors"].get("all")} | row["errors"]
        spreads = [error.get(kind) or {} for kind in kinds]
        cells.append(
            [
                name,
                f"{row['ms_a_galaxy']:.3g}",
                f"{row['quartile_1_s'] * in_ms:.3g}–{row['quartile_3_s'] * in_ms:.3g}",
                f"{row['times_faster']:,.{int(row['times_faster'] < 10)}f}",
                *(f"{s['median']:.0e} / {s['largest']:.0e}" if s else "" for s in spreads),
                f"{row['compile_s']:.0f}" if "compile_s" in row else "",
            ]
        )
    asked = [["", "value", "bound", "met"]]
    for line in content["bounds"]:
        met = "yes" if line["met"] else "no"
        asked.append([line["what"], f"{line['value']:.3g}", line["bound"], met])
    return cells, asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=64, help="of a call")
    parser.add_argument("--some", type=int, default=4, help="galaxies for the direct sum")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", action="store_true", help="time other packages, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--markdown", action="store_true", help="the last run's table, no run")
    options = parser.parse_args()
    if options.markdown:
        for table in tables(read("flux")):
            print_table(table, markdown=True)
            print()
        return
    restart_with(ENVIRONMENT)
    torch.set_num_threads(1)

    filters = FilterSet.from_speclite("sdss2010-*")
    pairs = zip(filters.wavelengths, filters.responses, strict=True)
    curves = [(x.to(options.device), y.to(options.device)) for x, y in pairs]
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    sky = observe(curves, bins, options.galaxies, options.device)
    some = min(options.some, options.galaxies)
    everything = candidates(sky, curves, filters, bins.to(options.device), some)
    rows = measure(everything, sky, options.rounds)
    if options.peers:
        rows |= measure_peers(sky, curves, min(2, some), 3)
    given = {name: os.environ[name] for name in ENVIRONMENT}
    settings = vars(options) | {"pixels": 3801, "bins": 180, "bands": 5} | given
    write("flux", rows, settings, bounds=bounds(rows))
    for table in tables(read("flux")):
        print_table(table)
        print()


if __name__ == "__main__":
    main()

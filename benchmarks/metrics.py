"""What does it cost to score 100,000 densities on 180 bins, in float64 on one core?

    python benchmarks/metrics.py

Every score of each galaxy: in batches, as an evaluation goes, and in one call for all galaxies;
one function after the other, and all of them from masses read once (`galaxy_scores`). Beside
them what other packages compute of the same, for as many galaxies as they finish in a while.
Seconds for 100,000 galaxies: medians over the rounds of the wall's clock and of the processor's
own, and the least of the latter, which on a machine that is shared is the nearest to one that is
not.
"""

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from measure import save
from torch import Tensor

from photoz_losses import RedshiftBins, metrics
from photoz_losses.io import to_qp

Call = Callable[[Tensor, Tensor], Any]


def ours(bins: RedshiftBins) -> dict[str, Call]:
    each = {"reduction": "none"}
    return {
        "pit": lambda p, z: metrics.pit(p, z, bins),
        "cde_loss": lambda p, z: metrics.cde_loss(p, z, bins, **each),
        "crps": lambda p, z: metrics.crps(p, z, bins, **each),
        "log_score": lambda p, z: metrics.log_score(p, z, bins, **each),
        "brier": lambda p, z: metrics.brier(p, z, bins, **each),
        "entropy": lambda p, z: metrics.entropy(p, bins, **each),
        "credibility, central": lambda p, z: metrics.credibility(p, z, bins),
        "credibility, highest density": lambda p, z: metrics.credibility(
            p, z, bins, interval="highest_density"
        ),
        "mean": lambda p, z: bins.mean(p),
        "median": lambda p, z: bins.median(p),
        "mode": lambda p, z: bins.mode(p),
    }


def together(bins: RedshiftBins) -> Call:
    return lambda p, z: metrics.galaxy_scores(p, z, bins)


def theirs(bins: RedshiftBins) -> dict[str, tuple[int, Call]]:
    """Other packages, and how many galaxies each is given."""
    found: dict[str, tuple[int, Call]] = {}
    edges = bins.edges.numpy()
    if find_spec("qp"):
        found["qp: pit"] = 10_000, lambda p, z: to_qp(p, bins).cdf(z.unsqueeze(-1).numpy())
        found["qp: log_score"] = (
            10_000, lambda p, z: -np.log(to_qp(p, bins).pdf(z.unsqueeze(-1).numpy()))
        )  # fmt: skip
        found["qp: median"] = 10_000, lambda p, z: to_qp(p, bins).ppf(0.5)
    if find_spec("scores"):
        import xarray
        from scores.probability import crps_cdf

        def scores_crps(p: Tensor, z: Tensor) -> Any:
            below = np.pad(p.cumsum(-1).clamp(max=1).numpy(), ((0, 0), (1, 0)))
            forecast = xarray.DataArray(
                below, dims=("galaxy", "threshold"), coords={"threshold": edges}
            )
            truth = xarray.DataArray(z.numpy(), dims="galaxy")
            return crps_cdf(forecast, truth, integration_method="exact", preserve_dims=["galaxy"])

        found["scores: crps"] = 1000, scores_crps
    if find_spec("properscoring"):
        from properscoring import crps_quadrature

        def quadrature(p: Tensor, z: Tensor) -> Any:
            for row, truth in zip(p.numpy(), z.tolist(), strict=True):
                below = np.append(0.0, row.cumsum())
                crps_quadrature(
                    truth, lambda x, y=below: np.interp(x, edges, y), edges[0], edges[-1], tol=1e-3
                )

        found["properscoring: crps"] = 100, quadrature
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=100_000)
    parser.add_argument("--bins", type=int, default=180)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)
    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)
    draws = torch.rand(2, options.galaxies, generator=generator, dtype=torch.float64)
    z_spec = 0.02 + 0.36 * draws[0]
    peak = z_spec + 0.02 * (draws[1] - 0.5)
    offset = (bins.centers - peak.unsqueeze(-1)) / 0.01
    probs = (1e-6 + (-offset.square() / 2).exp()) / (1e-6 + (-offset.square() / 2).exp()).sum(
        -1, keepdim=True
    )
    del offset

    def in_batches(call: Call) -> Callable[[], Any]:
        batches = list(zip(probs.split(options.batch), z_spec.split(options.batch), strict=True))
        return lambda: [call(p, z) for p, z in batches]

    candidates: dict[str, tuple[int, Callable[[], Any]]] = {}
    for name, call in ours(bins).items():
        candidates[name] = options.galaxies, in_batches(call)
    for name, call in ours(bins).items():
        candidates[f"{name}, one call"] = (
            options.galaxies, lambda c=call: c(probs, z_spec)  # type: ignore[misc]
        )  # fmt: skip
    candidates["galaxy_scores"] = options.galaxies, in_batches(together(bins))
    candidates["galaxy_scores, one call"] = options.galaxies, lambda: together(bins)(probs, z_spec)
    for name, (number, call) in theirs(bins).items():
        candidates[name] = number, lambda c=call, n=number: c(probs[:n], z_spec[:n])  # type: ignore[misc]

    timed: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for turn in range(1 + options.rounds):
        for name, (number, candidate) in candidates.items():
            wall, processor = time.perf_counter(), time.process_time()
            candidate()
            spent = time.perf_counter() - wall, time.process_time() - processor
            if turn:
                factor = 100_000 / number
                timed[name].append((spent[0] * factor, spent[1] * factor))
    rows = {}
    for name, values in timed.items():
        wall_s, processor_s = np.median(values, axis=0)
        least_s = min(processor for _, processor in values)
        rows[name] = {"wall_s": wall_s, "processor_s": processor_s, "least_processor_s": least_s}
    for title, suffix in (("all together", ""), ("all together, one call", ", one call")):
        parts = [rows[f"{name}{suffix}"] for name in ours(bins)]
        rows[title] = {key: sum(part[key] for part in parts) for key in parts[0]}
    given = {name: number for name, (number, _) in candidates.items() if number < options.galaxies}
    save("metrics", rows, vars(options) | {"dtype": "float64", "galaxies given to": given})


if __name__ == "__main__":
    main()

"""Metrics over ranks with unequal shares: exactly what one process gets from everything."""

import pytest
import torch
import torch.distributed as dist
from ranks import needs_gloo, on_ranks
from torchmetrics import Metric

from photoz_losses import RedshiftBins, metrics
from photoz_losses.metrics import (
    CRPS,
    MAD,
    PIT,
    RMS,
    Bias,
    Binned,
    Brier,
    CDELoss,
    Coverage,
    Entropy,
    LogScore,
    OutlierRate,
    PITStatistics,
    SigmaIQR,
    photo_z_metrics,
)

GALAXIES, CUTS = 11, [0.0, 0.4, 0.8, 1.2]
SHARES = {  # on two and on three ranks; None: no batch at all
    "unequal": [(7, 4), (6, 4, 1)],
    "one empty batch": [(11, 0), (7, 0, 4)],
    "one without a batch": [(None, 11), (8, 3, None)],
    "one with all": [(11, None), (None, 11, None)],
}


def galaxies():
    """Bins, masses on them and true redshifts."""
    bins = RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 1.5])
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(GALAXIES, len(bins), generator=generator, dtype=torch.float64).softmax(-1)
    return bins, probs, 1.5 * torch.rand(GALAXIES, generator=generator, dtype=torch.float64)


def of_points():
    """Metrics of point estimates."""
    return {
        "mad": MAD(),
        "centred mad": MAD(centered=True),
        "bias": Bias(),
        "outlier rate": OutlierRate(),
        "3 sigma outliers": OutlierRate("sigma_iqr"),
        "sigma iqr": SigmaIQR(),
        "rms": RMS(),
        "histogram": MAD(approximate=50),
        "on the cpu": Bias(compute_on_cpu=True),
        "moved": MAD().to(torch.float32),
    }


def of_densities(bins):
    """Metrics of masses; the entropy takes no redshifts."""
    return {
        "pit": PIT(bins),
        "cde": CDELoss(bins),
        "crps": CRPS(bins),
        "log score": LogScore(bins),
        "brier": Brier(bins),
        "coverage": Coverage(bins, level=[0.1, 0.5, 0.9], interval="highest_density"),
        "pit statistics": PITStatistics(bins),
        "pit histogram": PITStatistics(bins, approximate=50),
        "entropy": Entropy(bins),
    }


def measured(share, batch=4):
    """Every metric on a share of the galaxies, batch by batch, and over all ranks if there are.

    Computed after the first batch, too: a rank may see nothing after that.
    """
    bins, probs, z_spec = galaxies()
    points, densities = of_points(), of_densities(bins)
    weighted = {"weighted mad": MAD(), "weighted histogram": SigmaIQR(approximate=50)}
    partly = MAD()  # weights come with some of the batches
    per_bin = {"per bin": Binned(MAD(), CUTS), "densities per bin": Binned(CRPS(bins), CUTS)}
    presets = {name: photo_z_metrics(bins, name) for name in ("paper", "rail")}
    presets["histograms"] = photo_z_metrics(bins, "rail", approximate=50)
    each = {**points, **densities, **weighted, "partly weighted mad": partly, **per_bin, **presets}
    starts = [] if share is None else list(range(share.start, max(share.stop, 1), batch))
    for part in (starts[:1], starts[1:]):
        for start in part:
            rows = slice(start, min(start + batch, share.stop))
            p, z = probs[rows], z_spec[rows]
            z_phot = bins.mean(p)
            for metric in points.values():
                metric.update(z_phot, z)
            for name, metric in densities.items():
                metric.update(*((p,) if name == "entropy" else (p, z)))
            for metric in weighted.values():
                metric.update(z_phot, z, weights=1 + z)
            partly.update(z_phot, z, weights=None if start % 2 else torch.ones_like(z))
            per_bin["per bin"].update(z_phot, z, by=z)
            per_bin["densities per bin"].update(p, z, by=z)
            for preset in presets.values():
                preset.update(probs=p, z_spec=z)
        result = {name: metric.compute() for name, metric in each.items()}
    return result


def each_share(rank, ranks):
    """What this rank measures of its shares together with the others."""
    seen = {}
    for name, (of_two, of_three) in SHARES.items():
        counts = of_two if ranks == 2 else of_three
        first = sum(count or 0 for count in counts[:rank])
        none = counts[rank] is None
        seen[name] = measured(None if none else slice(first, first + counts[rank]))
        dist.barrier()
    return seen


@pytest.fixture(scope="module", params=[2, 3])
def measurements(request):
    """What each rank saw."""
    return on_ranks(each_share, request.param)


@pytest.fixture(scope="module")
def expected():
    """What one process gets from everything."""
    return measured(slice(0, GALAXIES))


def test_every_metric_is_here():
    classes = {name: getattr(metrics, name) for name in metrics.__all__}
    kinds = {n for n, c in classes.items() if isinstance(c, type) and issubclass(c, Metric)}
    here = [*of_points().values(), *of_densities(galaxies()[0]).values()]
    assert kinds - {"Binned"} == {type(metric).__name__ for metric in here}


@needs_gloo
@pytest.mark.parametrize("name", SHARES)
def test_ranks_get_what_one_process_gets(name, measurements, expected):
    for seen in measurements:
        torch.testing.assert_close(seen[name], expected, rtol=1e-14, atol=1e-15, equal_nan=True)

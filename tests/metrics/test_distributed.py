"""Metrics over two processes with unequal shares: exactly what one process gets from everything.

The processes run this file as a script, so that it does not matter how pytest imported it.
"""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks

from photoz_losses import RedshiftBins
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

GALAXIES, RANKS = 11, 2
SHARES = {
    "unequal": [slice(0, 7), slice(7, 11)],
    "one empty batch": [slice(0, 11), slice(11, 11)],
    "one without a batch": [slice(0, 11), None],  # last: it may not leave the ranks in step
}
PATIENCE = 60  # seconds


def galaxies():
    """Bins, masses on them and true redshifts."""
    bins = RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 1.5])
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(GALAXIES, len(bins), generator=generator, dtype=torch.float64).softmax(-1)
    return bins, probs, 1.5 * torch.rand(GALAXIES, generator=generator, dtype=torch.float64)


def measured(share, batch=3):
    """Every metric on a share of the galaxies, batch by batch, and over all ranks if there are."""
    bins, probs, z_spec = galaxies()
    metrics = {
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
    weighted = {"weighted mad": MAD(), "weighted histogram": SigmaIQR(approximate=50)}
    partly = {"partly weighted mad": MAD()}
    per_bin = Binned(MAD(), [0.0, 0.4, 0.8, 1.2])
    presets = {name: photo_z_metrics(bins, name) for name in ("paper", "rail")}
    presets["histograms"] = photo_z_metrics(bins, "rail", approximate=50)
    densities = {"pit", "cde", "crps", "log score", "brier", "coverage"}
    densities |= {"pit statistics", "pit histogram"}
    if share is not None:
        probs, z_spec = probs[share], z_spec[share]
        for start in range(0, max(len(z_spec), 1), batch):
            rows = slice(start, start + batch)
            for name, metric in metrics.items():
                if name == "entropy":
                    metric.update(probs[rows])
                    continue
                prediction = probs[rows] if name in densities else bins.mean(probs[rows])
                metric.update(prediction, z_spec[rows])
            z_phot = bins.mean(probs[rows])
            for metric in weighted.values():
                metric.update(z_phot, z_spec[rows], weights=1 + z_spec[rows])
            for metric in partly.values():  # weights come with other batches on other ranks
                ones = torch.ones_like(z_phot) if start else None
                metric.update(z_phot, z_spec[rows], weights=ones)
            per_bin.update(z_phot, z_spec[rows], by=z_spec[rows])
            for preset in presets.values():
                preset.update(probs=probs[rows], z_spec=z_spec[rows])
    each = {**metrics, **weighted, **partly, "per bin": per_bin, **presets}
    return {name: metric.compute() for name, metric in each.items()}


def one_process(rank, folder):
    """Measure this rank's shares together with the other rank's, and save what it sees."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    for name, shares in SHARES.items():
        torch.save(measured(shares[rank]), Path(folder, f"{name} {rank}.pt"))
        dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def measurements(tmp_path_factory):
    """Folder of what the ranks saw, and what they complained about."""
    folder = tmp_path_factory.mktemp("ranks")
    complaints = run_ranks(__file__, lambda rank: [str(rank), str(folder)], RANKS, PATIENCE)
    return folder, complaints


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.parametrize("shares", SHARES)
def test_two_processes_get_what_one_gets(shares, measurements):
    folder, complaints = measurements
    expected = measured(slice(None))
    for rank in range(RANKS):
        file = folder / f"{shares} {rank}.pt"
        assert file.exists(), complaints
        torch.testing.assert_close(
            torch.load(file), expected, rtol=1e-14, atol=1e-15, equal_nan=True
        )


if __name__ == "__main__":
    one_process(int(sys.argv[1]), sys.argv[2])

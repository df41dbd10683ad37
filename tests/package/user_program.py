"""A small program as a user writes it, on the wheel: it runs, and its types are read strictly."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_type

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

import photoz_losses
from photoz_losses import (
    CDELoss,
    FluxLoss,
    InvarianceLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    TotalLoss,
    UncertaintyWeights,
    Views,
    WeightSchedule,
    average_views,
    cde_loss,
    flux_residual,
    rebin,
    two_views,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.io import Predictions, load_predictions, save_predictions
from photoz_losses.metrics import (
    MAD,
    PerBin,
    binned,
    crps,
    galaxy_scores,
    mad,
    photo_z_metrics,
    pit,
    pit_statistics,
)
from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry
from photoz_losses.transforms import RandomDihedral, ResampleBackground

BATCH, GALAXIES = 8, 64


class Network(nn.Module):
    """One logit a bin from images."""

    def __init__(self, bins: RedshiftBins) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 8, len(bins)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.layers(images)
        return logits


def make_table(z: Tensor, bins: RedshiftBins) -> FluxTable:
    """Residuals of spectra with a break, in two bands."""
    wavelength = torch.logspace(3.56, 3.96, 401, dtype=torch.float64)
    flux = torch.where(wavelength < 4000 * (1 + z.unsqueeze(-1)), 0.5, 1.0) / wavelength**2
    valid = torch.ones_like(flux, dtype=torch.bool)
    spectra = Spectra(wavelength, flux, torch.ones_like(flux), z, valid)
    filters = FilterSet(
        ["a", "b"], [[4000.0, 5000.0, 6000.0], [6000.0, 7000.0]], [[0, 1, 0], [1, 1]]
    )
    photometry = SyntheticPhotometry(filters, wavelength)
    in_bands, coverage = photometry(flux, torch.ones(len(flux), 1, dtype=torch.float64))
    print(photometry, tuple(in_bands.shape), tuple(coverage.shape))
    residual, band_weight = flux_residual(photometry, flux, z, bins)
    assert_type((residual, band_weight), tuple[Tensor, Tensor])
    table = FluxTable.build(spectra, bins, photometry, dtype=torch.float32, progress=False)
    assert_type(table, FluxTable)
    assert_type(table[3], tuple[Tensor, Tensor])
    assert_type(len(table), int)
    return table


def batches(*columns: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers of the galaxies of each batch, and their images."""
    images, z_spec = columns
    for rows in torch.split(torch.arange(len(z_spec)), BATCH):
        yield rows, images[rows]


def train(
    model: Network, images: Tensor, z_spec: Tensor, table: FluxTable, bins: RedshiftBins
) -> None:
    """One epoch with four terms."""
    ramp = WeightSchedule(0.1, "linear", steps=4)
    loss = TotalLoss(
        {
            "ce": (1.0, RedshiftCrossEntropy(bins, label_smoothing=0.01)),
            "cde": (ramp, CDELoss(bins)),
            "flux": (0.1, FluxLoss(bins)),
            "invariance": (1.0, InvarianceLoss("cramer", bins=bins)),
        },
        weighting=UncertaintyWeights(["ce"]),
    )
    another_view = nn.Sequential(ResampleBackground(), RandomDihedral())
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=1e-2)
    for rows, batch in batches(images, z_spec):
        views = two_views(model, batch, another_view)
        assert_type(views, Views)
        assert_type(views.logits, Tensor)
        residual, band_weight = table[rows]
        total, terms = loss(
            **views._asdict(), z_spec=z_spec[rows], residual=residual, band_weight=band_weight
        )
        assert_type(total, Tensor)
        assert_type(terms, dict[str, Tensor])
        optimizer.zero_grad()
        torch.autograd.backward(total)  # Tensor.backward has no types
        optimizer.step()
        loss.step()
    assert_type(loss.current_weights(), dict[str, float])
    assert_type(ramp.value, Tensor)
    print(loss)


def entropy(logits: Tensor, z_spec: Tensor, bins: RedshiftBins) -> Tensor:
    """A Module's call has the types of its forward: no cast, and a forgotten z_spec is an error."""
    return RedshiftCrossEntropy(bins)(logits, z_spec=z_spec)


def evaluate(probs: Tensor, z_spec: Tensor, bins: RedshiftBins) -> None:
    """Metrics as functions, as classes, in bins, and in one collection."""
    z_phot = bins.mean(probs)
    assert_type(z_phot, Tensor)
    assert_type(bins.quantile(probs, 0.5), Tensor)
    assert_type(mad(z_phot, z_spec), Tensor)
    assert_type(crps(probs, z_spec, bins, reduction="none"), Tensor)
    assert_type(pit_statistics(pit(probs, z_spec, bins)), dict[str, Tensor])
    assert_type(galaxy_scores(probs, z_spec, bins), dict[str, Tensor])
    per_bin = binned(mad, z_phot, z_spec, by=z_spec, edges=[0.0, 0.2, 0.4], n_boot=20)
    assert_type(per_bin, PerBin)
    assert_type(per_bin.count, Tensor)
    streaming = MAD(centered=True)
    streaming.update(z_phot, z_spec)
    metrics = photo_z_metrics(bins, "euclid")
    collection: MetricCollection = metrics
    metrics.update(probs=probs, z_spec=z_spec)
    assert_type(metrics.compute(), dict[str, Any])
    print(collection, metrics.compute(), per_bin, streaming.compute(), sep="\n")


def main() -> None:
    """Train, calibrate, evaluate, write and read."""
    generator = torch.Generator().manual_seed(0)
    bins = RedshiftBins.uniform(0.0, 0.4, 20)
    assert_type(bins.edges, Tensor)
    z_spec = 0.01 + 0.38 * torch.rand(GALAXIES, generator=generator)
    images = torch.randn(GALAXIES, 2, 8, 8, generator=generator) + z_spec[:, None, None, None]
    model = Network(bins)
    train(model, images, z_spec, make_table(z_spec, bins), bins)
    assert_type(average_views(model.eval(), images, None), Tensor)

    logits = model.forward(images).detach()
    assert_type(cde_loss(logits, z_spec, bins), Tensor)
    assert_type(entropy(logits, z_spec, bins), Tensor)
    assert_type(CDELoss(bins)(logits, z_spec), Tensor)
    calibration = PITRecalibration(bins, n_segments=4).fit(logits, z_spec)
    assert_type(calibration, PITRecalibration)
    print(calibration, TemperatureScaling(bins))
    probs = calibration(logits).softmax(-1)
    evaluate(probs, z_spec, bins)
    assert_type(rebin(probs, bins, RedshiftBins.log1p(0.0, 0.4, 10)), Tensor)

    with TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.npz"
        save_predictions(path, probs, bins, z_spec, magnitude=torch.zeros(GALAXIES))
        found = load_predictions(path)
        assert_type(found, Predictions)
        assert_type(found.z_spec, Tensor | None)
        assert torch.equal(found.probs, probs)
    assert_type(photoz_losses.__version__, str)
    print("photoz_losses", photoz_losses.__version__, "from", photoz_losses.__file__)


if __name__ == "__main__":
    main()

"""The training loop of the paper's three groups: data, loss, optimiser, schedule."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from galaxies import Galaxies
from network import PhotozResNet50
from rendering import SKY_NOISE
from torch import Tensor, nn
from tqdm import tqdm

from photoz_losses import (
    CDELoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    TotalLoss,
    flux_residual,
    two_views,
)
from photoz_losses.photometry import FilterSet, SyntheticPhotometry
from photoz_losses.transforms import RandomDihedral, ResampleBackground

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Group:
    """A column of table 2."""

    constrained: bool = False
    augmented: bool = False


GROUPS = {
    "baseline": Group(),
    "augmented": Group(augmented=True),
    "constrained": Group(constrained=True),
}


@dataclass(frozen=True)
class Batch:
    """What a step needs of some galaxies, on the training device."""

    image: Tensor
    ebv: Tensor
    z_spec: Tensor
    residual: Tensor
    band_weight: Tensor


@dataclass(frozen=True)
class TrainingSet:
    """Training galaxies and their flux residuals, served in random batches."""

    galaxies: Galaxies
    residual: Tensor
    band_weight: Tensor

    def batches(self, size: int, device: torch.device) -> Iterator[Batch]:
        """Every galaxy once, in random order; a last batch of fewer than two is left out."""
        for rows in torch.randperm(len(self.galaxies)).split(size):
            if len(rows) > 1:  # BatchNorm takes no batch of one
                parts = (self.galaxies.image, self.galaxies.ebv, self.galaxies.z_spec)
                table = (self.residual, self.band_weight)
                yield Batch(*(part[rows].to(device) for part in (*parts, *table)))


def training_set(galaxies: Galaxies, bins: RedshiftBins) -> TrainingSet:
    """Add the flux residuals of the galaxies' own spectra: once, before any training."""
    filters = FilterSet.from_speclite("sdss2010-*")
    photometry = SyntheticPhotometry(filters, galaxies.wavelength)
    blocks = torch.arange(len(galaxies)).split(64)
    parts = [
        flux_residual(photometry, galaxies.spectrum[rows], galaxies.z_spec[rows], bins)
        for rows in tqdm(blocks, desc="flux residuals", unit="block")
    ]
    residual, band_weight = (torch.cat(part) for part in zip(*parts, strict=True))
    return TrainingSet(galaxies, residual, band_weight)


def total_loss(group: Group, options: argparse.Namespace, bins: RedshiftBins) -> TotalLoss:
    """The paper's loss: cross entropy and weights penalty, and the group's constraints."""
    terms: dict[str, tuple[float, nn.Module]] = {
        "ce": (1.0, RedshiftCrossEntropy(bins)),
        "l2": (options.gamma_l2, L2Penalty()),
    }
    if group.constrained:
        terms["flux"] = (options.gamma_flux, FluxLoss(bins))
        terms["invariance"] = (options.gamma_invariance, InvarianceLoss())
        terms["cde"] = (options.gamma_cde, CDELoss(bins))
    return TotalLoss(terms)


class Trainer:
    """One group's network, loss and optimiser."""

    def __init__(self, group: Group, options: argparse.Namespace, bins: RedshiftBins) -> None:
        torch.manual_seed(options.seed)
        self.group, self.options = group, options
        self.device = torch.device(options.device)
        self.model = PhotozResNet50(
            len(bins),
            SKY_NOISE,
            stem=options.stem,
            bin_factor=options.bin_factor,
            zero_init=options.initialisation == "zero",
        ).to(self.device)
        self.view = nn.Sequential(ResampleBackground(), RandomDihedral())
        self.loss = total_loss(group, options, bins).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=options.lr, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "fp16")
        self.seconds: list[float] = []

    def forward(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Logits, in the precision asked for."""
        dtype = PRECISIONS[self.options.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            logits: Tensor = self.model(image, ebv)
        return logits

    def step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; the unweighted terms."""
        start = time.perf_counter()
        inputs: dict[str, Any] = vars(batch) | {"parameters": self.model.parameters()}
        if self.group.constrained:
            views = two_views(self.forward, batch.image, self.view, batch.ebv)
            inputs |= views._asdict()
        else:
            image = self.view(batch.image) if self.group.augmented else batch.image
            inputs |= {"logits": self.forward(image, batch.ebv)}
        total, terms = self.loss(**inputs)
        self.optimizer.zero_grad()
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        values = {name: value.item() for name, value in terms.items()}
        self.seconds.append(time.perf_counter() - start)
        return values

    @torch.no_grad()
    def predict(self, galaxies: Galaxies) -> Tensor:
        """Masses per bin of every galaxy."""
        self.model.eval()
        parts = zip(galaxies.image.split(256), galaxies.ebv.split(256), strict=True)
        logits = [self.forward(i.to(self.device), e.to(self.device)).cpu() for i, e in parts]
        self.model.train()
        return torch.cat(logits).float().softmax(-1)

    def fit(self, train: TrainingSet, validation: Galaxies, bins: RedshiftBins, name: str) -> None:
        """All epochs, with a progress bar that shows every term."""
        options = self.options
        steps = options.epochs * -(-len(train.galaxies) // options.batch)
        schedule = Schedule(self.optimizer, options, steps)
        with tqdm(total=steps, desc=name, unit="step") as progress:
            for _ in range(options.epochs):
                for batch in train.batches(options.batch, self.device):
                    terms = self.step(batch)
                    schedule.step()
                    progress.set_postfix({key: f"{value:.3g}" for key, value in terms.items()})
                    progress.update()
                schedule.end_epoch(self, validation, bins)


class Schedule:
    """Learning rate: the paper's, lowered where validation stalls, or one cycle for short runs."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, options: argparse.Namespace, steps: int
    ) -> None:
        lr_scheduler = torch.optim.lr_scheduler
        self.one_cycle = self.plateau = None
        if options.schedule == "onecycle":
            self.one_cycle = lr_scheduler.OneCycleLR(
                optimizer, options.lr, total_steps=steps, pct_start=0.25, cycle_momentum=False
            )
        else:
            self.plateau = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=2)

    def step(self) -> None:
        """After every step."""
        if self.one_cycle is not None:
            self.one_cycle.step()

    def end_epoch(self, trainer: Trainer, validation: Galaxies, bins: RedshiftBins) -> None:
        """After every epoch: the validation set's cross entropy decides."""
        if self.plateau is not None:
            at_truth = trainer.predict(validation).gather(1, bins.index(validation.z_spec)[:, None])
            self.plateau.step(-at_truth.clamp(min=1e-30).log().mean().item())

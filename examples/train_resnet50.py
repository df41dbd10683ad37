"""Train the paper's ResNet50 with and without its physical constraints, and compare.

    python examples/train_resnet50.py

Three groups, as table 2 of Engel & Strube (2023): cross entropy alone; the same with rotated
images and redrawn backgrounds; cross entropy with all constraints. Fluxes, redshifts and
extinctions are those of real SDSS galaxies; the images are rendered with these fluxes
(``galaxies.py``, ``rendering.py``). Defaults are cut to minutes on two cores; ``--preset paper``
has the paper's own sizes.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from evaluation import (
    Row,
    constant_prediction,
    evaluate,
    save_gallery,
    save_pit,
    save_redshifts,
    save_results,
    table,
)
from galaxies import Galaxies, load_galaxies, split
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
)
from photoz_losses.photometry import FilterSet, SyntheticPhotometry
from photoz_losses.transforms import RandomDihedral, ResampleBackground

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PAPER = {
    "galaxies": None,
    "epochs": 50,
    "batch": 128,
    "stem": "paper",
    "bin_factor": 1,
    "schedule": "plateau",
    "initialisation": "he",
}


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
    return TrainingSet(galaxies, residual.half(), band_weight)


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
        if self.group.constrained:  # both views in one forward: one BatchNorm, any wrapper
            both = torch.cat([batch.image, self.view(batch.image)])
            logits, other = self.forward(both, batch.ebv.repeat(2)).chunk(2)
            inputs |= {"logits": logits, "logits_transformed": other}
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


def show(
    trainer: Trainer, name: str, test: Galaxies, bins: RedshiftBins, output: Path
) -> dict[str, float]:
    """Metrics on held-out galaxies, and the three pictures."""
    probs = trainer.predict(test)
    row, pit = evaluate(probs, test.z_spec, bins)
    save_pit(output / f"{name}_pit.png", pit, name)
    save_redshifts(output / f"{name}_redshifts.png", bins.mean(probs), test.z_spec, name)
    some = test.subset(torch.arange(min(12, len(test))))
    views = [
        trainer.predict(Galaxies(**vars(some) | {"image": trainer.view(some.image)}))
        for _ in range(20)
    ]
    save_gallery(
        output / f"{name}_densities.png",
        some.image,
        torch.stack(views, 1),
        some.z_spec,
        bins,
        f"{name}: 20 random views of each galaxy",
    )
    return row


def main() -> None:
    options = arguments()
    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)
    train, validation, test = split(load_galaxies(options.galaxies, seed=options.seed))
    training = training_set(train, bins)

    guess = constant_prediction(train.z_spec, len(test), bins)
    rows: dict[str, Row] = {"constant": evaluate(guess, test.z_spec, bins)[0]}
    for name in GROUPS if options.group == "all" else [options.group]:
        trainer = Trainer(GROUPS[name], options, bins)
        began = time.perf_counter()
        trainer.fit(training, validation, bins, name)
        times = {
            "training_seconds": time.perf_counter() - began,
            "seconds_a_step": torch.tensor(trainer.seconds).median().item(),
        }
        rows[name] = show(trainer, name, test, bins, options.output) | times
        save_results(options.output, rows, vars(options))

    side = 64 // options.bin_factor
    print(
        f"\n{len(train)} galaxies to train on at {side} x {side} pixels, {options.epochs} epochs "
        f"in batches of {options.batch}; {len(test)} held out\n{table(rows)}\n"
        f"results and pictures in {options.output}, {time.perf_counter() - start:.0f} s in all"
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--preset", choices=["minutes", "paper"], default="minutes", help="sizes of table 2")
    add("--group", choices=["all", *GROUPS], default="all")
    add("--galaxies", type=int, default=6000, help="how many to draw")
    add("--epochs", type=int, default=2)
    add("--batch", type=int, default=32)
    add("--bins", type=int, default=180, help="redshift bins on [0, 0.4]")
    add("--stem", choices=["torchvision", "paper"], default="torchvision")
    add(
        "--bin-factor", type=int, default=2, help="pixels summed along each side before the network"
    )
    add("--schedule", choices=["onecycle", "plateau"], default="onecycle")
    add("--initialisation", choices=["zero", "he"], default="zero", help="of the residual blocks")
    add("--lr", type=float, default=1e-3)
    for term, gamma in {"l2": 1e-6, "flux": 0.1, "invariance": 0.1, "cde": 0.1}.items():
        add(f"--gamma-{term}", type=float, default=gamma, help=f"weight of the {term} term")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=PRECISIONS, default="fp32")
    add("--output", type=Path, default=Path("outputs/train_resnet50"))
    if parser.parse_known_args(given)[0].preset == "paper":
        parser.set_defaults(**PAPER)
    return parser.parse_args(given)


if __name__ == "__main__":
    main()

"""The groups that see images: a small residual network on rendered galaxies, seed by seed.

Images are binned to 32 x 32 pixels once, before any view: a view of 64 x 64 pixels takes longer
than a step of the network. What is real and what is rendered, ``galaxies.py`` says.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import checkpoints
import torch
import torch.nn.functional as F
from config import Config
from evaluation import Row, evaluate
from loading import Data, Items, prepare
from module import PhotozModule
from network import SmallPhotozResNet
from readers import Rendered
from rendering import SKY_NOISE
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate
from training import fit

from photoz_losses import RedshiftBins, average_views, invariance_loss
from photoz_losses.metrics import crps, entropy
from photoz_losses.transforms import RandomDihedral, ResampleBackground
from study import turns

PAPER = {"gamma_flux": 0.1, "gamma_invariance": 0.1, "gamma_cde": 0.1}  # table 2
GROUPS: dict[str, dict[str, Any]] = {
    "cross entropy": {},
    "augmentation": {"augmented": True},
    "turns alone": {"augmented": True},  # the same without the redrawn sky: see VIEWS
    "flux": {"gamma_flux": 0.1},
    "invariance": {"gamma_invariance": 0.1},
    "CDE": {"gamma_cde": 0.1},
    "all": PAPER,
    "all, one branch": PAPER | {"detach": True},  # no gradient through the second view
    "all, invariance x 100": PAPER | {"gamma_invariance": 10.0},
}
VIEW = nn.Sequential(ResampleBackground(), RandomDihedral())  # the paper's; the measure's as well
VIEWS: dict[str, nn.Module] = {"turns alone": RandomDihedral()}
BIN, WIDTHS = 2, (16, 32, 64)
SEEING, NOISE, FAINT = 1.3, 2.0, 0.25  # the shifts: times the seeing, times the noise, which part


class Stamps(Dataset[dict[str, Tensor]]):
    """Galaxies in memory, images summed over BIN x BIN pixels."""

    def __init__(self, items: Items) -> None:
        loaded = default_collate([items[k] for k in range(len(items))])
        self.columns = {k: v for k, v in loaded.items() if isinstance(v, Tensor)}
        image = self.columns["image"]
        self.columns["image"] = F.avg_pool2d(image, BIN, divisor_override=1)
        self.rows = items.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[index] for name, values in self.columns.items()}

    def changed(self, rows: Tensor | None = None, **columns: Tensor) -> "Stamps":
        """Other columns, or some of the galaxies."""
        other = Stamps.__new__(Stamps)
        taken = torch.arange(len(self)) if rows is None else rows
        other.columns = {k: v[taken] for k, v in (self.columns | columns).items()}
        other.rows = self.rows[taken]
        return other


@dataclass(frozen=True)
class Sets:
    """Galaxies to train on, and those held out as they were trained on and otherwise."""

    train: Stamps
    validation: Stamps
    tests: Mapping[str, Stamps]
    bins: RedshiftBins


@cache
def load(galaxies: int | None, bins: int, folder: Path | None = None) -> Sets:
    """Everything that the runs read: the same galaxies for every group and every seed."""
    grid = RedshiftBins.uniform(0.0, 0.4, bins)
    data: Data = prepare(Config(galaxies=galaxies, gamma_flux=1.0), grid, folder)
    reader = data.test.reader
    assert isinstance(reader, Rendered)
    blurred = Rendered(galaxies, seeing=SEEING, cache=folder)
    test, flux_r = Stamps(data.test), reader.flux[data.test.rows, 2]
    return Sets(
        Stamps(data.train),
        Stamps(data.validation),
        {
            "as trained": test,
            "seeing": Stamps(Items(blurred, data.test.rows)),
            "noise": test.changed(image=noisier(test.columns["image"])),
            "faint": test.changed(flux_r.argsort()[: max(2, round(FAINT * len(test)))]),
        },
        grid,
    )


def noisier(image: Tensor, seed: int = 0) -> Tensor:
    """Binned images with NOISE times their sky's noise."""
    added = BIN * (NOISE**2 - 1) ** 0.5 * torch.tensor(SKY_NOISE)[:, None, None]
    draw = torch.Generator().manual_seed(seed)
    return torch.addcmul(image, added, torch.randn(image.shape, generator=draw))


def configured(group: str, seed: int, steps: int, batch: int, lr: float) -> Config:
    """The paper's weights on a budget of steps; the schedule and the sizes are the study's own."""
    return Config(
        **GROUPS[group],
        network="small",
        schedule="onecycle",
        batch=batch,
        lr=lr,
        steps=steps,
        seed=seed,
        log_steps=steps + 1,
        device="cpu",
    )


def network(bins: RedshiftBins) -> nn.Module:
    noise = [BIN * sigma for sigma in SKY_NOISE]
    return SmallPhotozResNet(len(bins), noise, bin_factor=1, widths=WIDTHS)


def module_of(group: str, config: Config, bins: RedshiftBins) -> PhotozModule:
    return PhotozModule(config, bins, **parts(group, config, bins))


def parts(group: str, config: Config, bins: RedshiftBins) -> dict[str, Any]:
    torch.manual_seed(config.seed)  # the same weights to start from for every group
    return {"network": network(bins), "view": VIEWS.get(group, VIEW)}


def run(sets: Sets, group: str, config: Config, half: bool, weights: Path) -> dict[str, Any]:
    """Train one network and measure it on every test set.

    On every second galaxy if ``half``, which is a change of its own: measured as it was trained.
    """
    train = sets.train.changed(torch.arange(0, len(sets.train), 2)) if half else sets.train
    bins = copy.deepcopy(sets.bins)  # which `eval` below changes
    start = time.perf_counter()
    module = fit(config, train, None, bins, progress=False, **parts(group, config, bins))
    seconds = time.perf_counter() - start
    checkpoints.save(module.network.state_dict(), weights)
    module.eval()
    usual = sets.tests["as trained"]
    tests = {"as trained": usual} if half else sets.tests
    rows = {name: measure(module, test, sets.bins)[0] for name, test in tests.items()}
    if not half:
        rows["eight views"] = measure(module, usual, sets.bins, averaged=True)[0]
    return {"steps": config.steps, "seconds": seconds, "galaxies": len(train), "results": rows}


@torch.no_grad()
def measure(
    module: PhotozModule, test: Stamps, bins: RedshiftBins, averaged: bool = False
) -> tuple[Row, Tensor, Tensor]:
    """Metrics, and the mean Cramér distance (in redshift) to a random view; probs and PIT.

    ``averaged``: of the mean density over the eight orientations, the control without training.
    """

    def probs(image: Tensor, ebv: Tensor) -> Tensor:
        if averaged:
            return average_views(module, image, None, ebv)
        logits: Tensor = module(image, ebv)
        return logits.softmax(-1)

    torch.manual_seed(0)  # the same views for every group and every seed
    whole, distances = [], []
    columns = (test.columns[name].split(256) for name in ("image", "ebv"))
    for image, ebv in zip(*columns, strict=True):
        whole.append(probs(image, ebv))
        pair = (whole[-1].log(), probs(VIEW(image), ebv).log())
        distances.append(invariance_loss(*pair, distance="cramer", bins=bins, reduction="none"))
    row, pit = evaluate(torch.cat(whole), test.columns["z_spec"], bins)
    row["entropy"] = entropy(torch.cat(whole), bins).item()
    row["distance"] = torch.cat(distances).mean().item()
    return row, torch.cat(whole), pit


@torch.no_grad()
def validation_crps(sets: Sets, group: str, config: Config, weights: Path) -> float:
    """Of an earlier `run`, on galaxies that it was neither trained nor tested on."""
    module = trained(sets, group, config, weights)
    columns = sets.validation.columns
    probs = module.masses(columns["image"], columns["ebv"])
    return crps(probs, columns["z_spec"], sets.bins).item()


def step_ratios(sets: Sets, groups: Sequence[str], batch: int, rounds: int) -> dict[str, float]:
    """Time of a step over that of the first group's, in turns: the median over the turns."""
    columns = {name: values[:batch] for name, values in sets.train.columns.items()}

    def step_of(group: str) -> Callable[[], None]:
        module = module_of(group, configured(group, 0, 1, batch, 1e-3), sets.bins)
        optimiser = torch.optim.Adam(module.parameters(), fused=True)

        def step() -> None:
            total, _ = module.loss_terms(columns)
            optimiser.zero_grad()
            total.backward()
            optimiser.step()

        return step

    return turns.ratios({group: step_of(group) for group in groups}, rounds, warm_up=1)[0]


def equal_time(steps: int, ratios: Mapping[str, float]) -> dict[str, int]:
    """Steps of each group that take as long as ``steps`` of the costliest."""
    return {group: round(steps * max(ratios.values()) / ratio) for group, ratio in ratios.items()}


def trained(sets: Sets, group: str, config: Config, weights: Path) -> PhotozModule:
    """A network of an earlier `run`."""
    module = module_of(group, config, copy.deepcopy(sets.bins))
    module.network.load_state_dict(checkpoints.load(weights))
    return module.eval()


def run_name(group: str, steps: int, seed: int) -> str:
    """The name of a run's files."""
    return f"{group.replace(', ', '_').replace(' ', '_')}-{steps}-{seed}"

"""Are images read as fast as they are trained on?

    OMP_NUM_THREADS=2 python benchmarks/loader.py

Stamps a second of the rendered catalogue through the trainer's own loader, without training, on one
core; then the time of a step of each network with that loader, and with one batch at hand that is
used again and again.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import measure
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from config import group_config
from loading import Batches, Items, loader
from module import PhotozModule
from readers import Rendered
from torch.utils.data import DataLoader

from photoz_losses import RedshiftBins


def read(batches: DataLoader[Any]) -> None:
    for batch in batches:
        batch["image"].sum()


class Steps:
    """One step at each call: forward, backward and optimiser, on batches from somewhere."""

    def __init__(self, module: PhotozModule, batches: DataLoader[Any], fixed: bool) -> None:
        self.module, self.batches = module, batches
        self.optimiser = torch.optim.Adam(module.parameters(), fused=True)
        self.iterator = iter(batches)
        self.fixed = next(self.iterator) if fixed else None

    def __call__(self) -> None:
        batch = self.fixed or self._next()
        total, _ = self.module.loss_terms(batch)
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()

    def _next(self) -> Any:
        batch = next(self.iterator, None)
        if batch is None:
            self.iterator = iter(self.batches)
            batch = next(self.iterator)
        return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    reader, bins = Rendered(options.galaxies), RedshiftBins.uniform(0.0, 0.4, 180)
    items = Items(reader, torch.randperm(len(reader)))
    rows: dict[str, dict[str, float]] = {}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stamps = 2048
    some = Items(reader, torch.randperm(len(reader))[:stamps])
    reading = {
        f"read, {workers} workers": loader(some, Batches(stamps, 128, 0), workers)
        for workers in (0, 1)
    }
    timed = measure.take_turns({k: partial(read, v) for k, v in reading.items()}, rounds=5)
    for name, row in timed.items():
        rows[name] = row | {"stamps_a_second": stamps / row["median_s"]}
    torch.set_num_threads(threads)

    for network in ("resnet50", "small"):
        config = group_config("augmented", network=network)
        steps = {}
        for name, fixed, workers in (
            ("fixed", True, 0),
            ("loader", False, 0),
            ("worker", False, 1),
        ):
            batches = loader(items, Batches(len(items), config.batch, 0), workers)
            steps[f"{network}, {name}"] = Steps(PhotozModule(config, bins), batches, fixed)
        rows |= measure.take_turns(steps, rounds=options.rounds)
    measure.save("loader", rows, vars(options))


if __name__ == "__main__":
    main()

"""The trainer on 44 made-up galaxies: in this process, or as a command that can be killed.

python tests/tiny_training.py FOLDER [--kill-at STEP | --devices N]
"""

import argparse
import logging
import os
import shutil
import signal
import sys
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from checkpoints import LAST
from config import Config
from training import PhotozModule, fit

from photoz_losses import RedshiftBins

BINS = RedshiftBins.uniform(0.0, 0.4, 12)
CONFIG = Config(
    gamma_flux=0.1,
    gamma_invariance=0.1,
    gamma_cde=0.1,
    network="small",
    bin_factor=2,
    batch=8,
    epochs=2,
    lr=3e-3,
    schedule="onecycle",
    checkpoint_steps=1,
    log_steps=1,
    device="cpu",
)


class Galaxies(Dataset):
    """Noise with a redshift."""

    def __init__(self, n: int, side: int = 16) -> None:
        draw = torch.Generator().manual_seed(n)
        self.columns = {
            "image": torch.randn(n, 5, side, side, generator=draw),
            "ebv": 0.1 * torch.rand(n, generator=draw),
            "z_spec": 0.4 * torch.rand(n, generator=draw),
            "residual": torch.randn(n, 12, 5, generator=draw),
            "band_weight": torch.rand(n, 5, generator=draw).round(),
        }

    def __len__(self) -> int:
        return len(self.columns["z_spec"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[index] for name, values in self.columns.items()}


class Flat(nn.Module):
    """A network without BatchNorm, to which the others of a batch do not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(5 * 16 * 16, 32), nn.Tanh())
        self.head = nn.Linear(33, 12)

    def forward(self, image: Tensor, ebv: Tensor) -> Tensor:
        return self.head(torch.cat([self.body(image), ebv[:, None]], 1))


class Flip(nn.Module):
    """A view that draws nothing."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-1)


class KillAt(L.Callback):
    """SIGKILL before a step, without any clearing up."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(config: Config = CONFIG, folder: Path | None = None, **options) -> PhotozModule:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    n = options.pop("n", 44)
    return fit(config, Galaxies(n), Galaxies(20), BINS, folder=folder, progress=False, **options)


def train_deterministically(devices: int, accumulate: int = 1, **options) -> PhotozModule:
    """What must not depend on how many processes and parts a batch is dealt out to."""
    dealt = {"devices": devices, "accumulate": accumulate}
    config = Config(**vars(CONFIG) | {"optimiser": "sgd", "lr": 0.02} | dealt)
    torch.manual_seed(3)
    return train(config, network=Flat(), view=Flip(), n=48, **options)


def killed_and_resumed(folder: Path, step: int) -> PhotozModule:
    """A process that is killed before a step, and one that goes on from what it left."""
    child = os.fork()  # of a process that has loaded everything and computed nothing
    if not child:
        train(folder=folder, callbacks=[KillAt(step)])
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    shutil.copy(folder / LAST, folder / "left.ckpt")
    return train(folder=folder, resume=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.kill_at:
        module = killed_and_resumed(options.folder, options.kill_at)
    else:
        module = train_deterministically(options.devices, folder=options.folder)
    if module.global_rank == 0:
        torch.save(module.state_dict(), options.folder / "weights.pt")

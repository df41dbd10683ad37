"""What a killed run goes on from: one file, whole or absent."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST = "last.ckpt"


class Checkpoints(Checkpoint):
    """``last.ckpt``, written every so many steps and after each epoch's validation."""

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / LAST, every

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        whole = module.batches_seen % module.config.accumulate == 0  # no gradients under way
        ends_epoch = batch_idx + 1 == trainer.num_training_batches
        if whole and not ends_epoch and trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        trainer.save_checkpoint(self.path)


class AtomicFiles(TorchCheckpointIO):
    """Checkpoints that are whole or absent: Lightning's go through another folder, by copy."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        torch.save(checkpoint, partial)
        partial.replace(path)

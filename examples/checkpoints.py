"""What a killed run goes on from: one file, whole or absent."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

LAST = "last.ckpt"
DAMAGE = (  # what zipfile and torch raise where bytes are not as they should be
    *(OSError, EOFError, BadZipFile, zlib.error, ValueError, TypeError, AttributeError),
    *(LookupError, RuntimeError, OverflowError, MemoryError),
)


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
        save(checkpoint, Path(path))

    def load_checkpoint(
        self,
        path: Any,
        map_location: Any = lambda storage, location: storage,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        found: dict[str, Any] = load(Path(path), map_location)
        return found


def save(content: Any, path: Path) -> None:
    """``torch.save`` to a file that is there whole, on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, map_location: str | Callable[[Any, str], Any] = "cpu") -> Any:
    """Plain values and tensors of a file of `save`; ValueError if it is not what was written.

    torch leaves the checksums in its files unread.
    """
    try:
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is not what was written, by its checksum")
        return torch.load(path, map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except (*DAMAGE, UnpicklingError) as error:
        raise ValueError(
            f"{path} is damaged, or no checkpoint: {error}. Delete it to begin again, or put an "
            f"earlier one in its place"
        ) from None

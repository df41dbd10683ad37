"""Train one network in Lightning's loop, with logs and checkpoints, and predict with it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from checkpoints import LAST, AtomicFiles, Checkpoints
from config import Config
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from loading import Batches, in_order, loader, size
from module import PhotozModule
from torch import Tensor
from torch.utils.data import Dataset

from photoz_losses import RedshiftBins

__all__ = ["PhotozModule", "build_trainer", "fit", "predict"]
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit(
    config: Config,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    bins: RedshiftBins,
    *,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    callbacks: Sequence[L.Callback] = (),
    **instead: Any,
) -> PhotozModule:
    """Train one network.

    Parameters
    ----------
    train, validation : Dataset
        Of mappings with ``image``, ``ebv``, ``z_spec`` and what the terms take (`loading.Items`).
    folder : Path, optional
        For logs and the checkpoint; none are written without it.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    callbacks
        More of Lightning's.
    **instead
        ``network``, ``loss`` or ``view`` instead of the configured (`PhotozModule`).
    """
    module = PhotozModule(config, bins, **instead)
    trainer = build_trainer(config, folder, progress, callbacks)
    ranks = {"rank": trainer.global_rank, "world": trainer.world_size}
    batches = Batches(
        size(train),
        config.batch,
        config.seed,
        splits=config.accumulate,
        seen=lambda: module.batches_seen,
        **ranks,
    )
    module.total_steps = config.steps or config.epochs * batches.steps
    loaders: dict[str, Any] = {"train_dataloaders": loader(train, batches, config.workers)}
    if validation is not None:
        loaders["val_dataloaders"] = in_order(validation, 256, config.workers, **ranks)
    path = folder / LAST if folder and resume and (folder / LAST).exists() else None
    trainer.fit(module, **loaders, ckpt_path=path, weights_only=True)
    return module


def build_trainer(
    config: Config, folder: Path | None, progress: bool, callbacks: Sequence[L.Callback]
) -> L.Trainer:
    """Lightning's loop as configured."""
    if config.device == "auto":  # checked anew: Lightning would take bf16 for fp16
        config = replace(config, device="cuda" if torch.cuda.is_available() else "cpu")
    several = config.devices * config.nodes > 1
    kept = [Checkpoints(folder, config.checkpoint_steps)] if folder else []
    loggers = [CSVLogger(folder, "csv"), TensorBoardLogger(folder, "tensorboard")] if folder else []
    return L.Trainer(
        accelerator=config.device,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=DDPStrategy(timeout=timedelta(seconds=config.timeout)) if several else "auto",
        sync_batchnorm=several and config.device != "cpu",  # torch has it for GPUs alone
        precision=PRECISIONS[config.precision],
        max_epochs=-1 if config.steps else config.epochs,
        max_steps=config.steps or -1,
        accumulate_grad_batches=config.accumulate,
        log_every_n_steps=1,  # what to log, the module decides
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # `Batches` deals out
        plugins=[AtomicFiles()],
        callbacks=[*callbacks, *kept],
        logger=loggers,
        enable_checkpointing=bool(kept),
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def predict(module: PhotozModule, items: Dataset[Any], workers: int = 0) -> tuple[Tensor, Tensor]:
    """Masses per bin [N, C] and true redshifts [N] of every galaxy, on the CPU, in order."""
    batches = in_order(items, 256, workers)
    parts = [(module.masses(b["image"], b["ebv"]), b["z_spec"]) for b in batches]
    probs, z_spec = (torch.cat(part) for part in zip(*parts, strict=True))
    return probs, z_spec

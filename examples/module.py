"""One run as Lightning sees it: network, loss, view, optimiser, schedule and what is logged."""

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from config import Config, plain
from layouts import check_layout
from network import PhotozResNet50, SmallPhotozResNet
from readers.galaxy import centre
from rendering import SKY_NOISE
from torch import Tensor, nn
from torchmetrics import MetricCollection

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    TotalLoss,
    gradient_norms,
    two_views,
)
from photoz_losses.metrics import photo_z_metrics
from photoz_losses.transforms import RandomDihedral, ResampleBackground

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def total_loss(config: Config, bins: RedshiftBins) -> TotalLoss:
    """Cross entropy, and every term whose weight is not zero."""
    terms: dict[str, tuple[float, nn.Module]] = {
        "l2": (config.gamma_l2, L2Penalty()),
        "flux": (config.gamma_flux, FluxLoss(bins)),
        "invariance": (config.gamma_invariance, InvarianceLoss()),
        "cde": (config.gamma_cde, CDELoss(bins)),
        "crps": (config.gamma_crps, CRPSLoss(bins)),
    }
    used = {name: entry for name, entry in terms.items() if entry[0]}
    return TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), **used})


def jittered(image: Tensor, side: int, jitter: int) -> Tensor:
    """A ``side`` x ``side`` crop of each image, up to ``jitter`` pixels beside the middle."""
    if not jitter:  # the middle, which `PhotozModule.forward` takes by itself
        return image
    image = image[(..., *centre(image.shape[2:], side + 2 * jitter))]
    corners = torch.randint(2 * jitter + 1, (len(image), 2)).tolist()
    cut = [one[:, y : y + side, x : x + side] for one, (y, x) in zip(image, corners, strict=True)]
    return torch.stack(cut)


def build_network(config: Config, bins: RedshiftBins) -> nn.Module:
    if config.network == "small":
        return SmallPhotozResNet(len(bins), SKY_NOISE, bin_factor=config.bin_factor)
    return PhotozResNet50(
        len(bins),
        SKY_NOISE,
        stem=config.stem,
        bin_factor=config.bin_factor,
        zero_init=config.initialisation == "zero",
    )


class PhotozModule(L.LightningModule):
    """Network, loss, view, optimiser and schedule of one run.

    A batch is a mapping with ``image``, ``ebv``, ``z_spec`` and what the terms take besides. All
    that is random in a step comes from (seed, number of the batch, rank), so that a resumed run
    goes on as if it had not stopped. ``network``, ``loss`` and ``view`` replace the configured.
    """

    def __init__(
        self,
        config: Config,
        bins: RedshiftBins,
        *,
        network: nn.Module | None = None,
        loss: TotalLoss | None = None,
        view: nn.Module | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        self.network = network or build_network(config, bins)
        self.loss = loss or total_loss(config, bins)
        self.view = view or nn.Sequential(ResampleBackground(), RandomDihedral())
        self.metrics: MetricCollection = photo_z_metrics(bins)
        self.batches_seen, self.total_steps = 0, config.steps or 0
        self.seconds: list[float] = []
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()

    def forward(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Logits; of the middle of images that have more pixels than ``side``."""
        side = self.config.side
        if min(image.shape[2:]) > side:
            image = image[(..., *centre(image.shape[2:], side))]
        if self.config.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(image, ebv)
        return logits

    @torch.no_grad()
    def masses(self, image: Tensor, ebv: Tensor) -> Tensor:
        """Masses per bin [N, C] on the CPU, in the precision asked for, outside of training."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.precision)
        training = self.training
        self.eval()
        with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            logits = self(image.to(self.device), ebv.to(self.device))
        self.train(training)
        probs: Tensor = logits.float().softmax(-1).cpu()
        return probs

    def loss_terms(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and each unweighted term of a batch."""
        inputs = dict(batch) | {"parameters": list(self.network.parameters())}
        image = jittered(batch["image"], self.config.side, self.config.jitter)
        ebv = batch["ebv"]
        if "invariance" in self.loss.weights and self.loss.active("invariance"):
            logits, other, rows = two_views(self, image, self.view, ebv, detach=self.config.detach)
            inputs |= {"logits": logits, "logits_transformed": other, "rows": rows}
        else:
            inputs["logits"] = self(self.view(image) if self.config.augmented else image, ebv)
        total, terms = self.loss(**inputs)
        return total, terms

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        number = (self.config.seed, self.batches_seen, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(number).generate_state(1, np.uint64)[0] >> 1))
        self.batches_seen += 1
        total, terms = self.loss_terms(batch)
        if self.global_step % self.config.log_steps == 0:
            values = {f"terms/{name}": value.detach() for name, value in terms.items()}
            self.log_dict(values, prog_bar=True)
            weights = self.loss.current_weights()
            self.log_dict({f"weights/{name}": float(w) for name, w in weights.items()})
        every = self.config.gradient_norm_steps
        if every and self.global_step % every == 0:
            norms = gradient_norms(terms, self.network.parameters())
            self.log_dict({f"gradient_norms/{name}": norm for name, norm in norms.items()})
        return total

    def on_fit_start(self) -> None:
        options = {name: getattr(self.config, name) for name in ("channels_last", "compile")}
        check_layout(self.network, self.device.type, options)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._began = time.perf_counter()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.loss.step()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds.append(time.perf_counter() - self._began)

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        probs = self(batch["image"], batch["ebv"]).float().softmax(-1)
        self.metrics.update(probs=probs, z_spec=batch["z_spec"])

    def on_validation_epoch_end(self) -> None:
        values = {name: float(value) for name, value in self.metrics.compute().items()}
        self.metrics.reset()
        self.log_dict({f"validation/{name}": value for name, value in values.items()})
        if self.config.schedule == "plateau":  # here, since Lightning steps it after it saves
            plateau: Any = self.lr_schedulers()
            plateau.step(values["log_score"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.config.schedule != "plateau":
            scheduler.step()

    def configure_optimizers(self) -> Any:
        kind = OPTIMISERS[self.config.optimiser]
        fused = next(self.network.parameters()).device.type != "meta"
        optimiser = kind(self.parameters(), lr=self.config.lr, fused=fused)
        if self.config.schedule == "constant":
            return optimiser
        return [optimiser], [self._schedule(optimiser)]

    def _schedule(self, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        if self.config.schedule == "onecycle":
            one_cycle = torch.optim.lr_scheduler.OneCycleLR(
                optimiser,
                self.config.lr,
                total_steps=self.total_steps,
                pct_start=0.25,
                cycle_momentum=False,
            )
            return {"scheduler": one_cycle, "interval": "step"}
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser,
            factor=self.config.schedule_factor,
            patience=self.config.schedule_patience,
            threshold_mode="abs",  # a part of a score below zero would be a gain where it stalls
        )
        return {"scheduler": plateau, "interval": "epoch", "monitor": "validation/log_score"}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen
        checkpoint["config"] = plain(self.config)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]

"""Hugging Face's Trainer: the network returns its own loss, and metrics come from NumPy."""

from importlib.resources import files

import torch
from astropy.io import fits
from torch import Tensor, nn
from transformers import EvalPrediction, Trainer, TrainingArguments, set_seed

from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.metrics import photo_z_metrics


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


class Photoz(nn.Module):
    """What the Trainer takes: keywords in, a mapping out, with "loss" where labels came in."""

    def __init__(self, bins: RedshiftBins) -> None:
        super().__init__()
        hidden = nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
        self.network = nn.Sequential(*hidden, nn.Linear(64, len(bins)))
        self.loss = TotalLoss(
            {"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.002, CDELoss(bins))}
        )

    def forward(self, magnitudes: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.network(magnitudes)
        if labels is None:
            return {"logits": logits}
        total, _ = self.loss(logits=logits, z_spec=labels)
        return {"loss": total, "logits": logits}


def compute_metrics(evaluated: EvalPrediction) -> dict[str, float]:
    metrics = photo_z_metrics(bins)
    logits, z_spec = torch.tensor(evaluated.predictions), torch.tensor(evaluated.label_ids)
    metrics.update(probs=logits.softmax(-1), z_spec=z_spec)
    return {name: value.item() for name, value in metrics.compute().items()}


set_seed(0)
bins = RedshiftBins.uniform(0.0, 0.4, 100)
magnitudes, z_spec = sdss_galaxies(2000)
rows = [{"magnitudes": m, "labels": z} for m, z in zip(magnitudes, z_spec, strict=True)]
arguments = TrainingArguments(
    output_dir="outputs/hugging_face",
    num_train_epochs=8,
    per_device_train_batch_size=100,
    per_device_eval_batch_size=500,
    learning_rate=5e-3,
    eval_strategy="epoch",
    save_strategy="no",
    report_to="none",
)
trainer = Trainer(
    Photoz(bins),
    arguments,
    train_dataset=rows[:1500],
    eval_dataset=rows[1500:],
    compute_metrics=compute_metrics,
)
trainer.train()
for name, value in trainer.evaluate().items():
    print(f"{name:<30}{value:12.4f}")

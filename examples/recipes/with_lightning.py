"""Lightning: the loss is a submodule, so that it goes where the network goes."""

from importlib.resources import files

import lightning as L
import torch
from astropy.io import fits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

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


class Photoz(L.LightningModule):
    def __init__(self, bins: RedshiftBins) -> None:
        super().__init__()
        hidden = nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
        self.network = nn.Sequential(*hidden, nn.Linear(64, len(bins)))
        self.loss = TotalLoss(
            {"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.002, CDELoss(bins))}
        )
        self.metrics = photo_z_metrics(bins)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        magnitudes, z_spec = batch
        total, terms = self.loss(logits=self.network(magnitudes), z_spec=z_spec)
        self.log_dict({f"terms/{name}": value.detach() for name, value in terms.items()})
        return total

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.metrics.update(probs=self.predict_step(batch), z_spec=batch[1])

    def on_validation_epoch_end(self) -> None:  # of all batches and ranks
        values = self.metrics.compute()
        self.metrics.reset()
        self.log_dict({f"validation/{name}": value.float() for name, value in values.items()})

    def predict_step(self, batch: list[Tensor], batch_idx: int = 0) -> Tensor:
        probs: Tensor = self.network(batch[0]).softmax(-1)
        return probs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=5e-3)


L.seed_everything(0)
bins = RedshiftBins.uniform(0.0, 0.4, 100)
data = TensorDataset(*sdss_galaxies(2000))
training = DataLoader(TensorDataset(*data[:1500]), batch_size=100, shuffle=True)
validation = DataLoader(TensorDataset(*data[1500:]), batch_size=500)
trainer = L.Trainer(max_epochs=8, logger=False, enable_checkpointing=False, accelerator="auto")
trainer.fit(Photoz(bins), training, validation)
for name, value in trainer.callback_metrics.items():
    print(f"{name:<30}{value:10.4f}")

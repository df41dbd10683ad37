"""hyrax: a criterion that the configuration names, from numbers that the configuration holds."""

import tomllib
from importlib import import_module
from importlib.resources import files
from typing import Any

import torch
from astropy.io import fits
from torch import Tensor, nn

from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss

CONFIGURATION = """
[criterion]
name = "hyrax_criterion.PhotozCriterion"

["hyrax_criterion.PhotozCriterion"]
z_max = 0.4
n_bins = 100
cde = 0.002
"""


class PhotozCriterion(nn.Module):
    """What hyrax's models call as ``self.criterion(outputs, labels)``: logits, then redshifts."""

    def __init__(self, z_max: float, n_bins: int, z_min: float = 0.0, cde: float = 0.0) -> None:
        super().__init__()
        bins = RedshiftBins.uniform(z_min, z_max, n_bins)
        self.loss = TotalLoss(
            {"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (cde, CDELoss(bins))}
        )

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        total, _ = self.loss(logits=outputs, z_spec=labels)
        return total


def criterion_of(config: dict[str, Any]) -> Any:
    """What hyrax does with the name: import it, and call it with the table of the same name."""
    module, _, name = config["criterion"]["name"].rpartition(".")
    return getattr(import_module(module), name)(**config.get(f"{module}.{name}", {}))


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


if __name__ == "__main__":  # what hyrax's training does with it
    torch.manual_seed(0)
    criterion = criterion_of(tomllib.loads(CONFIGURATION))
    magnitudes, z_spec = sdss_galaxies(2000)
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 100))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(8):
        for rows in torch.randperm(2000).split(100):
            total = criterion(model(magnitudes[rows]), z_spec[rows])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        history.append(total.item())
    print(criterion)
    print("last total of each epoch:", ", ".join(f"{total:.2f}" for total in history))

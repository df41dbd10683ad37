"""Bins of equal width in log(1 + z), and the same densities brought to bins of others."""

from importlib.resources import files

import torch
from astropy.io import fits
from torch import Tensor, nn

from photoz_losses import CRPSLoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss, rebin
from photoz_losses.metrics import cde_loss, crps, pit, pit_statistics


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


torch.manual_seed(0)
bins = RedshiftBins.log1p(0.0, 0.4, 80)  # or RedshiftBins(edges), any that increase
print(bins)
magnitudes, z_spec = sdss_galaxies(2000)
hidden = nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
model = nn.Sequential(*hidden, nn.Linear(64, len(bins)))
loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "crps": (100.0, CRPSLoss(bins))})
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(8):
    for rows in torch.randperm(1500).split(100):
        total, terms = loss(logits=model(magnitudes[rows]), z_spec=z_spec[rows])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    probs = model(magnitudes[1500:]).softmax(-1)
truth = z_spec[1500:]
theirs = RedshiftBins.uniform(0.0, 0.4, 180)  # say, those of a network to compare with
table = {}
for name, (masses, on) in {
    "own bins": (probs, bins),
    "180 uniform bins": (rebin(probs, bins, theirs), theirs),
}.items():
    table[name] = {
        "CRPS": crps(masses, truth, on).item(),
        "CDE loss": cde_loss(masses, truth, on).item(),
        "PIT KS": pit_statistics(pit(masses, truth, on))["ks"].item(),
    }
    print(f"{name:<20}", {key: round(value, 4) for key, value in table[name].items()})

"""A normalizing flow of zuko: its CDF at the edges of the bins gives masses to judge it by."""

from importlib.resources import files

import torch
import zuko
from astropy.io import fits
from torch import Tensor

from photoz_losses import CRPSLoss, RedshiftBins
from photoz_losses.metrics import photo_z_metrics


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


def log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """Of a normal variable, log(Φ(upper) − Φ(lower)): above zero as its mirror image below it."""
    flip = lower > 0  # Φ is near 1 there, and a difference would have lost its digits
    low, high = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    ratio = (log_low - log_high).clamp(max=-1e-6)  # two edges that round to one number
    mass: Tensor = log_high + (-torch.expm1(ratio)).log()
    return mass


def project(magnitudes: Tensor) -> Tensor:
    """Logits (N, C). A flow in one dimension rises: its CDF is the base's, at the point's image."""
    edges = ((bins.edges.float() - CENTRE) / SCALE).reshape(-1, 1, 1)
    base = flow(magnitudes).transform(edges.expand(-1, len(magnitudes), 1)).squeeze(-1).T
    return log_mass(base[:, :-1], base[:, 1:])  # softmax divides by what lies within the bins


torch.manual_seed(0)
CENTRE, SCALE = 0.15, 0.1  # the flow's splines act within five of its units
bins = RedshiftBins.uniform(0.0, 0.4, 180)
flow = zuko.flows.NSF(features=1, context=5, transforms=1, hidden_features=(64, 64))
crps_loss = CRPSLoss(bins)
magnitudes, z_spec = sdss_galaxies(2000)
magnitudes = (magnitudes - magnitudes.mean(0)) / magnitudes.std(0)
optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
for _ in range(8):
    for rows in torch.randperm(1500).split(100):
        inputs, target = magnitudes[rows], z_spec[rows]
        nll = -flow(inputs).log_prob((target.unsqueeze(-1) - CENTRE) / SCALE).mean()
        total = nll + 100 * crps_loss(project(inputs), target)  # terms on bins beside its own
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

with torch.no_grad():
    probs = project(magnitudes[1500:]).softmax(-1)
truth = z_spec[1500:]
metrics = photo_z_metrics(bins)
metrics.update(probs=probs, z_spec=truth)
print(metrics.compute())

"""A mixture-density network: Gaussians projected onto bins, to be trained and judged as any."""

from importlib.resources import files

import torch
from astropy.io import fits
from torch import Tensor, nn

from photoz_losses import CRPSLoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.metrics import photo_z_metrics


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


class Mixture(nn.Module):
    """Log weights, means and widths of three Gaussians in redshift for each galaxy."""

    def __init__(self) -> None:
        super().__init__()
        hidden = nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
        self.network = nn.Sequential(*hidden, nn.Linear(64, 9))

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, mean, width = self.network(magnitudes).chunk(3, -1)
        width = 2e-3 + 0.03 * nn.functional.softplus(width)
        return weight.log_softmax(-1), 0.15 + 0.1 * mean, width


def log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """Of a normal variable, log(Φ(upper) − Φ(lower)): above zero as its mirror image below it."""
    flip = lower > 0  # Φ is near 1 there, and a difference would have lost its digits
    low, high = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    ratio = (log_low - log_high).clamp(max=-1e-6)  # two edges that round to one number
    mass: Tensor = log_high + (-torch.expm1(ratio)).log()
    return mass


def project(log_weight: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """Logits (N, C): the log of each bin's mass. Softmax divides by what lies within the bins."""
    edges = bins.edges.unsqueeze(-1)  # float64: far out, float32 turns the slopes of log_ndtr
    edges = (edges - mean.unsqueeze(-2)) / width.unsqueeze(-2)
    each = log_mass(edges[..., :-1, :], edges[..., 1:, :])
    return (each + log_weight.unsqueeze(-2)).logsumexp(-1)


torch.manual_seed(0)
bins = RedshiftBins.uniform(0.0, 0.4, 180)
model = Mixture()
loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "crps": (100.0, CRPSLoss(bins))})
magnitudes, z_spec = sdss_galaxies(2000)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(12):
    for rows in torch.randperm(1500).split(100):
        total, terms = loss(logits=project(*model(magnitudes[rows])), z_spec=z_spec[rows])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    mixture = model(magnitudes[1500:])
probs, truth = project(*mixture).softmax(-1), z_spec[1500:]
metrics = photo_z_metrics(bins)
metrics.update(probs=probs, z_spec=truth)
print(metrics.compute())

"""bf16 and torch.compile: network under autocast, loss in float32 inside, both compiled."""

from importlib.resources import files

import torch
from astropy.io import fits
from torch import Tensor, nn

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


torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
bins = RedshiftBins.uniform(0.0, 0.4, 100)
hidden = nn.BatchNorm1d(5), nn.Linear(5, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
model = nn.Sequential(*hidden, nn.Linear(64, len(bins))).to(device)
loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.002, CDELoss(bins))})
loss.to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)


@torch.compile
def objective(magnitudes: Tensor, z_spec: Tensor) -> Tensor:
    with torch.autocast(device.type, torch.bfloat16):
        logits = model(magnitudes)
    total, _ = loss(logits=logits, z_spec=z_spec)  # float32 from here on
    return total


magnitudes, z_spec = (column.to(device) for column in sdss_galaxies(2000))
history = []
for _ in range(8):
    for rows in torch.randperm(1500, device=device).split(100):  # all of one size: no recompiling
        total = objective(magnitudes[rows], z_spec[rows])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    history.append(total.item())

model.eval()
with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
    logits = model(magnitudes[1500:])
metrics = photo_z_metrics(bins).to(device)
metrics.update(probs=logits.float().softmax(-1), z_spec=z_spec[1500:])  # .float() first
print(metrics.compute())

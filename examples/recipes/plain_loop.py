"""A plain PyTorch loop with four terms, the flux term among them, metrics, and a file."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from photoz_losses import CDELoss, CRPSLoss, FluxLoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.io import save_predictions
from photoz_losses.metrics import photo_z_metrics
from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry

GALAXIES, TRAINING, EPOCHS = 1200, 1000, 12


def galaxies(n: int) -> Spectra:
    """Made-up spectra, power laws with a break at 4000 A: put yours here."""
    wavelength = 10 ** torch.arange(3.3, 4.25, 1e-3, dtype=torch.float64)
    z = 0.05 + 0.3 * torch.rand(n, dtype=torch.float64)
    slope, below = torch.rand(2, n, 1, dtype=torch.float64)
    rest = wavelength / (1 + z.unsqueeze(-1))
    flux = rest**-slope * torch.where(rest < 4000, 0.3 + 0.2 * below, 1.0)
    return Spectra(wavelength, flux, torch.ones_like(flux), z, flux > 0)


torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
bins = RedshiftBins.uniform(0.0, 0.4, 100)
spectra = galaxies(GALAXIES)
photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), spectra.wavelength)
table = FluxTable.build(spectra, bins, photometry, progress=False)  # once, before the training

flux, _ = photometry(spectra.flux, torch.ones(1))  # what the network sees: noisy colours
colours = flux.squeeze(-2).log10().diff(dim=-1).float() + 0.01 * torch.randn(GALAXIES, 4)
data = TensorDataset(10 * colours, spectra.z.float(), torch.arange(GALAXIES))
loader = DataLoader(TensorDataset(*data[:TRAINING]), batch_size=100, shuffle=True)

hidden = nn.Linear(4, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU()
model = nn.Sequential(*hidden, nn.Linear(64, len(bins))).to(device)
loss = TotalLoss(
    {
        "ce": (1.0, RedshiftCrossEntropy(bins)),
        "cde": (0.002, CDELoss(bins)),
        "crps": (100.0, CRPSLoss(bins)),
        "flux": (0.1, FluxLoss(bins)),
    }
).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
history = []
for epoch in range(EPOCHS):
    model.train()
    for inputs, z_spec, number in loader:
        batch = (inputs, z_spec, *table[number])
        inputs, z_spec, residual, band_weight = (part.to(device) for part in batch)
        total, terms = loss(
            logits=model(inputs), z_spec=z_spec, residual=residual, band_weight=band_weight
        )
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    history.append({name: value.item() for name, value in terms.items()})
    print(epoch, {name: round(value, 4) for name, value in history[-1].items()})

inputs, z_spec, number = data[TRAINING:]
model.eval()
with torch.no_grad():
    probs = model(inputs.to(device)).softmax(-1)
metrics = photo_z_metrics(bins).to(device)
metrics.update(probs=probs, z_spec=z_spec.to(device))  # or batch by batch
print(metrics.compute())
save_predictions("predictions.npz", probs, bins, z_spec, object_id=number)

"""Redshifts of real SDSS galaxies, predicted by a small network: what the gallery draws.

The network, the fluxes and the redshifts are those of ``photometry_mlp.py``, with fewer galaxies
and steps: seconds.
"""

from functools import cache
from typing import NamedTuple

import torch
from galaxies import Photometry, load_photometry, split
from photometry_mlp import features, network
from torch import Tensor

from photoz_losses import CRPSLoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss

STEPS, BATCH, RATE = 400, 128, 4e-3


class Predicted(NamedTuple):
    """Logits [N, 60] of N galaxies, and their fluxes and true redshifts."""

    logits: Tensor
    galaxies: Photometry


@cache
def predict() -> tuple[RedshiftBins, Predicted, Predicted]:
    """The bins, validation galaxies and held-out ones; computed once a process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        train, *others = split(load_photometry(5000), (0.4, 0.2, 0.4))
        bins = RedshiftBins.uniform(0.0, 0.4, 60)
        inputs = features(train)
        mean, std = inputs.mean(0), inputs.std(0)
        inputs = (inputs - mean) / std
        loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "crps": (300.0, CRPSLoss(bins))})
        model = network(inputs.shape[-1], len(bins), 128)
        optimizer = torch.optim.AdamW(model.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(inputs), (BATCH,))
            total, _ = loss(logits=model(inputs[rows]), z_spec=train.z_spec[rows])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        validation, held_out = (
            Predicted(model((features(part) - mean) / std), part) for part in others
        )
    return bins, validation, held_out

"""The groups that make sense on fluxes alone: the network of ``photometry_mlp.py``, term by term.

Real, SDSS's own: fluxes, extinctions and redshifts of 9,783 galaxies. Fitted: the spectra that the
flux term takes. They are kcorrect's best fits to the same photometry at the same redshift, not
observed, so that the term hands the network no measurement that it does not have already.
The split is one for all seeds; a seed fixes initialisation and order, the same for every group.
"""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from evaluation import Row, evaluate
from galaxies import Photometry, load_photometry, split
from photometry_mlp import features, network
from torch import Tensor, nn

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    TotalLoss,
    flux_residual,
)
from photoz_losses.metrics import crps, log_score
from photoz_losses.photometry import FilterSet, SyntheticPhotometry
from study import turns

TERMS = {"cde": CDELoss, "flux": FluxLoss, "crps": CRPSLoss}
GROUPS: dict[str, dict[str, float]] = {  # weight of each term beside the cross entropy
    "cross entropy": {},
    "+ CDE": {"cde": 0.1},
    "+ flux": {"flux": 0.1},
    "+ CRPS": {"crps": 100.0},  # of a CRPS near 0.01: a weight that is felt, as the others' are
    "+ all": {"cde": 0.1, "flux": 0.1, "crps": 100.0},
}
SPLIT_SEED = 0
BATCH, BINS, WIDTH, LR, STEPS = 128, 180, 128, 4e-3, 540  # photometry_mlp.py's; 10 epochs


class Sample(NamedTuple):
    """Standardised features [N, 10] and redshifts [N]."""

    inputs: Tensor
    z_spec: Tensor


class Data(NamedTuple):
    """Disjoint galaxies, and of those to train on what `flux_residual` gives, in float32."""

    bins: RedshiftBins
    train: Sample
    validation: Sample
    test: Sample
    residual: Tensor  # [N, C, B]
    band_weight: Tensor  # [N, B]


def prepare(n_galaxies: int | None = None, n_bins: int = BINS) -> Data:
    """Read, split and standardise; the residuals of all galaxies take half a minute."""
    bins = RedshiftBins.uniform(0.0, 0.4, n_bins)
    parts = split(load_photometry(n_galaxies), seed=SPLIT_SEED)
    inputs = [features(part) for part in parts]
    mean, std = inputs[0].mean(0), inputs[0].std(0)
    train, validation, test = (
        Sample((x - mean) / std, part.z_spec) for x, part in zip(inputs, parts, strict=True)
    )
    return Data(bins, train, validation, test, *residuals(parts[0], bins))


def residuals(galaxies: Photometry, bins: RedshiftBins) -> tuple[Tensor, Tensor]:
    """Residual [N, C, B] and band weight [N, B] of each galaxy, in their order."""
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), galaxies.wavelength)
    spectra, z_spec = galaxies.spectrum.split(256), galaxies.z_spec.split(256)
    tables = [
        flux_residual(photometry, flux, z, bins) for flux, z in zip(spectra, z_spec, strict=True)
    ]
    residual, band_weight = (torch.cat(part) for part in zip(*tables, strict=True))
    return residual, band_weight


def total_loss(weights: Mapping[str, float], bins: RedshiftBins) -> TotalLoss:
    """Cross entropy, and every term whose weight is not zero."""
    if unknown := weights.keys() - TERMS:
        raise ValueError(f"weights must be of {', '.join(TERMS)}, got {', '.join(sorted(unknown))}")
    terms = {name: (weight, TERMS[name](bins)) for name, weight in weights.items() if weight}
    return TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), **terms})


def loss_terms(
    loss: TotalLoss, model: nn.Module, data: Data, rows: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The total and each unweighted term of some galaxies to train on."""
    given = {"logits": model(data.train.inputs[rows]), "z_spec": data.train.z_spec[rows]}
    if "flux" in loss.weights:
        given |= {"residual": data.residual[rows], "band_weight": data.band_weight[rows]}
    total, terms = loss(**given)
    return total, terms


def batches(n: int, batch: int, order: torch.Generator) -> Iterator[Tensor]:
    """Every galaxy once an epoch, without end; of a last, single one BatchNorm has no variance."""
    while True:
        parts = torch.randperm(n, generator=order).split(batch)
        yield from (rows for rows in parts if len(rows) > 1)


def steps_an_epoch(n: int, batch: int) -> int:
    return n // batch + (n % batch > 1)


def training(
    data: Data,
    weights: Mapping[str, float],
    *,
    seed: int,
    steps: int = STEPS,
    batch: int = BATCH,
    lr: float = LR,
) -> Iterator[nn.Module]:
    """The network after each step; several trainings may take turns, none draws from another."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network(data.train.inputs.shape[-1], len(data.bins), WIDTH)
        order = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
    loss = total_loss(weights, data.bins)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _, rows in zip(range(steps), batches(len(data.train.z_spec), batch, order), strict=False):
        model.train()
        total, _ = loss_terms(loss, model, data, rows)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        cycle.step()
        yield model


def train(
    data: Data, weights: Mapping[str, float], *, steps: int = STEPS, **options: Any
) -> tuple[nn.Module, float]:
    """The trained network, and the seconds of a step; options as `training` takes them."""
    start = time.perf_counter()
    for model in training(data, weights, steps=steps, **options):
        trained = model
    return trained.eval(), (time.perf_counter() - start) / steps


@torch.no_grad()
def masses(model: nn.Module, inputs: Tensor) -> Tensor:
    """Masses per bin [N, C], outside of training."""
    probs: Tensor = model.eval()(inputs).softmax(-1)
    return probs


def validation_crps(model: nn.Module, data: Data) -> float:
    """Mean CRPS of the validation galaxies."""
    probs = masses(model, data.validation.inputs)
    return crps(probs, data.validation.z_spec, data.bins).item()


def run(data: Data, weights: Mapping[str, float], *, steps: int = STEPS, **options: Any) -> Row:
    """Train as `train` does; the metrics of the held-out galaxies, and what it took."""
    model, seconds = train(data, weights, steps=steps, **options)
    return measure(model, data) | {"seconds_a_step": seconds, "training_seconds": seconds * steps}


def measure(model: nn.Module, data: Data) -> Row:
    """Metrics of the held-out galaxies."""
    probs = masses(model, data.test.inputs)
    row, _ = evaluate(probs, data.test.z_spec, data.bins)
    return row | {"log_score": log_score(probs, data.test.z_spec, data.bins).item()}


def seconds_a_step(
    data: Data, groups: Mapping[str, Mapping[str, float]], rounds: int = 200, batch: int = BATCH
) -> dict[str, float]:
    """Seconds of a step of each group, all taking turns in one process.

    Of the first group the median; of the others that, times how many times longer they take.
    """
    warm_up = 5
    steps = {
        name: partial(next, training(data, weights, seed=0, steps=warm_up + rounds, batch=batch))
        for name, weights in groups.items()
    }
    ratios, first = turns.ratios(steps, rounds, warm_up)
    return {name: first * ratio for name, ratio in ratios.items()}

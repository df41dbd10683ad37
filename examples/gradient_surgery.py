"""Ways to weigh four terms against each other, on real SDSS fluxes: fixed, learned, by gradients.

    python examples/gradient_surgery.py

The same small network and batches six times. The cross entropy alone, with the gradients that the
other terms would have (CRPS, spectrophotometric flux, conditional density); all four with the
weights that docs/weights.md begins with, fixed and with a ramp; UncertaintyWeights and ReLoBRaLo
for the three terms that are never negative; and TorchJD's UPGrad: it takes each term's weighted
gradient, projects away what conflicts with another's, and adds what is left.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from evaluation import Row, evaluate, save_results
from galaxies import Photometry, load_photometry, split
from photometry_mlp import features, network
from torch import Tensor, nn
from torchjd.aggregation import UPGrad
from torchjd.autojac import backward, jac_to_grad
from tqdm import trange

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    flux_residual,
    gradient_norms,
)
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

WEIGHTS = {"ce": 1.0, "crps": 100.0, "flux": 0.1, "cde": 0.002}  # docs/weights.md
COVERED = ["ce", "crps", "flux"]  # the CDE loss is negative for good densities
WAYS: dict[str, Callable[[], nn.Module | None]] = {
    "alone": lambda: None,
    "fixed": lambda: None,
    "ramp": lambda: None,
    "uncertainty": lambda: UncertaintyWeights(COVERED),
    "relobralo": lambda: ReLoBRaLo(COVERED),
    "surgery": lambda: None,
}


def total_loss(way: str, bins: RedshiftBins, steps: int) -> TotalLoss:
    """All terms with their weights, which the ramp reaches after half of the steps."""
    modules = {
        "ce": RedshiftCrossEntropy(bins),
        "crps": CRPSLoss(bins),
        "flux": FluxLoss(bins),
        "cde": CDELoss(bins),
    }
    terms: dict[str, tuple[float | WeightSchedule, nn.Module]] = {}
    for name, module in modules.items():
        weight: float | WeightSchedule = WEIGHTS[name]
        if name != "ce" and way == "alone":
            weight = 0.0
        elif name != "ce" and way == "ramp":
            weight = WeightSchedule(WEIGHTS[name], "cosine", steps=max(steps // 2, 1))
        terms[name] = weight, module
    return TotalLoss(terms, weighting=WAYS[way]())


def train(
    way: str,
    inputs: Tensor,
    targets: dict[str, Tensor],
    bins: RedshiftBins,
    options: argparse.Namespace,
) -> tuple[nn.Module, Row]:
    """A network; each term's weight and length of gradient at the last step; steps in conflict."""
    torch.manual_seed(options.seed)
    model = network(inputs.shape[-1], len(bins), options.width)
    loss = total_loss(way, bins, options.steps)
    groups = [
        {"params": list(model.parameters()), "weight_decay": 1e-4},
        {"params": list(loss.parameters()), "weight_decay": 0.0},  # those of UncertaintyWeights
    ]
    optimizer = torch.optim.AdamW(groups, lr=options.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=options.steps)
    aggregator = UPGrad()
    row: Row = {}
    for step in trange(options.steps, desc=way):
        rows = torch.randint(len(inputs), (options.batch,))
        batch = {name: value[rows] for name, value in targets.items()}
        total, terms = loss(logits=model(inputs[rows]), **batch)
        if step == options.steps - 1:
            row |= {f"weight_{name}": value for name, value in loss.current_weights().items()}
            norms = gradient_norms(terms, model.parameters())
            row |= {f"gradient_{name}": float(norm) for name, norm in norms.items()}
        optimizer.zero_grad()
        if way == "surgery":
            gamma = loss.current_weights()
            backward([gamma[name] * term for name, term in terms.items()])
            shares = jac_to_grad(model.parameters(), aggregator)  # all alike without a conflict
            conflict = bool((shares - 1 / len(terms)).abs().max() > 1e-3)
            row["conflicts"] = row.get("conflicts", 0) + conflict
        else:
            total.backward()
        optimizer.step()
        schedule.step()
        loss.step()
    return model.eval(), row


def prepared(galaxies: Photometry, bins: RedshiftBins) -> dict[str, Tensor]:
    """What the terms take besides logits."""
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), galaxies.wavelength)
    residual, band_weight = flux_residual(photometry, galaxies.spectrum, galaxies.z_spec, bins)
    return {"z_spec": galaxies.z_spec, "residual": residual.float(), "band_weight": band_weight}


def main() -> None:
    options = arguments()
    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)
    train_set, test = split(load_photometry(options.galaxies), (0.8, 0.2), seed=options.seed)
    inputs = features(train_set)
    mean, std = inputs.mean(0), inputs.std(0)
    inputs, held_out = ((features(x) - mean) / std for x in (train_set, test))
    targets = prepared(train_set, bins)

    rows = {}
    for way in WAYS:
        model, row = train(way, inputs, targets, bins, options)
        with torch.no_grad():
            rows[way] = row | evaluate(model(held_out).softmax(-1), test.z_spec, bins)[0]

    print(f"\n{len(test)} held-out galaxies; weight (gradient) of each term at the last step")
    for way, row in rows.items():
        pulls = (f"{x} {row[f'weight_{x}']:.2g} ({row[f'gradient_{x}']:.2g})" for x in WEIGHTS)
        print(f"{way:<12} MAD {row['mad']:.4f}  CRPS {row['crps']:.4f}  {'  '.join(pulls)}")
    print(f"{rows['surgery']['conflicts']} of {options.steps} steps had gradients in conflict")
    options.output.mkdir(parents=True, exist_ok=True)
    save_results(options.output, rows, vars(options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, help="how many (all 9,783)")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--bins", type=int, default=180)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/gradient_surgery"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

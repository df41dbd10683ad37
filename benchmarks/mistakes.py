"""How large are the mistakes of docs/mistakes.md, on real galaxies?

    python benchmarks/mistakes.py

Fluxes, extinctions and redshifts are SDSS's, the network and its ten epochs those of
``examples/photometry_mlp.py``; all figures are of the galaxies that it has not seen. One seed. Each
mistake is written out here as one meets it, next to what the library gives.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measure import write
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from galaxies import load_photometry, split
from photometry_mlp import features, network

from photoz_losses import RedshiftBins, cross_entropy, rebin
from photoz_losses.metrics import bias, cde_loss, crps, log_score, mad, pit, pit_statistics

Rows = dict[str, dict[str, float]]
Objective = Callable[[Tensor, Tensor], Tensor]  # of logits and redshifts
BINS = RedshiftBins.uniform(0.0, 0.4, 180)
COARSE = RedshiftBins.uniform(0.0, 0.4, 45)


class Data(NamedTuple):
    """Standardised features [N, 10] and redshifts [N], to train on and held out."""

    inputs: Tensor
    z_spec: Tensor
    unseen: Tensor
    z_unseen: Tensor


def arguments(description: str) -> argparse.Namespace:
    """Of the command line: what the densities depend on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def prepare(seed: int) -> Data:
    train, _, test = split(load_photometry(), seed=seed)
    inputs, unseen = features(train), features(test)
    mean, std = inputs.mean(0), inputs.std(0)
    return Data((inputs - mean) / std, train.z_spec, (unseen - mean) / std, test.z_spec.double())


def trained(data: Data, objective: Objective, epochs: int, seed: int) -> Tensor:
    """Logits of the held-out galaxies after ``epochs`` of batches of 128."""
    torch.manual_seed(seed)
    model = network(data.inputs.shape[-1], len(BINS), 128)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-4)
    steps = epochs * -(-len(data.inputs) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.inputs)).split(128):
            optimizer.zero_grad()
            objective(model(data.inputs[rows]), data.z_spec[rows]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        logits: Tensor = model(data.unseen).double()
    return logits


def scores(probs: Tensor, z_spec: Tensor, bins: RedshiftBins = BINS) -> dict[str, float]:
    z_phot = bins.mean(probs)
    values = {
        "MAD": mad(z_phot, z_spec),
        "bias": bias(z_phot, z_spec),
        "CRPS": crps(probs, z_spec, bins),
        "CDE loss": cde_loss(probs, z_spec, bins),
        "PIT KS": pit_statistics(pit(probs, z_spec, bins))["ks"],
    }
    return {name: float(value) for name, value in values.items()}


# Readings of the bins ----------------------------------------------------------------------------


def left_edges(probs: Tensor, z_spec: Tensor) -> Rows:
    rows = {}
    for bins in (BINS, COARSE):
        masses = rebin(probs, BINS, bins)
        lower = (masses * bins.edges[:-1]).sum(-1)
        for name, z_phot in (("centres", bins.mean(masses)), ("lower edges", lower)):
            values = {"bias": bias(z_phot, z_spec), "MAD": mad(z_phot, z_spec)}
            rows[f"{name}, {len(bins)} bins"] = {k: float(v) for k, v in values.items()}
    return rows


def masses_for_densities(probs: Tensor, z_spec: Tensor) -> Rows:
    rows = {}
    for bins in (BINS, COARSE):
        masses = rebin(probs, BINS, bins)
        own = masses.gather(-1, bins.index(z_spec).unsqueeze(-1)).squeeze(-1)
        rows[f"density, {len(bins)} bins"] = {
            "CDE loss": float(cde_loss(masses, z_spec, bins)),
            "log score": float(log_score(masses, z_spec, bins)),
        }
        rows[f"masses, {len(bins)} bins"] = {
            "CDE loss": float((masses.square().sum(-1) - 2 * own).mean()),
            "log score": float(-own.log().mean()),
        }
    return rows


def pits(probs: Tensor) -> tuple[Rows, dict[str, list[float]]]:
    """The PIT with part, all or none of the true bin; and how its CDF departs from a line.

    The redshifts are drawn from the densities, so that the PIT is uniform, but for the mistake.
    """
    level = torch.linspace(0, 1, 101, dtype=torch.float64)
    shares = (torch.randperm(len(probs)).double() + 0.5) / len(probs)
    rows, curves = {}, {}
    for bins in (BINS, COARSE):
        masses = rebin(probs, BINS, bins)
        z_spec = bins.quantile(masses, shares)
        own = bins.index(z_spec).unsqueeze(-1)
        after = masses.cumsum(-1).gather(-1, own).squeeze(-1).clamp(max=1)
        before = (after - masses.gather(-1, own).squeeze(-1)).clamp(min=0)
        linear = pit(masses, z_spec, bins)
        for name, values in (
            ("linear within the bin", linear),
            ("all of the bin", after),
            ("none of it", before),
        ):
            rows[f"{name}, {len(bins)} bins"] = {
                "mean PIT": float(values.mean()),
                "PIT KS": float(pit_statistics(values)["ks"]),
                "largest change": float((values - linear).abs().max()),
            }
            below = torch.searchsorted(values.sort().values, level, right=True) / len(values)
            curves[f"{name}, {len(bins)} bins"] = (below - level).tolist()
    return rows, curves


# Softmax, shapes, medians, types -----------------------------------------------------------------


def softmaxes(data: Data, logits: Tensor, epochs: int, seed: int) -> Rows:
    z_spec = data.z_unseen

    def twice(logits: Tensor, z: Tensor) -> Tensor:  # F.cross_entropy has a softmax of its own
        return F.cross_entropy(logits.softmax(-1), BINS.index(z))

    learned = trained(data, twice, epochs, seed).softmax(-1)
    raw = (logits * BINS.centers).sum(-1)
    return {
        "once": scores(logits.softmax(-1), z_spec),
        "twice in the loss": scores(learned, z_spec),
        "twice before the metrics": scores(logits.softmax(-1).softmax(-1), z_spec),
        "forgotten before the mean": {
            "MAD": float(mad(raw, z_spec)),
            "bias": float(bias(raw, z_spec)),
        },
    }


def columns(data: Data, epochs: int, seed: int) -> Rows:
    """Squared error of the mean, with targets [N] and [N, 1]."""

    def right(logits: Tensor, z: Tensor) -> Tensor:
        return (BINS.mean(logits.softmax(-1)) - z).square().mean()

    def broadcast(logits: Tensor, z: Tensor) -> Tensor:
        return (BINS.mean(logits.softmax(-1)) - z.unsqueeze(-1)).square().mean()

    z_spec = data.z_unseen
    rows = {}
    for name, objective in (("[N]", right), ("[N, 1]", broadcast)):
        z_phot = BINS.mean(trained(data, objective, epochs, seed).softmax(-1))
        spread = z_phot.std()
        if name == "[N]":
            every = ((z_phot - z_spec.unsqueeze(-1)) / (1 + z_spec.unsqueeze(-1))).abs()
            pairs = 1.4826 * float(every.flatten().sort().values[every.numel() // 2])
        rows[f"trained with {name}"] = {
            "MAD": float(mad(z_phot, z_spec)),
            "deviation of the predictions": float(spread),
        }
    guess = data.z_spec.double().mean().expand_as(z_spec)
    rows["one redshift for all"] = {
        "MAD": float(mad(guess, z_spec)),
        "deviation of the predictions": 0.0,
    }
    rows["trained with [N], measured with [N, 1]"] = {"MAD": pairs}
    return rows


def medians(z_phot: Tensor, z_spec: Tensor, shuffles: int = 200) -> Rows:
    """MAD of all galaxies, and the mean of the MADs of batches; mean over orders."""
    delta = ((z_phot - z_spec) / (1 + z_spec)).abs()
    rows = {"all at once": {"middle two": float(mad(z_phot, z_spec))}}
    rows["all at once"]["torch.median"] = 1.4826 * float(delta.median())
    for size in (128, 32, 8):
        whole = len(delta) // size * size
        orders = [torch.randperm(len(delta))[:whole].view(-1, size) for _ in range(shuffles)]
        batches = torch.stack([delta[order] for order in orders])
        rows[f"batches of {size}"] = {
            "middle two": 1.4826 * float(batches.quantile(0.5, -1).mean()),
            "torch.median": 1.4826 * float(batches.median(-1).values.mean()),
        }
    return rows


def half_precision(z_spec: Tensor) -> Rows:
    rows = {}
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        rounded = z_spec.to(dtype).to(z_spec.dtype)
        other = BINS.index(rounded, "clip") != BINS.index(z_spec)
        rows[name] = {
            "largest error": float((rounded - z_spec).abs().max()),
            "in another bin": float(other.double().mean()),
        }
    return rows


def main() -> None:
    options = arguments(__doc__.split("\n")[0])
    data = prepare(options.seed)

    def plain(logits: Tensor, z: Tensor) -> Tensor:
        return cross_entropy(logits, z, BINS)

    logits = trained(data, plain, options.epochs, options.seed)
    probs, z_spec = logits.softmax(-1), data.z_unseen
    pit_rows, pit_curves = pits(probs)
    rows: dict[str, Any] = {
        "left edges": left_edges(probs, z_spec),
        "masses for densities": masses_for_densities(probs, z_spec),
        "softmax": softmaxes(data, logits, options.epochs, options.seed),
        "medians": medians(BINS.mean(probs), z_spec),
        "PIT": pit_rows,
        "columns": columns(data, options.epochs, options.seed),
        "half precision": half_precision(z_spec.float()),
    }
    settings = vars(options) | {"held out": len(z_spec), "trained on": len(data.z_spec)}
    write("mistakes", rows, settings, pit_curves=pit_curves)
    for name, table in rows.items():
        print(name)
        for reading, values in table.items():
            print(f"  {reading:<40}", "  ".join(f"{k} {v:.4g}" for k, v in values.items()))


if __name__ == "__main__":
    main()

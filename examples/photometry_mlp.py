"""Redshifts of real SDSS galaxies from their five fluxes: the smallest whole training loop.

    python examples/photometry_mlp.py

Nothing here is rendered: fluxes, extinctions and redshifts are SDSS's own. The network is small,
the loop is plain PyTorch, and what comes from photoz_losses is marked: copy those lines into yours.
"""

import argparse
import time
from pathlib import Path

import torch
from evaluation import constant_prediction, evaluate, save_pit, save_redshifts, save_results, table
from galaxies import Photometry, load_photometry, split
from torch import Tensor, nn
from tqdm import trange

from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.calibration import PITRecalibration, TemperatureScaling


def features(galaxies: Photometry) -> Tensor:
    """Asinh magnitudes, colours and E(B-V), shape (N, 10)."""
    softening = torch.tensor([0.6, 0.2, 0.3, 0.4, 1.5])  # nanomaggies, a few errors of faint fluxes
    magnitude = -1.0857 * torch.asinh(galaxies.flux / (2 * softening)) - softening.log()
    return torch.cat([magnitude, magnitude.diff(dim=-1), galaxies.ebv.unsqueeze(-1)], -1)


def network(n_features: int, n_bins: int, width: int) -> nn.Sequential:
    """Three hidden layers; the last gives one logit a bin."""
    sizes = [n_features, width, width, width]
    hidden = [
        layer
        for i in range(3)
        for layer in (nn.Linear(sizes[i], sizes[i + 1]), nn.BatchNorm1d(width), nn.GELU())
    ]
    return nn.Sequential(*hidden, nn.Linear(width, n_bins))


def main() -> None:
    options = arguments()
    torch.manual_seed(options.seed)
    train, validation, test = split(load_photometry(options.galaxies), seed=options.seed)
    inputs = features(train)
    mean, std = inputs.mean(0), inputs.std(0)
    inputs, unseen, held_out = ((features(x) - mean) / std for x in (train, validation, test))

    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)  # photoz_losses
    # docs/weights.md begins with 0.002; the paper has 0.1 (table 2)
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.002, CDELoss(bins))})

    model = network(inputs.shape[-1], len(bins), options.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=1e-4)
    steps = options.epochs * -(-len(inputs) // options.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=steps)
    start = time.perf_counter()
    with trange(options.epochs, desc="training") as progress:
        for _ in progress:
            model.train()
            for rows in torch.randperm(len(inputs)).split(options.batch):
                total, terms = loss(logits=model(inputs[rows]), z_spec=train.z_spec[rows])
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                schedule.step()
            progress.set_postfix({name: f"{value:.3f}" for name, value in terms.items()})
    seconds = time.perf_counter() - start

    model.eval()
    with torch.no_grad():
        logits, to_fit = model(held_out), model(unseen)
    probs = logits.softmax(-1)
    row, pit = evaluate(probs, test.z_spec, bins)
    guess = constant_prediction(train.z_spec, len(test), bins)
    rows = {
        "constant": evaluate(guess, test.z_spec, bins)[0],
        "photometry": row | {"seconds_a_step": seconds / steps, "training_seconds": seconds},
    }
    pits = {"before calibration": pit}
    for name, title, calibration in (  # photoz_losses
        ("+ temperature", "after temperature scaling", TemperatureScaling(bins)),
        ("+ PIT", "after PIT recalibration", PITRecalibration(bins)),
    ):
        mended = calibration.fit(to_fit, validation.z_spec)(logits).softmax(-1)
        rows[name], pits[title] = evaluate(mended, test.z_spec, bins)
    print(f"\n{len(test)} held-out galaxies, {len(train)} to train on\n{table(rows)}")
    print(f"\nThe held-out galaxies, calibrated on {len(validation)} others:")
    for name, title in zip(("photometry", "+ temperature", "+ PIT"), pits, strict=True):
        print(f"{title:<25}  PIT KS {rows[name]['pit_ks']:.3f}  CRPS {rows[name]['crps']:.5f}")

    options.output.mkdir(parents=True, exist_ok=True)
    save_results(options.output, rows, vars(options))
    save_pit(options.output / "photometry_pit.png", pits)
    z_phot = bins.mean(probs)
    save_redshifts(options.output / "photometry_redshifts.png", z_phot, test.z_spec, "real fluxes")
    print(f"results and pictures in {options.output}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, help="how many (all 9,783)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--bins", type=int, default=180)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("outputs/photometry_mlp"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

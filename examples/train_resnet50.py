"""Train the paper's ResNet50 with and without its physical constraints, and compare.

    python examples/train_resnet50.py

Three groups, as table 2 of Engel & Strube (2023): cross entropy alone; the same with rotated
images and redrawn backgrounds; cross entropy with all constraints. Fluxes, redshifts and
extinctions are those of real SDSS galaxies; the images are rendered with these fluxes
(``galaxies.py``, ``rendering.py``). Defaults are cut to minutes on two cores; ``--preset paper``
has the paper's own sizes.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from evaluation import (
    Row,
    constant_prediction,
    evaluate,
    save_gallery,
    save_pit,
    save_redshifts,
    save_results,
    table,
)
from galaxies import Galaxies, load_galaxies, split
from training import GROUPS, PRECISIONS, Trainer, training_set

from photoz_losses import RedshiftBins

PAPER = {
    "galaxies": None,
    "epochs": 50,
    "batch": 128,
    "stem": "paper",
    "bin_factor": 1,
    "schedule": "plateau",
    "initialisation": "he",
}


def show(
    trainer: Trainer, name: str, test: Galaxies, bins: RedshiftBins, output: Path
) -> dict[str, float]:
    """Metrics on held-out galaxies, and the three pictures."""
    probs = trainer.predict(test)
    row, pit = evaluate(probs, test.z_spec, bins)
    save_pit(output / f"{name}_pit.png", {name: pit})
    save_redshifts(output / f"{name}_redshifts.png", bins.mean(probs), test.z_spec, name)
    some = test.subset(torch.arange(min(12, len(test))))
    views = [
        trainer.predict(Galaxies(**vars(some) | {"image": trainer.view(some.image)}))
        for _ in range(20)
    ]
    save_gallery(
        output / f"{name}_densities.png",
        some.image,
        torch.stack(views, 1),
        some.z_spec,
        bins,
        f"{name}: 20 random views of each galaxy",
    )
    return row


def main() -> None:
    options = arguments()
    start = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)
    train, validation, test = split(load_galaxies(options.galaxies, seed=options.seed))
    training = training_set(train, bins)

    guess = constant_prediction(train.z_spec, len(test), bins)
    rows: dict[str, Row] = {"constant": evaluate(guess, test.z_spec, bins)[0]}
    for name in GROUPS if options.group == "all" else [options.group]:
        trainer = Trainer(GROUPS[name], options, bins)
        began = time.perf_counter()
        trainer.fit(training, validation, bins, name)
        times = {
            "training_seconds": time.perf_counter() - began,
            "seconds_a_step": torch.tensor(trainer.seconds).median().item(),
        }
        rows[name] = show(trainer, name, test, bins, options.output) | times
        save_results(options.output, rows, vars(options))

    side = 64 // options.bin_factor
    print(
        f"\n{len(train)} galaxies to train on at {side} x {side} pixels, {options.epochs} epochs "
        f"in batches of {options.batch}; {len(test)} held out\n{table(rows)}\n"
        f"results and pictures in {options.output}, {time.perf_counter() - start:.0f} s in all"
    )


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--preset",
        choices=["minutes", "paper"],
        default="minutes",
        help="paper: table 2 and its stem",
    )
    add("--group", choices=["all", *GROUPS], default="all")
    add("--galaxies", type=int, default=6000, help="how many to draw")
    add("--epochs", type=int, default=2)
    add("--batch", type=int, default=32)
    add("--bins", type=int, default=180, help="redshift bins on [0, 0.4]")
    add("--stem", choices=["torchvision", "paper"], default="torchvision")
    add(
        "--bin-factor", type=int, default=2, help="pixels summed along each side before the network"
    )
    add("--schedule", choices=["onecycle", "plateau"], default="onecycle")
    add("--initialisation", choices=["zero", "he"], default="zero", help="of the residual blocks")
    add("--lr", type=float, default=1e-3)
    for term, gamma in {"l2": 1e-6, "flux": 0.1, "invariance": 0.1, "cde": 0.1}.items():
        add(f"--gamma-{term}", type=float, default=gamma, help=f"weight of the {term} term")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=PRECISIONS, default="fp32")
    add("--output", type=Path, default=Path("outputs/train_resnet50"))
    if parser.parse_known_args(given)[0].preset == "paper":
        parser.set_defaults(**PAPER)
    options = parser.parse_args(given)
    if options.batch < 2 or options.epochs < 1:
        parser.error("--batch must be at least 2 (BatchNorm), --epochs at least 1")
    if options.precision == "fp16" and options.device == "cpu":
        parser.error("--precision fp16 needs a GPU; on a CPU use bf16")
    return options


if __name__ == "__main__":
    main()

"""What does each way to ask for invariance buy? One small network, trained in every way.

    python examples/invariance.py [--seeds 3] [--modes baseline augmented ...]

Every mode trains the same small residual network (``network.py``) on the same rendered galaxies
(``galaxies.py``) for the same number of steps from the same seeds. Held-out galaxies then tell how
far the density moves, as the mean Cramér distance between the densities of an image and of a
random view of it (in redshift), and how good it is. Views are flips and quarter turns; the paper's
redrawn sky, which every mode but the first is trained on; and a sky redrawn without its bias, which
none is. A wide density moves less than a narrow one: its entropy stands beside. The control is the
mean density over the eight orientations at test time, which any network gets without training.
Weights and epochs were set by hand, once, and not tuned.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from evaluation import Row, evaluate, save_results
from galaxies import Galaxies, load_galaxies, split
from network import SmallPhotozResNet
from rendering import SKY_NOISE
from torch import Tensor, nn
from tqdm import tqdm

from photoz_losses import (
    InvarianceLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    RotationDerivativeLoss,
    TotalLoss,
    WeightSchedule,
    average_views,
    invariance_loss,
    rotation_derivative,
    two_views,
)
from photoz_losses.metrics import entropy
from photoz_losses.transforms import RandomDihedral, ResampleBackground

VIEWS = {
    "rotation": RandomDihedral(),
    "background": ResampleBackground(),
    "both": nn.Sequential(ResampleBackground(), RandomDihedral()),
    "unbiased": ResampleBackground(sigma=3.0, iterations=5, unbiased=True),
}


@dataclass(frozen=True)
class Mode:
    """What the network is shown, and the weight of the invariance term."""

    gamma: float = 0.0
    distance: str = "l2"
    augmented: bool = False
    derivative: bool = False
    every: int = 1
    how: Mapping[str, Any] = field(default_factory=dict)  # options of two_views


MODES = {
    "baseline": Mode(),
    "augmented": Mode(augmented=True),
    "views": Mode(0.1),
    "views, weight 10": Mode(10.0),
    "views, Cramér, weight 100": Mode(100.0, "cramer"),
    "one without gradient": Mode(10.0, how={"detach": True}),
    "every fourth galaxy": Mode(10.0, how={"fraction": 0.25}),
    "every fourth step": Mode(10.0, every=4),
    "augmented, views": Mode(10.0, augmented=True),
    "rotation derivative": Mode(10.0, derivative=True),
}


def total_loss(mode: Mode, bins: RedshiftBins) -> TotalLoss:
    terms: dict[str, tuple[Any, nn.Module]] = {"ce": (1.0, RedshiftCrossEntropy(bins))}
    if mode.derivative:
        terms["invariance"] = (mode.gamma, RotationDerivativeLoss(mode.distance, bins=bins))
    elif mode.gamma:
        weight = WeightSchedule(mode.gamma, every=mode.every)
        terms["invariance"] = (weight, InvarianceLoss(mode.distance, bins=bins))
    return TotalLoss(terms)


def inputs(
    mode: Mode, due: bool, model: Callable[..., Tensor], image: Tensor, ebv: Tensor
) -> dict[str, Any]:
    """Logits of a batch, and of what the term that is due needs besides."""
    if mode.augmented:
        image = VIEWS["both"](image)
    if not due:
        return {"logits": model(image, ebv)}
    if mode.derivative:
        logits, derivative = rotation_derivative(model, image, ebv)
        return {"logits": logits, "derivative": derivative}
    logits, other, rows = two_views(model, image, VIEWS["both"], ebv, **mode.how)
    return {"logits": logits, "logits_transformed": other, "rows": rows}


def train(
    mode: Mode, galaxies: Galaxies, bins: RedshiftBins, options: argparse.Namespace, name: str
) -> tuple[nn.Module, float]:
    """The trained network, and the seconds of a step."""
    model = SmallPhotozResNet(len(bins), SKY_NOISE, bin_factor=options.bin_factor)
    loss = total_loss(mode, bins)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=1e-4)
    batches = [
        rows
        for _ in range(options.epochs)
        for rows in torch.randperm(len(galaxies)).split(options.batch)
        if len(rows) > 1
    ]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, total_steps=len(batches))
    start = time.perf_counter()
    for rows in tqdm(batches, desc=name, unit="step"):
        due = "invariance" in loss.terms and loss.active("invariance")
        given = inputs(mode, due, model, galaxies.image[rows], galaxies.ebv[rows])
        total, _ = loss(**given, z_spec=galaxies.z_spec[rows])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        cycle.step()
        loss.step()
    return model.eval(), (time.perf_counter() - start) / len(batches)


@torch.no_grad()
def measure(model: nn.Module, test: Galaxies, bins: RedshiftBins, n_views: int) -> Row:
    """Metrics of the held-out galaxies, and how far their densities move under each view."""
    parts: dict[str, list[Tensor]] = {}

    def keep(name: str, values: Tensor) -> None:
        parts.setdefault(name, []).append(values)

    turn = RotationDerivativeLoss("cramer", bins=bins, reduction="none")
    for image, ebv in zip(test.image.split(256), test.ebv.split(256), strict=True):
        logits, derivative = rotation_derivative(model, image, ebv)
        averaged = average_views(model, image, None, ebv)
        keep("probs", logits.softmax(-1))
        keep("averaged", averaged)
        keep("cramer_per_square_radian", turn(logits, derivative))
        for name, view in VIEWS.items():
            for _ in range(n_views):
                seen = view(image)
                keep(f"cramer_{name}", moved(logits, model(seen, ebv), bins))
                keep(
                    f"cramer_{name}_eight_views",
                    moved(averaged.log(), average_views(model, seen, None, ebv).log(), bins),
                )
    whole = {name: torch.cat(values) for name, values in parts.items()}
    row = evaluate(whole["probs"], test.z_spec, bins)[0]
    row["entropy"] = entropy(whole["probs"], bins).item()
    control = evaluate(whole["averaged"], test.z_spec, bins)[0]
    row |= {name: part.mean().item() for name, part in whole.items() if name.startswith("cramer")}
    return row | {f"{name}_eight_views": control[name] for name in ("mad", "crps", "cde_loss")}


def moved(logits: Tensor, others: Tensor, bins: RedshiftBins) -> Tensor:
    """Cramér distance of each galaxy's two densities, in redshift."""
    return invariance_loss(logits, others, distance="cramer", bins=bins, reduction="none")


def table(rows: Mapping[str, list[Row]]) -> str:
    """Mean over the seeds, and behind ± the deviation between them."""
    columns = {
        "cramer_rotation": (1e5, "turned"), "cramer_background": (1e5, "paper's sky"),
        "cramer_unbiased": (1e5, "other sky"), "cramer_unbiased_eight_views": (1e5, "its 8 views"),
        "cramer_per_square_radian": (1e5, "per rad2"), "entropy": (1, "entropy"),
        "mad": (1e3, "MAD"), "crps": (1e3, "CRPS"), "crps_eight_views": (1e3, "of 8 views"),
    }  # fmt: skip
    lines = [f"{'mean ± deviation of seeds':<28}"]
    lines[0] += "".join(f"{f'{head} x{1 / scale:.0e}':>20}" for scale, head in columns.values())
    for name, seeds in rows.items():
        cells = []
        for key, (scale, _) in columns.items():
            values = scale * torch.tensor([row[key] for row in seeds], dtype=torch.float64)
            spread = values.std().item() if len(seeds) > 1 else 0.0
            cells.append(f"{f'{values.mean().item():.3f} ± {spread:.3f}':>20}")
        lines.append(f"{name:<28}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    bins = RedshiftBins.uniform(0.0, 0.4, options.bins)
    train_set, _, test = split(load_galaxies(options.galaxies))
    rows: dict[str, list[Row]] = {name: [] for name in options.modes}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name in options.modes:
            torch.manual_seed(seed)
            model, seconds = train(MODES[name], train_set, bins, options, f"{name}, seed {seed}")
            torch.manual_seed(1000 + seed)  # the same views for every mode
            row = measure(model, test, bins, options.n_views) | {"seconds_a_step": seconds}
            rows[name].append(row)
            by_seed = {
                f"{mode}, seed {options.first_seed + k}": row
                for mode, seeds in rows.items()
                for k, row in enumerate(seeds)
            }
            save_results(options.output, by_seed, vars(options))
    print(f"\n{len(train_set)} galaxies to train on, {len(test)} held out\n{table(rows)}")
    print(f"results in {options.output}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--galaxies", type=int, default=6000, help="how many to draw")
    add("--modes", nargs="+", choices=[*MODES], default=[*MODES], metavar="MODE")
    add("--seeds", type=int, default=3)
    add("--first-seed", type=int, default=0, help="to part the seeds among processes")
    add("--epochs", type=int, default=3)
    add("--batch", type=int, default=64)
    add("--bins", type=int, default=180)
    add("--bin-factor", type=int, default=2, help="pixels summed along each side")
    add("--lr", type=float, default=3e-3)
    add("--n-views", type=int, default=2, help="random views of each held-out galaxy")
    add("--output", type=Path, default=Path("outputs/invariance"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

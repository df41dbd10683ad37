"""What does a training step with the constraints cost, against a plain one?

    python benchmarks/step.py [--device cuda --precision bf16 --compile --batch 128]
    python benchmarks/step.py --markdown      the table of the last run, for the docs

Whole steps of a ResNet50 on images of 64 x 64 pixels in five bands: views, forward, terms,
backward, Adam. "Plain" is cross entropy alone. Candidates take turns, and ``ratio`` is the median
over the turns of a step's time over that of the plain step of the same turn: what else runs on the
machine slows both. ``forward`` is the network's forward without a gradient: with its share of the
plain step, what a branch without gradient must cost follows.

The paper's training took 24.5 h with all constraints against 7.2 h plain and 8.2 h augmented:
ratios of 3.4 and 3.0.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from measure import print_table, read, save, take_turns
from torch import Tensor, nn
from torchvision.models import resnet50

from photoz_losses import (
    CDELoss,
    FluxLoss,
    InvarianceLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    RotationDerivativeLoss,
    TotalLoss,
    rotation_derivative,
    two_views,
)
from photoz_losses.transforms import RandomDihedral, ResampleBackground

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BOUNDS = {
    "+ flux and CDE": 1.02,
    "+ both views": 2.05,
    "+ a view without gradient": 1.40,
    "+ a view of every fourth galaxy": 1.35,
}
Inputs = dict[str, Any]


class Bench:
    """A network, its optimiser and one batch; a step with any set of terms."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        generator = torch.Generator().manual_seed(0)
        N, side, n_bins = options.batch, options.side, options.bins

        def draw(*shape: int) -> Tensor:
            return torch.randn(N, *shape, generator=generator)

        images = draw(5, side, side).to(self.device)
        self.images = images.to(memory_format=self.memory_format)
        self.bins = RedshiftBins.uniform(0.0, 0.4, n_bins).to(self.device)
        batch = {"z_spec": 0.2 + 0.05 * draw().clamp(-3, 3), "residual": draw(n_bins, 5)}
        batch["band_weight"] = torch.ones(N, 5)
        self.batch = {name: value.to(self.device) for name, value in batch.items()}
        network = resnet50(weights=None, num_classes=n_bins)
        stride = 1 if options.stem == "paper" else 2
        network.conv1 = nn.Conv2d(5, 64, 7, stride=stride, padding=3, bias=False)
        if options.stem == "paper":
            network.maxpool = nn.Identity()
        self.network = network.to(self.device, memory_format=self.memory_format)
        self.model: Callable[..., Tensor] = self.network
        if options.compile:
            self.model = torch.compile(self.network, dynamic=False)  # a graph for each batch
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-5, fused=True)
        self.view = nn.Sequential(ResampleBackground(), RandomDihedral())

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.options.channels_last else torch.contiguous_format

    def autocast(self) -> torch.autocast:
        dtype = PRECISIONS[self.options.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def terms(self, *names: str) -> TotalLoss:
        """Cross entropy and those named, with the paper's weights."""
        bins = self.bins
        known: dict[str, tuple[float, nn.Module]] = {
            "ce": (1.0, RedshiftCrossEntropy(bins)),
            "flux": (0.1, FluxLoss(bins)),
            "cde": (0.1, CDELoss(bins)),
            "invariance": (0.1, InvarianceLoss()),
            "rotation": (0.1, RotationDerivativeLoss()),
        }
        return TotalLoss({name: known[name] for name in ("ce", *names)}).to(self.device)

    def step(
        self, forward: Callable[[], Inputs], *terms: str, every: int = 1
    ) -> Callable[[], None]:
        """One step; with `every`, that many, of which only the first has the views."""
        full, rest = self.terms(*terms), self.terms("flux", "cde")
        others = [(self.one_view, rest)] * (every - 1)

        def run() -> None:
            for inputs, loss in [(forward, full), *others]:
                with self.autocast():
                    given = inputs()
                total, _ = loss(**given, **self.batch)
                self.optimizer.zero_grad()
                total.backward()
                self.optimizer.step()

        return run

    def one_view(self) -> Inputs:
        return {"logits": self.model(self.images)}

    def augmented(self) -> Inputs:
        return {"logits": self.model(self.view(self.images))}

    def views(self, **how: Any) -> Callable[[], Inputs]:
        def both() -> Inputs:
            logits, other, rows = two_views(self.model, self.images, self.view, **how)
            return {"logits": logits, "logits_transformed": other, "rows": rows}

        return both

    def derivative(self) -> Inputs:
        logits, derivative = rotation_derivative(self.network, self.images)
        return {"logits": logits, "derivative": derivative}

    @torch.no_grad()
    def forward_alone(self) -> None:
        with self.autocast():
            self.model(self.images)


def candidates(bench: Bench) -> dict[str, Callable[[], None]]:
    """Rows in the order in which they are published; the plain step first."""
    constraints = ("flux", "cde", "invariance")
    quarter = {"fraction": 0.25}
    rows = {
        "plain": bench.step(bench.one_view),
        "forward": bench.forward_alone,
        "augmented": bench.step(bench.augmented),
        "+ flux and CDE": bench.step(bench.one_view, "flux", "cde"),
        "+ both views": bench.step(bench.views(), *constraints),
        "+ a view without gradient": bench.step(bench.views(detach=True), *constraints),
        "+ a view of every fourth galaxy": bench.step(bench.views(**quarter), *constraints),
        "+ the same without gradient": bench.step(
            bench.views(detach=True, **quarter), *constraints
        ),
        "+ both views at every fourth step": bench.step(bench.views(), *constraints, every=4),
    }
    if not bench.options.compile:  # forward-mode differentiation of a compiled network: not here
        rows["+ rotation derivative"] = bench.step(bench.derivative, "flux", "cde", "rotation")
    return rows


def published(rows: dict[str, dict[str, float]]) -> list[list[str]]:
    """Cells of the table of the docs."""
    table = [["step", "against the plain one", "quartiles", "bound"]]
    for name, row in rows.items():
        spread = f"{row['ratio_quartile_1']:.3f} to {row['ratio_quartile_3']:.3f}"
        bound = ""
        if name in BOUNDS:
            met = "met" if row["ratio"] <= BOUNDS[name] else "not met"
            bound = f"{BOUNDS[name]:.2f}, {met}"
        table.append([name, f"{row['ratio']:.3f} ×", spread, bound])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--batch", type=int, default=32)
    add("--side", type=int, default=64, help="pixels along a side")
    add("--bins", type=int, default=180)
    add("--stem", choices=["torchvision", "paper"], default="torchvision")
    add("--rounds", type=int, default=15)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=PRECISIONS, default="fp32")
    add("--compile", action="store_true")
    add("--channels-last", action="store_true")
    add("--name", default="step", help="of the results file")
    add("--markdown", action="store_true", help="print the table of the last run")
    options = parser.parse_args()
    if options.markdown:
        print_table(published(read(options.name)["rows"]), markdown=True)
        return
    bench = Bench(options)
    wait = torch.cuda.synchronize if bench.device.type == "cuda" else lambda: None
    rows = candidates(bench)
    timed = take_turns(rows, options.rounds, wait=wait)
    every = timed["+ both views at every fourth step"]  # of four steps
    for key in every:
        every[key] = every[key] * 4 if key == "times_faster" else every[key] / 4
    save(options.name, timed, vars(options))
    print_table(published(timed))


if __name__ == "__main__":
    main()

"""What does each term add to a training step?

    python benchmarks/terms.py

Forward and backward of each term on a batch of logits, beside forward and backward of a ResNet50 on
as many 64 x 64 images; ``share`` is the term's part of that step. (The second view that the
invariance term needs is a cost of the network, not of the term: it is not in here.)
"""

import argparse
from collections.abc import Callable

import torch
from measure import save, take_turns
from torch import Tensor
from torchvision.models import resnet50

from photoz_losses import (
    RedshiftBins,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    invariance_loss,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)

    generator = torch.Generator().manual_seed(0)
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    logits = torch.randn(options.batch, 180, generator=generator)
    other = torch.randn(options.batch, 180, generator=generator)
    residual = torch.randn(options.batch, 180, 5, generator=generator)
    band_weight = torch.ones(options.batch, 5)
    z_spec = 0.4 * torch.rand(options.batch, generator=generator)
    network = resnet50(weights=None, num_classes=180)
    network.conv1 = torch.nn.Conv2d(5, 64, 7, stride=2, padding=3, bias=False)
    images = torch.randn(options.batch, 5, 64, 64, generator=generator)

    def step(term: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            term(logits.detach().requires_grad_()).backward()

        return run

    rows = take_turns(
        {
            "ResNet50": lambda: network(images).square().mean().backward(),
            "cross_entropy": step(lambda x: cross_entropy(x, z_spec, bins)),
            "cde_loss": step(lambda x: cde_loss(x, z_spec, bins)),
            "crps_loss": step(lambda x: crps_loss(x, z_spec, bins)),
            "flux_loss": step(lambda x: flux_loss(x, residual, band_weight)),
            "invariance_loss": step(lambda x: invariance_loss(x, other)),
        },
        options.rounds,
    )
    for row in rows.values():
        row["share"] = 1 / row.pop("times_faster")
    save("terms", rows, vars(options) | {"bins": 180, "bands": 5, "image": "64 x 64"})


if __name__ == "__main__":
    main()

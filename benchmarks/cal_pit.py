"""What does a calibration that knows the galaxy mend, where one rule for all cannot?

    python benchmarks/cal_pit.py

Made-up galaxies, whose densities are too narrow in one half of a feature and lie too high in the
other. The KS distance of the held-out PIT from uniform, within either half, and the CRPS: as they
are, after `PITRecalibration`, and after Cal-PIT (package calpit) as `docs/calibration.md` says,
with a classifier of scikit-learn and with its own network. One core; each fit is seeded.
"""

import argparse
import os
import time
from collections.abc import Callable

import torch
from calpit import CalPIT
from measure import save
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from photoz_losses import RedshiftBins
from photoz_losses.calibration import PITRecalibration
from photoz_losses.metrics import crps, pit, pit_statistics

WIDTH = 0.02  # of the true redshift about the peak
BINS = RedshiftBins.uniform(0.0, 0.4, 180)


def galaxies(number: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two features [N, 2], logits [N, C] and redshifts [N]; the second feature is the halves'."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(number, 2, generator=generator, dtype=torch.float64)
    peak = 0.1 + 0.2 * draws[:, :1]
    noise = torch.randn(number, generator=generator, dtype=torch.float64)
    z_spec = (peak.squeeze(-1) + WIDTH * noise).clamp(0.0, 0.4)
    narrow = draws[:, 1:] < 0.5
    says = torch.where(narrow, peak, peak + 0.6 * WIDTH)
    width = torch.where(narrow, 0.6 * WIDTH, WIDTH)
    return draws, -(((BINS.centers - says) / width) ** 2) / 2, z_spec


def cal_pit(recalibrator: CalPIT, seed: int, number: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Masses of other galaxies by the recipe of the documentation."""
    features, logits, z_spec = galaxies(number, seed)
    recalibrator.fit(features.numpy(), pit=pit(logits.softmax(-1), z_spec, BINS).numpy())

    def mend(features: Tensor, probs: Tensor) -> Tensor:
        cdf = BINS.cdf(probs.unsqueeze(-2), BINS.edges)
        masses = torch.from_numpy(recalibrator.predict(features.numpy(), cdf.numpy())).diff(dim=-1)
        return masses / masses.sum(-1, keepdim=True)

    return mend


def by_pit(seed: int, number: int) -> Callable[[Tensor, Tensor], Tensor]:
    _, logits, z_spec = galaxies(number, seed)
    fitted = PITRecalibration(BINS).fit(logits, z_spec)
    return lambda _, probs: fitted(probs.log()).softmax(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fit", type=int, default=5000, help="galaxies to fit on")
    parser.add_argument("--held-out", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=30, help="of the network, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # scikit-learn's trees ask when they are grown

    trees = HistGradientBoostingClassifier(max_iter=60, random_state=options.seed)
    # Batches for thousands of galaxies: calpit's own of 2,048 leaves three steps an epoch, and its
    # 201 levels for each galaxy of the validation take longer than those.
    network = {"lr": 3e-3, "batch_size": 128, "n_alpha_val": 21, "max_epochs": options.epochs}
    quiet = {"logger": False, "enable_model_summary": False}
    fits: dict[str, Callable[[int, int], Callable[[Tensor, Tensor], Tensor]]] = {
        "before": lambda *_: lambda _, probs: probs,
        "PITRecalibration": by_pit,
        "Cal-PIT, trees": lambda *data: cal_pit(CalPIT(trees, random_state=options.seed), *data),
        "Cal-PIT, network": lambda *data: cal_pit(
            CalPIT(**network, trainer_kwargs=quiet, random_state=options.seed), *data
        ),
    }
    features, logits, z_spec = galaxies(options.held_out, options.seed + 1)
    first = features[:, 1] < 0.5
    rows = {}
    for name, fit in fits.items():
        start = time.perf_counter()
        probs = fit(options.seed, options.fit)(features, logits.softmax(-1))
        seconds = time.perf_counter() - start
        held_out = pit(probs, z_spec, BINS)
        rows[name] = {
            "ks_narrow_half": float(pit_statistics(held_out[first])["ks"]),
            "ks_high_half": float(pit_statistics(held_out[~first])["ks"]),
            "ks": float(pit_statistics(held_out)["ks"]),
            "crps": float(crps(probs, z_spec, BINS)),
            "seconds": seconds,
        }
    save("cal_pit", rows, vars(options) | {"network": network})


if __name__ == "__main__":
    main()

"""Do physical constraints make a network better than augmentation does? Seeds, and intervals.

    python examples/ablation.py

The paper trained each of its groups once, and left more seeds, a search over the weights and a look
at the loss landscape as future work. Here every group is trained from several seeds, for equal
numbers of steps and for equal times, and tested on galaxies as it was trained on and otherwise:
worse seeing, more noise, faint ones, half the training set. Galaxies' fluxes and redshifts are
real, their images are rendered (``galaxies.py``); a second study sees the real fluxes alone.

Every piece of work is a file in ``--output``: a killed command goes on where it stopped, and
several at once, on one machine or on a shared disk, divide the work among them.
"""

import argparse
import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from evaluation import provenance
from study import images, work

Job = Callable[[], dict[str, Any]]


def image_runs(options: argparse.Namespace) -> None:
    """Every group and seed, seed by seed, so that a part of the work is a whole, smaller study."""
    sets = images.load(options.galaxies, options.bins)
    measure = partial(images.step_ratios, sets, options.batch, options.rounds)
    ratios = work.wait_for(options.output / "step_ratios.json", measure)
    equal_steps = dict.fromkeys(images.GROUPS, options.steps)
    equal_time = images.equal_time(options.steps, ratios)
    for part, steps in (("whole", equal_steps), ("whole", equal_time), ("half", equal_steps)):
        folder = options.output / "images" / part
        jobs: dict[str, Job] = {}
        for seed in range(options.seeds):
            for group in images.GROUPS:
                config = images.configured(group, seed, steps[group], options.batch, options.lr)
                name = images.run_name(group, steps[group], seed)
                train = partial(images.run, sets, config, part == "half", folder / f"{name}.pt")
                jobs[name] = partial(described, {"group": group, "seed": seed}, train)
        work.share_out(folder, jobs, f"images, {part} training set")


def described(what: Mapping[str, Any], job: Job) -> dict[str, Any]:
    return {**what} | job() | {"made_by": provenance()}


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {"images": image_runs}


def main() -> None:
    options = arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips and no news
    for news in ("The '.*_dataloader' does not", "You defined a `valid", "`isinstance.treespec"):
        warnings.filterwarnings("ignore", news)
    for stage in options.stages:
        STAGES[stage](options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--stages", nargs="+", choices=[*STAGES], default=[*STAGES], metavar="STAGE")
    add("--seeds", type=int, default=5, help="of the groups that see images")
    add("--galaxies", type=int, default=6000, help="how many to draw")
    add("--steps", type=int, default=500, help="of every group; of the costliest, in equal time")
    add("--batch", type=int, default=64)
    add("--bins", type=int, default=180)
    add("--lr", type=float, default=3e-3)
    add("--rounds", type=int, default=15, help="of the measurement of a step's time")
    add("--output", type=Path, default=Path("outputs/ablation"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

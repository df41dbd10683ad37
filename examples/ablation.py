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
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from config import Config
from evaluation import provenance
from study import fluxes, images, landscape, page, pictures, search, work

SPAN = 0.5  # of the landscapes, in norms of the filters: the valleys are narrow
SEARCHED = "best of the search"
Job = Callable[[], dict[str, Any]]


def image_runs(options: argparse.Namespace) -> None:
    """Every group and seed, seed by seed, so that a part of the work is a whole, smaller study."""
    sets = images.load(options.galaxies, options.bins)
    measure = partial(images.step_ratios, sets, options.groups, options.batch, options.rounds)
    work.wait_for(options.output / "step_ratios.json", measure)
    for part in ("whole", "half"):
        folder, jobs = options.output / "images" / part, {}
        for name, (group, config) in planned(options, part).items():
            weights = folder / f"{name}.pt"
            train = partial(images.run, sets, group, config, part == "half", weights)
            jobs[name] = partial(described, {"group": group, "seed": config.seed}, train)
        work.share_out(folder, jobs, f"images, {part} training set")


def planned(
    options: argparse.Namespace, part: str, budgets: Sequence[str] = ("steps", "time")
) -> dict[str, tuple[str, Config]]:
    """The runs of these budgets by name; on half the training set, of equal steps alone."""
    half = part == "half"
    budgets, seeds = (["steps"], options.half_seeds) if half else (budgets, options.seeds)
    steps = all_steps(options)
    return {
        images.run_name(group, steps[budget][group], seed): (
            group,
            images.configured(group, seed, steps[budget][group], options.batch, options.lr),
        )
        for budget in budgets
        for seed in range(seeds)
        for group in options.groups
    }


def all_steps(options: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Steps of each group: equally many, and as many as take equally long."""
    ratios = work.read(options.output / "step_ratios.json")
    equal_steps = dict.fromkeys(options.groups, options.steps)
    return {"steps": equal_steps, "time": images.equal_time(options.steps, ratios)}


def described(what: Mapping[str, Any], job: Job) -> dict[str, Any]:
    return {**what} | job() | {"made_by": provenance()}


def group_pictures(options: argparse.Namespace) -> None:
    """Appendices C to E for the first seed of each group, and what the documentation redraws."""
    sets = images.load(options.galaxies, options.bins)
    folder, whole = options.output / "pictures", options.output / "images" / "whole"

    def job(group: str, config: Config, name: str) -> dict[str, Any]:
        module = images.trained(sets, group, config, whole / f"{name}.pt")
        shown = pictures.shown(module, sets.tests["as trained"], sets.bins, 12, options.views)
        pictures.draw(folder, name, group, shown, sets.bins)
        return pictures.thinned(shown) | {"group": group}

    jobs = {name: partial(job, *run, name) for name, run in done(options, 1).items()}
    work.share_out(folder, jobs, "pictures")


def done(options: argparse.Namespace, seeds: int) -> dict[str, tuple[str, Config]]:
    """The runs of equal steps that are done, of the first seeds."""
    folder, plan = options.output / "images" / "whole", planned(options, "whole")
    names = [
        images.run_name(group, options.steps, seed)
        for seed in range(seeds)
        for group in options.groups
    ]
    return {name: plan[name] for name in names if (folder / f"{name}.json").exists()}


def landscapes(options: argparse.Namespace) -> None:
    """Surfaces and eigenvalues, on some of the galaxies that the groups were trained on."""
    sets = images.load(options.galaxies, options.bins)
    some = {name: column[: options.curvature] for name, column in sets.train.columns.items()}
    parts = {name: column.split(256) for name, column in some.items()}
    batches = [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]
    whole = options.output / "images" / "whole"

    def job(group: str, config: Config, name: str) -> dict[str, Any]:
        module = images.trained(sets, group, config, whole / f"{name}.pt")
        measured = landscape.measure(
            module, batches, seed=config.seed, span=SPAN, points=options.points
        )
        return {"group": group, "seed": config.seed} | measured

    runs = done(options, options.curvature_seeds)
    jobs = {name: partial(job, *run, name) for name, run in runs.items()}
    work.share_out(options.output / "landscape", jobs, "landscapes")


def flux_runs(options: argparse.Namespace) -> None:
    """The groups that see real fluxes alone, for equal steps and for equal times."""
    data = fluxes.prepare(options.flux_galaxies)
    measure = partial(fluxes.seconds_a_step, data, fluxes.GROUPS)
    work.wait_for(options.output / "flux_seconds.json", measure)
    jobs = {
        name: partial(flux_run, data, fluxes.GROUPS[group], group, seed, steps)
        for name, (group, steps, seed) in planned_fluxes(options).items()
    }
    work.share_out(options.output / "fluxes", jobs, "fluxes")


def flux_run(
    data: fluxes.Data, weights: Mapping[str, float], group: str, seed: int, steps: int
) -> dict[str, Any]:
    def job() -> dict[str, Any]:
        return {"results": {"as trained": fluxes.run(data, weights, seed=seed, steps=steps)}}

    return described({"group": group, "seed": seed, "steps": steps}, job)


def planned_fluxes(
    options: argparse.Namespace, budgets: Sequence[str] = ("steps", "time")
) -> dict[str, tuple[str, int, int]]:
    """Group, steps and seed of every run of these budgets, by name."""
    seconds = work.read(options.output / "flux_seconds.json")
    n = options.flux_steps
    steps = {
        "steps": dict.fromkeys(fluxes.GROUPS, n),
        "time": fluxes.equal_time_steps(seconds, n),
    }
    return {
        images.run_name(group, steps[budget][group], seed): (group, steps[budget][group], seed)
        for budget in budgets
        for seed in range(options.flux_seeds)
        for group in fluxes.GROUPS
    }


def gamma_search(options: argparse.Namespace) -> None:
    """Weights of the terms, searched for on the validation galaxies of the flux study.

    The best of them are then trained from the groups' seeds, which the search did not see.
    """
    data = fluxes.prepare(options.flux_galaxies)
    folder = options.output / "search"
    folder.mkdir(parents=True, exist_ok=True)
    search.search(data, folder, options.trials, steps=options.flux_steps, seed=os.getpid())
    best = search.summary(folder)["best"]["weights"]
    jobs = {
        name: partial(flux_run, data, best, SEARCHED, seed, options.flux_steps)
        for name, seed in planned_searched(options).items()
    }
    work.share_out(options.output / "searched", jobs, "fluxes, searched weights")


def planned_searched(options: argparse.Namespace) -> dict[str, int]:
    return {
        images.run_name(SEARCHED, options.flux_steps, seed): seed
        for seed in range(options.flux_seeds)
    }


def summary(options: argparse.Namespace) -> None:
    """One small file of each part of the study, and from them the tables and pictures."""
    folder = options.output / "kept"
    folder.mkdir(parents=True, exist_ok=True)
    whole, half = options.output / "images" / "whole", options.output / "images" / "half"
    plans = {
        "steps": (whole, planned(options, "whole", ["steps"])),
        "time": (whole, planned(options, "whole", ["time"])),
        "half": (half, planned(options, "half")),
    }
    flux_plans: dict[str, tuple[Path, Mapping[str, Any]]] = {
        budget: (options.output / "fluxes", planned_fluxes(options, [budget]))
        for budget in ("steps", "time")
    }
    flux_plans["searched"] = (options.output / "searched", planned_searched(options))
    settings = {"settings": {name: str(value) for name, value in vars(options).items()}}
    ratios = {"step_ratios": work.read(options.output / "step_ratios.json")}
    work.write(folder / "runs.json", settings | ratios | work.kept(plans), indent=None)
    seconds = {"seconds_a_step": work.read(options.output / "flux_seconds.json")}
    work.write(folder / "fluxes.json", settings | seconds | work.kept(flux_plans), indent=None)
    for part in ("landscape", "pictures"):
        groups: dict[str, list[Any]] = {}
        for path in sorted((options.output / part).glob("*.json")):
            one = work.read(path)
            groups.setdefault(one.pop("group"), []).append(one)
        in_order = {group: groups[group] for group in images.GROUPS if group in groups}
        work.write(folder / f"{part}.json", {"groups": in_order}, indent=None)
    work.write(folder / "search.json", search.summary(options.output / "search"), indent=None)
    page.build(folder, options.output / "page")
    for name in ("values_steps", "differences_steps_plain", "differences_steps_augmented"):
        print(f"\n{name}\n{(options.output / 'page' / f'{name}.md').read_text()}")
    print(f"kept results, tables and pictures in {options.output}")


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "images": image_runs,
    "fluxes": flux_runs,
    "search": gamma_search,
    "pictures": group_pictures,
    "landscape": landscapes,
    "summary": summary,
}


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
    add("--groups", nargs="+", choices=[*images.GROUPS], default=[*images.GROUPS], metavar="GROUP")
    add("--seeds", type=int, default=5, help="of the groups that see images")
    add("--half-seeds", type=int, default=3, help="of the same on half the training set")
    add("--galaxies", type=int, default=6000, help="how many to draw")
    add("--steps", type=int, default=500, help="of every group; of the costliest, in equal time")
    add("--batch", type=int, default=64)
    add("--bins", type=int, default=180)
    add("--lr", type=float, default=3e-3)
    add("--rounds", type=int, default=15, help="of the measurement of a step's time")
    add("--flux-seeds", type=int, default=20, help="of the groups that see fluxes")
    add("--flux-galaxies", type=int, help="how many (all 9,783)")
    add("--flux-steps", type=int, default=fluxes.STEPS)
    add("--trials", type=int, default=60, help="of the search for weights")
    add("--curvature", type=int, default=256, help="galaxies of the loss landscapes")
    add("--curvature-seeds", type=int, default=1, help="of the loss landscapes")
    add("--points", type=int, default=13, help="along each side of a landscape")
    add("--views", type=int, default=20, help="random views of each galaxy in the pictures")
    add("--output", type=Path, default=Path("outputs/ablation"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Do physical constraints make a network better than augmentation does? Seeds, and intervals.

    python examples/ablation.py

The paper trained each of its groups once, and left more seeds, a search over the weights and a look
at the loss landscape as future work. Here every group is trained from several seeds, for equal
numbers of steps and for equal times, and tested on galaxies as it was trained on and otherwise:
worse seeing, more noise, faint ones, half the training set. Galaxies' fluxes and redshifts are
real, their images are rendered (``galaxies.py``); a second study sees the real fluxes alone.

Every piece of work is a file in ``--output``: a killed command goes on where it stopped, and
several at once on one machine divide the work among them.
"""

import argparse
import logging
import os
import time
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
Plan = dict[str, tuple[str, Config]]  # group and configuration of every run, by its name


def described(what: Mapping[str, Any], job: Job) -> dict[str, Any]:
    return {**what} | job() | {"made_by": provenance()}


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
    validated(options, sets)


def validated(options: argparse.Namespace, sets: images.Sets) -> None:
    """The validation score of every run, by which a longer one may be stopped early."""

    def job(group: str, config: Config, name: str) -> dict[str, Any]:
        weights = options.output / "images" / "whole" / f"{name}.pt"
        return {"validation_crps": images.validation_crps(sets, group, config, weights)}

    jobs = {name: partial(job, *run, name) for name, run in done(options).items()}
    work.share_out(options.output / "validation", jobs, "validation")


def planned(
    options: argparse.Namespace, part: str, budgets: Sequence[str] = ("steps", "time")
) -> Plan:
    """The runs of these budgets; on half the training set, of equal steps alone."""
    half = part == "half"
    budgets, seeds = (["steps"], options.half_seeds) if half else (budgets, options.seeds)
    equal_steps = dict.fromkeys(options.groups, options.steps)
    ratios = work.read(options.output / "step_ratios.json")
    steps = {"steps": equal_steps, "time": images.equal_time(options.steps, ratios)}
    return {
        images.run_name(group, steps[budget][group], seed): (
            group,
            images.configured(group, seed, steps[budget][group], options.batch, options.lr),
        )
        for budget in budgets
        for seed in range(seeds)
        for group in options.groups
    }


def done(
    options: argparse.Namespace, budgets: Sequence[str] = ("steps", "time"), seeds: int = 2**31
) -> Plan:
    """Those of the first seeds that are done."""
    folder, plan = options.output / "images" / "whole", planned(options, "whole", budgets)
    return {
        name: (group, config)
        for name, (group, config) in plan.items()
        if config.seed < seeds and (folder / f"{name}.json").exists()
    }


def stopped(options: argparse.Namespace) -> Plan:
    """Of the runs of equal steps and of equal time of a group and seed, that of the best CRPS.

    On the validation galaxies: who has more time than it needs, may stop.
    """
    best: dict[tuple[str, int], str] = {}
    runs = done(options)
    scores = {
        name: work.read(options.output / "validation" / f"{name}.json")["validation_crps"]
        for name in runs
    }
    for name, (group, config) in runs.items():
        key = group, config.seed
        if key not in best or scores[name] < scores[best[key]]:
            best[key] = name
    return {name: runs[name] for name in best.values()}


def group_pictures(options: argparse.Namespace) -> None:
    """Appendices C to E for the first seed of each group, and what the documentation redraws."""
    sets = images.load(options.galaxies, options.bins)
    folder, whole = options.output / "pictures", options.output / "images" / "whole"

    def job(group: str, config: Config, name: str) -> dict[str, Any]:
        module = images.trained(sets, group, config, whole / f"{name}.pt")
        shown = pictures.shown(module, sets.tests["as trained"], sets.bins, 12, options.views)
        pictures.draw(folder, name, group, shown, sets.bins)
        return described({"group": group}, partial(pictures.thinned, shown))

    jobs = {name: partial(job, *run, name) for name, run in done(options, ["steps"], 1).items()}
    work.share_out(folder, jobs, "pictures")


def landscapes(options: argparse.Namespace) -> None:
    """Surfaces and eigenvalues, on some of the galaxies that the groups were trained on."""
    sets = images.load(options.galaxies, options.bins)
    some = {name: column[: options.curvature] for name, column in sets.train.columns.items()}
    parts = {name: column.split(256) for name, column in some.items()}
    batches = [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]
    whole = options.output / "images" / "whole"

    def job(group: str, config: Config, name: str) -> dict[str, Any]:
        module = images.trained(sets, group, config, whole / f"{name}.pt")
        how = {"seed": config.seed, "span": SPAN, "points": options.points}
        return described({"group": group}, partial(landscape.measure, module, batches, **how))

    runs = done(options, ["steps"], options.curvature_seeds)
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

    return described({"group": group, "seed": seed, "steps": steps, "weights": weights}, job)


def planned_fluxes(
    options: argparse.Namespace, budgets: Sequence[str] = ("steps", "time")
) -> dict[str, tuple[str, int, int]]:
    """Group, steps and seed of every run of these budgets, by name."""
    seconds = work.read(options.output / "flux_seconds.json")
    n = options.flux_steps
    steps = {"steps": dict.fromkeys(fluxes.GROUPS, n), "time": images.equal_time(n, seconds)}
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
    how = {"steps": options.flux_steps, "seed": os.getpid()}
    search.search(data, folder, options.trials, **how)
    while (found := search.summary(folder))["complete"] + found["pruned"] < options.trials:
        time.sleep(1)  # for those of other processes, and to make up for lost ones
        search.search(data, folder, options.trials, **how)
    best = partial(described, found["best"]["weights"], dict)
    weights = work.wait_for(options.output / "best.json", best)
    weights.pop("made_by")
    jobs = {
        name: partial(flux_run, data, weights, SEARCHED, seed, options.flux_steps)
        for name, seed in planned_searched(options).items()
    }
    work.share_out(options.output / "searched", jobs, "fluxes, searched weights")


def planned_searched(options: argparse.Namespace) -> dict[str, int]:
    steps = options.flux_steps
    return {images.run_name(SEARCHED, steps, seed): seed for seed in range(options.flux_seeds)}


def summary(options: argparse.Namespace) -> None:
    """One small file of each part of the study, and from them the tables and pictures."""
    whole, half = options.output / "images" / "whole", options.output / "images" / "half"
    real = options.output / "fluxes"
    plans: dict[str, tuple[Path, Mapping[str, Any]]] = {
        "steps": (whole, planned(options, "whole", ["steps"])),
        "time": (whole, planned(options, "whole", ["time"])),
        "half": (half, planned(options, "half")),
    }
    flux_plans: dict[str, tuple[Path, Mapping[str, Any]]] = {
        budget: (real, planned_fluxes(options, [budget])) for budget in ("steps", "time")
    }
    flux_plans["searched"] = (options.output / "searched", planned_searched(options))
    if lacking := work.missing([*plans.values(), *flux_plans.values()]):
        print(f"no summary yet: {len(lacking)} runs are not done, {lacking[0]} for one")
        return
    plans["stopped"] = (whole, stopped(options))
    folder = options.output / "kept"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"settings": work.read(options.output / "settings.json")}
    ratios = {"step_ratios": work.read(options.output / "step_ratios.json")}
    work.write(folder / "runs.json", settings | ratios | work.kept(plans), indent=None)
    seconds = {"seconds_a_step": work.read(options.output / "flux_seconds.json")}
    work.write(folder / "fluxes.json", settings | seconds | work.kept(flux_plans), indent=None)
    for part, groups in (("landscape", options.groups), ("pictures", page.PAPER)):
        by_group = parts_by_group(options.output / part, groups)
        work.write(folder / f"{part}.json", {"groups": by_group}, indent=None)
    work.write(folder / "search.json", search.summary(options.output / "search"), indent=None)
    page.build(folder, options.output / "page")
    for name in ("values_steps", "differences_steps_plain", "differences_steps_augmented"):
        print(f"\n{name}\n{(options.output / 'page' / f'{name}.md').read_text()}")
    print(f"kept results, tables and pictures in {options.output}")


def parts_by_group(folder: Path, groups: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What a stage left, in the order of the groups."""
    parts = [work.read(path) for path in sorted(folder.glob("*.json"))]
    return {group: [one for one in parts if one["group"] == group] for group in groups}


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "images": image_runs,
    "fluxes": flux_runs,
    "search": gamma_search,
    "pictures": group_pictures,
    "landscape": landscapes,
    "summary": summary,
}
SETTINGS = ("galaxies", "steps", "batch", "bins", "lr", "flux_galaxies", "flux_steps", "curvature",
            "points", "views")  # fmt: skip


def main() -> None:
    options = arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips and no news
    for news in ("The '.*_dataloader' does not", "You defined a `valid", "`isinstance.treespec"):
        warnings.filterwarnings("ignore", news)
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    settings = {name: getattr(options, name) for name in SETTINGS}
    work.same_settings(options.output / "settings.json", settings)
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
    add("--rounds", type=int, default=41, help="of the measurement of a step's time")
    add("--flux-seeds", type=int, default=20, help="of the groups that see fluxes")
    add("--flux-galaxies", type=int, help="how many (all 9,783)")
    add("--flux-steps", type=int, default=fluxes.STEPS)
    add("--trials", type=int, default=60, help="of the search for weights")
    add("--curvature", type=int, default=256, help="galaxies of the loss landscapes")
    add("--curvature-seeds", type=int, default=1, help="of the loss landscapes")
    add("--points", type=int, default=13, help="along each side of a landscape")
    add("--views", type=int, default=20, help="random views of each galaxy in the pictures")
    add("--output", type=Path, default=Path("outputs/ablation"))
    options = parser.parse_args()
    if min(options.seeds, options.half_seeds, options.flux_seeds) < 2:
        parser.error("every interval needs at least two seeds")
    if lacking := [group for group in page.PAPER if group not in options.groups]:
        parser.error(f"--groups must hold the paper's own, {', '.join(lacking)} as well")
    if options.bins % pictures.MERGED:
        parser.error(f"--bins must be a multiple of {pictures.MERGED}, got {options.bins}")
    return options


if __name__ == "__main__":
    main()

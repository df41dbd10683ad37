"""Which weights of the terms give the best density? An Optuna search on real fluxes.

    PYTHONPATH=examples python -m study.search --trials 200 --output outputs/gamma

The network and the galaxies are those of ``fluxes.py``. Nothing is chosen on the held-out galaxies:
the target is the CRPS of the validation galaxies, averaged over training seeds, the same for every
trial and not those of the study's groups. The study lies in an SQLite file: a command that was
killed goes on when it is started again, and several may work on one file, each with its ``--seed``.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from study.fluxes import BATCH, LR, STEPS, Data, prepare, steps_an_epoch, training, validation_crps
from study.trials import NAME, Target, finished, opened, work
from study.work import rounded, write

RANGES = {  # about those where a term is a thousandth of the cross entropy, and as large
    "flux": (1e-3, 10.0),
    "cde": (1e-4, 1.0),
    "crps": (1e-1, 1e3),
}
LABELS = {"flux": "flux term", "cde": "CDE loss", "crps": "CRPS"}
FIRST_SEED = 1000  # of the trainings


def search(
    data: Data,
    folder: Path,
    trials: int,
    *,
    repeats: int = 2,
    steps: int = STEPS,
    batch: int = BATCH,
    lr: float = LR,
    seed: int = 0,
) -> None:
    """Try weights until the study has so many finished trials, whoever finished them.

    ``repeats``: training seeds averaged in a trial; ``seed``: of the sampler, another for each
    process that works on the folder.
    """
    n = len(data.train.z_spec)
    options: dict[str, Any] = {"steps": steps, "batch": batch, "lr": lr}
    seeds = [FIRST_SEED + k for k in range(repeats)]
    ranges = {name: list(ends) for name, ends in RANGES.items()}
    sizes = {"galaxies": n, "bins": len(data.bins)}
    settings = options | sizes | {"training_seeds": seeds, "ranges": ranges}

    def epochs(weights: Mapping[str, float]) -> Iterator[float]:
        """Validation CRPS after each epoch, the mean over trainings side by side."""
        runs = [training(data, weights, seed=one, **options) for one in seeds]
        for step, models in enumerate(zip(*runs, strict=True), 1):
            if step == steps or step % steps_an_epoch(n, batch) == 0:
                yield statistics.fmean(validation_crps(model, data) for model in models)

    n_epochs = -(-steps // steps_an_epoch(n, batch))
    work(folder, trials, Target(RANGES, epochs, n_epochs, settings), seed)


def summary(folder: Path) -> dict[str, Any]:
    """What the search found, for JSON; all that the plots need.

    The importances, which sum to 1, are those of a functional ANOVA over the complete trials.
    ``best`` is the lowest of many noisy values: how good its weights are, only new seeds can tell.
    """
    if not (folder / f"{NAME}.db").exists():
        raise FileNotFoundError(f"there is no study in {folder}: start the search first")
    with opened(folder) as storage:
        study = optuna.load_study(study_name=NAME, storage=storage)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
        trials = [described(trial) for trial in finished(study)]
        attributes = study.user_attrs
    complete = [trial for trial in trials if not trial["pruned"]]
    return {
        "settings": attributes["settings"],
        "baseline": rounded(attributes.get("baseline")),
        "best": min(complete, key=lambda trial: trial["validation_crps"]),
        "complete": len(complete),
        "pruned": len(trials) - len(complete),
        "importances": rounded(importances),
        "trials": trials,
    }


def described(trial: FrozenTrial) -> dict[str, Any]:
    """A finished trial; the value of a pruned one is that of its last epoch."""
    return {
        "number": trial.number,
        "pruned": trial.state == TrialState.PRUNED,
        "epochs": trial.last_step,
        "weights": rounded({name: trial.params[name] for name in RANGES}),
        "validation_crps": rounded(trial.values[0]),
    }


def plot_importances(found: Mapping[str, Any], ax: Axes) -> Axes:
    """Share of the variance of the validation CRPS that each weight explains."""
    shares = dict(sorted(found["importances"].items(), key=lambda item: item[1]))
    bars = ax.barh([LABELS[name] for name in shares], list(shares.values()))
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(xlim=(0, 1.1), xlabel=f"importance (fANOVA, {found['complete']} complete trials)")
    return ax


def plot_search(found: Mapping[str, Any]) -> Figure:
    """Each weight against the validation CRPS of the complete trials; ticks: the pruned ones."""
    figure, axes = pyplot.subplots(
        1, len(RANGES), figsize=(12, 4), sharey=True, layout="constrained"
    )
    pruned = [trial for trial in found["trials"] if trial["pruned"]]
    complete = [trial for trial in found["trials"] if not trial["pruned"]]
    values = [1e3 * trial["validation_crps"] for trial in complete]
    best, baseline = found["best"], found["baseline"]
    numbers = [trial["number"] for trial in complete]
    for name, ax in zip(RANGES, axes, strict=True):
        weights = [trial["weights"][name] for trial in complete]
        dots = ax.scatter(weights, values, c=numbers, s=18)
        star = best["weights"][name], 1e3 * best["validation_crps"]
        ax.scatter(*star, s=160, color="tab:red", marker="*", label="best")
        if baseline is not None:
            ax.axhline(1e3 * baseline, color="black", ls="--", lw=1, label="cross entropy alone")
        ticks, foot = [trial["weights"][name] for trial in pruned], ax.get_xaxis_transform()
        ax.plot(ticks, [0.02] * len(ticks), "|", color="grey", transform=foot, label="pruned")
        ax.set(xscale="log", xlim=RANGES[name], xlabel=f"weight of the {LABELS[name]}")
    axes[0].set_ylabel("validation CRPS ($10^{-3}$ in redshift)")
    axes[0].margins(y=0.1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.colorbar(dots, ax=axes, label="trial", ticks=MaxNLocator(integer=True))
    return figure


def main() -> None:
    options = arguments()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    how = {name: getattr(options, name) for name in ("repeats", "steps", "batch", "lr", "seed")}
    search(prepare(options.galaxies), options.output, options.trials, **how)
    found = summary(options.output)
    write(options.output / "summary.json", found)
    plot_search(found).savefig(options.output / "gamma_search.png", dpi=120)
    figure, ax = pyplot.subplots(figsize=(6, 2.5), layout="constrained")
    plot_importances(found, ax)
    figure.savefig(options.output / "gamma_importances.png", dpi=120)
    print(
        f"best of {found['complete']} complete trials ({found['pruned']} pruned): {found['best']}"
    )
    print(f"cross entropy alone: {found['baseline']}\nresults and pictures in {options.output}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--trials", type=int, default=200, help="finished trials of the study as a whole")
    add("--repeats", type=int, default=2, help="training seeds averaged in a trial")
    add("--galaxies", type=int, help="how many (all 9,783)")
    add("--steps", type=int, default=STEPS)
    add("--batch", type=int, default=BATCH)
    add("--lr", type=float, default=LR)
    add("--seed", type=int, default=0, help="of the sampler: another for each process")
    add("--output", type=Path, default=Path("outputs/gamma"))
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What the page about the study shows: tables and pictures, from the kept JSON files alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import save_pit
from matplotlib import pyplot
from matplotlib.figure import Figure

from photoz_losses import RedshiftBins
from photoz_losses.plots import plot_redshifts
from study import compare, landscape, pictures, search, work
from study.compare import METRICS, Run

SHIFTS = {
    "as trained": "as trained",
    "seeing": "seeing × 1.3",
    "noise": "noise × 2",
    "faint": "faintest quarter",
}
HALF = "half the training set"
PAPER = ("cross entropy", "augmentation", "all")  # the paper's three groups
REFERENCES = {"plain": "cross entropy", "augmented": "augmentation", "turned": "turns alone"}


def build(results: Path, target: Path) -> None:
    """Write every table as Markdown and every picture as PNG."""
    target.mkdir(parents=True, exist_ok=True)
    runs, fluxes = (work.read(results / f"{name}.json")["runs"] for name in ("runs", "fluxes"))
    fluxes["steps"] += fluxes.pop("searched")
    for name, table in (image_tables(runs) | flux_tables(fluxes)).items():
        (target / f"{name}.md").write_text(markdown(table))
    measured = work.read(results / "landscape.json")["groups"]
    (target / "eigenvalues.md").write_text(markdown(eigenvalue_table(measured)))
    first = {group: seeds[0] for group, seeds in measured.items()}
    found = work.read(results / "search.json")
    drawings: dict[str, Callable[[], Figure]] = {
        "differences": partial(
            forest,
            {"equal steps": runs["steps"], "equal time, stopped by validation": runs["stopped"]},
            "cross entropy",
        ),
        "shifts": partial(shifts, runs),
        "flux_differences": partial(
            forest, {"equal steps": fluxes["steps"], "equal time": fluxes["time"]}, "cross entropy"
        ),
        "landscape": partial(landscape.plot_landscape, first),
        "gamma_search": partial(search.plot_search, found),
        "gamma_importances": partial(importances, found),
    }
    for name, draw in drawings.items():
        figure = draw()
        figure.savefig(target / f"{name}.png", dpi=120)
        pyplot.close(figure)
    appendices(work.read(results / "pictures.json"), target)


def image_tables(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[list[str]]]:
    """Values and differences of the groups that see images, by the name of their file."""
    tables = {}
    for budget in ("steps", "time", "stopped"):
        tables[f"values_{budget}"] = compare.value_table(runs[budget], "as trained")
        for name, reference in REFERENCES.items():
            if any(run["group"] == reference for run in runs[budget]):
                differences = compare.against(runs[budget], reference)
                table = compare.difference_table(differences, reference)
                tables[f"differences_{budget}_{name}"] = table
    tables["eight_views"] = compare.value_table(runs["steps"], "eight views")
    for name, test in (("trained", "as trained"), ("averaged", "eight views")):
        control = compare.against(runs["steps"], "cross entropy", test, "eight views")
        itself = "cross entropy" if test == "eight views" else None
        tables[f"differences_{name}_control"] = compare.difference_table(control, itself)
    shifted = {test: compare.value_table(runs["steps"], test, ["crps"]) for test in SHIFTS}
    shifted[HALF] = compare.value_table(runs["half"], "as trained", ["crps"])
    tables["shifted"] = beside({SHIFTS.get(test, test): table for test, table in shifted.items()})
    tables["shifted_differences"] = beside(
        {
            title: compare.difference_table(
                compare.against(chosen, "augmentation", test, metrics=["crps"]), "augmentation"
            )
            for title, chosen, test in [
                *((title, runs["steps"], test) for test, title in SHIFTS.items()),
                (HALF, runs["half"], "as trained"),
            ]
        }
    )
    return tables


def flux_tables(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[list[str]]]:
    """The same of those that see fluxes: they have one test set, and no views."""
    metrics = [metric for metric in METRICS if metric != "distance"]
    tables = {}
    for budget in ("steps", "time"):
        tables[f"flux_values_{budget}"] = compare.value_table(runs[budget], "as trained", metrics)
        differences = compare.against(runs[budget], "cross entropy", metrics=metrics)
        table = compare.difference_table(differences, "cross entropy")
        tables[f"flux_differences_{budget}"] = table
    return tables


def beside(tables: Mapping[str, Sequence[Sequence[str]]]) -> list[list[str]]:
    """Tables of one metric as the columns of one."""
    first = next(iter(tables.values()))
    rows = [["", *tables]]
    for k, (group, *_) in enumerate(first[1:], 1):
        rows.append([group, *(table[k][1] for table in tables.values())])
    return rows


def eigenvalue_table(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """Both Hessians' largest eigenvalues, seed by seed, and how far the loss rises in the plane."""
    rows = [["", "cross entropy: λ₁", "λ₅", "its own objective: λ₁", "λ₅", "rise at a half"]]
    for group, seeds in groups.items():
        cells = [group]
        for loss in landscape.LOSSES:
            values = [one["eigenvalues"][loss] for one in seeds]
            cells += [compare.spread([value[place] for value in values]) for place in (0, -1)]
        planes = [np.array(one["surfaces"][landscape.CROSS_ENTROPY]) for one in seeds]
        cells.append(compare.spread([rise(plane) for plane in planes]))
        rows.append(cells)
    return rows


def rise(surface: Any) -> float:
    """Mean of the four points half way to the corners, less the middle."""
    middle = len(surface) // 2
    ends = [middle - middle // 2, middle + middle // 2]
    return float(surface[np.ix_(ends, ends)].mean() - surface[middle, middle])


def markdown(table: Sequence[Sequence[str]]) -> str:
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def forest(studies: Mapping[str, Sequence[Run]], reference: str) -> Figure:
    """Every group's difference to the reference: thick the bootstrap's interval, thin Student's."""
    first = next(iter(studies.values()))
    known = [metric for metric in METRICS if metric in first[0]["results"]["as trained"]]
    groups = [g for g in dict.fromkeys(run["group"] for run in first) if g != reference]
    columns = -(-len(known) // 2)
    figure, axes = pyplot.subplots(
        2, columns, figsize=(3 * columns + 1.6, 2.2 + 0.62 * len(groups)), sharey=True,
        layout="constrained",
    )  # fmt: skip
    for k, (title, runs) in enumerate(studies.items()):
        differences = compare.against(runs, reference, metrics=known)
        shift = 0.16 * (2 * k - len(studies) + 1)
        for metric, ax in zip(known, axes.flat, strict=False):
            factor = METRICS[metric][1]
            for y, group in enumerate(groups):
                if group not in differences:
                    continue
                mean, low, high, t_low, t_high = (factor * v for v in differences[group][metric])
                ax.plot([t_low, t_high], [y + shift] * 2, color=f"C{k}", lw=1)
                ax.plot([low, high], [y + shift] * 2, color=f"C{k}", lw=3.5)
                ax.plot(mean, y + shift, "o", color=f"C{k}", label="" if y else title, ms=5)
    for metric, ax in zip(known, axes.flat, strict=False):
        ax.axvline(0, color="0.4", lw=1, zorder=0)
        heading = compare.SIZED.get(metric, METRICS[metric][0])
        ax.set(xlabel=heading, yticks=range(len(groups)), yticklabels=groups)
    for ax in axes.flat[len(known) :]:
        ax.set_axis_off()
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.supxlabel(f"difference from {reference}, with 95 % intervals over the seeds")
    return figure


def shifts(runs: Mapping[str, Sequence[Run]]) -> Figure:
    """Four metrics of every group on every test set: mean and deviation of the seeds."""
    shown = ("mad", "crps", "bias", "pit_ks")
    groups = list(dict.fromkeys(run["group"] for run in runs["steps"]))
    places = [*((runs["steps"], test) for test in SHIFTS), (runs["half"], "as trained")]
    titles = [*SHIFTS.values(), HALF]
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7.5), sharex=True, layout="constrained")
    for metric, ax in zip(shown, axes.flat, strict=True):
        for k, group in enumerate(groups):
            values = [
                METRICS[metric][1] * np.array(compare.sizes(chosen, group, test, metric))
                for chosen, test in places
            ]
            means, spreads = ([f(one) for one in values] for f in (np.mean, deviation))
            x = np.arange(len(places)) + 0.09 * (k - (len(groups) - 1) / 2)
            style = {"fmt": "osD^v<>p"[k % 8], "ms": 4, "lw": 1}
            ax.errorbar(x, means, spreads, label=group, **style)
        ax.set(ylabel=METRICS[metric][0], xticks=range(len(places)))
        ax.set_xticklabels([title.replace(" the ", " the\n") for title in titles])
        ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    axes[1, 0].set_ylabel("|bias|, 10⁻³")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def deviation(values: Any) -> float:
    return float(np.std(values, ddof=1))


def importances(found: Mapping[str, Any]) -> Figure:
    figure, ax = pyplot.subplots(figsize=(6, 2.5), layout="constrained")
    search.plot_importances(found, ax)
    return figure


def appendices(kept: Mapping[str, Any], target: Path) -> None:
    """The paper's figures of appendices C to E, the groups that were kept side by side."""
    groups = {name: pictures.restored(kept["groups"][name][0]) for name in PAPER}
    save_pit(target / "pit.png", {name: group["pit"] for name, group in groups.items()})
    figure, axes = pyplot.subplots(
        1, len(groups), figsize=(5 * len(groups), 4.8), sharex=True, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for ax, (name, group) in zip(axes, groups.items(), strict=True):
        columns = (group[key] for key in ("z_phot", "z_spec"))
        ends = {key: group[key] for key in ("low", "high")}
        plot_redshifts(*columns, **ends, threshold=pictures.OUTLIER, ax=ax).set_title(name)
    figure.savefig(target / "redshifts.png", dpi=120)
    pyplot.close(figure)
    for name, group in groups.items():
        path = target / f"densities_{name.replace(' ', '_').replace(',', '')}.png"
        bins = RedshiftBins.uniform(0.0, 0.4, group["views"].shape[-1])
        pictures.draw_gallery(path, name, group, bins)

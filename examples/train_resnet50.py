"""Train the paper's ResNet50 with and without its physical constraints, and compare.

    python examples/train_resnet50.py

Three groups, as table 2 of Engel & Strube (2023): cross entropy alone; the same with rotated
images and redrawn backgrounds; cross entropy with all constraints. Fluxes, redshifts and
extinctions are those of real SDSS galaxies; the images are rendered with these fluxes
(``galaxies.py``, ``rendering.py``). Defaults are cut to minutes on two cores; ``--preset paper``
has the paper's own sizes. Any value of ``configs/*.yaml`` is an option: ``--lr 1e-4``.
"""

import argparse
import difflib
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch
import yaml
from config import GROUPS, Config, group_config, plain
from evaluation import (
    Row,
    colour,
    constant_prediction,
    evaluate,
    save_gallery,
    save_pit,
    save_redshifts,
    save_results,
    table,
)
from loading import Items, prepare
from torch.utils.data import default_collate
from training import PhotozModule, fit, predict

from photoz_losses import RedshiftBins


@torch.no_grad()
def show(module: PhotozModule, name: str, test: Items, bins: RedshiftBins, output: Path) -> Row:
    """Metrics on held-out galaxies, and the three pictures."""
    probs, z_spec = predict(module, test, module.config.workers)
    row, pit = evaluate(probs, z_spec, bins)
    save_pit(output / f"{name}_pit.png", {name: pit})
    save_redshifts(output / f"{name}_redshifts.png", bins.mean(probs), z_spec, name)
    some = default_collate([test[k] for k in range(min(12, len(test)))])
    torch.manual_seed(module.config.seed)
    views = [module.masses(module.view(some["image"]), some["ebv"]) for _ in range(20)]
    save_gallery(
        output / f"{name}_densities.png",
        [colour(image) for image in some["image"]],
        torch.stack(views, 1),
        some["z_spec"],
        bins,
        f"{name}: 20 random views of each galaxy",
    )
    return row


def main() -> None:
    options, given = arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips and no news
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec")  # Lightning's own code
    start = time.perf_counter()
    names = GROUPS if options.group == "all" else [options.group]
    configs = {Path(name).stem: group_config(name, options.preset, **given) for name in names}
    options.output.mkdir(parents=True, exist_ok=True)
    first = next(iter(configs.values()))
    bins = RedshiftBins.uniform(0.0, first.z_max, first.bins)
    flux = max(config.gamma_flux for config in configs.values())
    data = prepare(replace(first, gamma_flux=flux), bins)

    guess = constant_prediction(data.train.z_spec, len(data.test), bins)
    rows: dict[str, Row] = {"constant": evaluate(guess, data.test.z_spec, bins)[0]}
    for name, config in configs.items():
        folder = options.output / name
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain(config), sort_keys=False))
        began = time.perf_counter()
        module = fit(
            config, data.train, data.validation, bins, folder=folder, resume=options.resume
        )
        times = {
            "training_seconds": time.perf_counter() - began,
            "seconds_a_step": torch.tensor(module.seconds).median().item(),
        }
        if module.global_rank == 0:
            rows[name] = show(module, name, data.test, bins, options.output) | times
            settings = {name: plain(config) for name, config in configs.items()}
            save_results(options.output, rows, settings)
    if module.global_rank == 0:
        print(
            f"\n{len(data.train)} galaxies to train on, {first.epochs} epochs in batches of "
            f"{first.batch}; {len(data.test)} held out\n{table(rows)}\n"
            f"results and pictures in {options.output}, {time.perf_counter() - start:.0f} s in all"
        )


def arguments(given: Sequence[str] | None = None) -> tuple[argparse.Namespace, dict[str, str]]:
    """The command's own options, and those of the configuration that were given."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--preset", choices=["minutes", "paper"], default="minutes", help="paper: as table 2")
    add("--group", default="all", help=f"all, {', '.join(GROUPS)}, or a YAML file like theirs")
    add("--resume", action="store_true", help="go on from the checkpoints in --output")
    add("--output", type=Path, default=Path("outputs/train_resnet50"))
    configured = parser.add_argument_group("values of configs/*.yaml")
    for field in fields(Config):
        configured.add_argument(
            f"--{field.name.replace('_', '-')}", default=argparse.SUPPRESS, metavar="VALUE"
        )
    options, unknown = parser.parse_known_args(given)
    if unknown:
        known = [f"--{field.name.replace('_', '-')}" for field in fields(Config)]
        close = difflib.get_close_matches(unknown[0], known, 1)
        parser.error(f"unknown {unknown[0]}" + "".join(f": did you mean {name}?" for name in close))
    overrides = {f.name: getattr(options, f.name) for f in fields(Config) if f.name in options}
    return options, overrides


if __name__ == "__main__":
    main()

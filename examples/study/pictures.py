"""The paper's figures of appendices C to E for any group, and what they are redrawn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from evaluation import colour, save_gallery, save_pit, save_redshifts

from photoz_losses import RedshiftBins
from photoz_losses.metrics import pit
from study import work
from study.images import VIEW, Stamps

COLUMNS = ("z_spec", "z_phot", "low", "high", "pit")
MERGED = 3  # bins into one, in what is kept
Shown = Mapping[str, Any]
OUTLIER = 0.05  # the paper's text; beyond the 0.15 of its figures lies none of these galaxies


@torch.no_grad()
def shown(module: Any, test: Stamps, bins: RedshiftBins, galaxies: int, views: int) -> Shown:
    """What the pictures of one group show.

    Point estimates, intervals from 5 % to 95 % and PIT of all galaxies [N]; of the first few their
    colours [G, H, W, 3] and their masses under random views [G, V, C].
    """
    image, ebv, z_spec = (test.columns[name] for name in ("image", "ebv", "z_spec"))
    probs = module.masses(image, ebv)
    some, dust = image[:galaxies], ebv[:galaxies]
    torch.manual_seed(0)  # the same views for every group
    under_views = [module.masses(VIEW(some), dust) for _ in range(views)]
    ends = {name: bins.quantile(probs, q) for name, q in (("low", 0.05), ("high", 0.95))}
    return {
        "z_spec": z_spec,
        "z_phot": bins.mean(probs),
        **ends,
        "pit": pit(probs, z_spec, bins),
        "pictures": [colour(one) for one in some],
        "views": torch.stack(under_views, 1),
    }


def draw(folder: Path, name: str, title: str, group: Shown, bins: RedshiftBins) -> None:
    """Four pictures: figures 1 to 3, 4 to 6, 7 to 9 and 10 to 12 of the paper."""
    folder.mkdir(parents=True, exist_ok=True)
    save_pit(folder / f"{name}_pit.png", {title: group["pit"]})
    pair = group["z_phot"], group["z_spec"], title
    save_redshifts(folder / f"{name}_redshifts.png", *pair, threshold=OUTLIER)
    ends = {"low": group["low"], "high": group["high"]}
    save_redshifts(folder / f"{name}_intervals.png", *pair, threshold=OUTLIER, **ends)
    draw_gallery(folder / f"{name}_densities.png", title, group, bins)


def draw_gallery(path: Path, title: str, group: Shown, bins: RedshiftBins) -> None:
    """Figures 10 to 12."""
    z_spec = group["z_spec"][: len(group["pictures"])]
    text = f"{title}: {group['views'].shape[1]} random views of each galaxy"
    save_gallery(path, group["pictures"], group["views"], z_spec, bins, text)


def thinned(group: Shown, galaxies: int = 6, views: int = 10) -> dict[str, Any]:
    """A part that is small enough to be kept: fewer galaxies and views, bins merged by threes."""
    masses = group["views"][:galaxies, :views].unflatten(-1, (-1, MERGED)).sum(-1)
    columns = {name: group[name].tolist() for name in COLUMNS}
    pictures = [(255 * one).round().astype(int).tolist() for one in group["pictures"][:galaxies]]
    numbers: dict[str, Any] = work.rounded(columns | {"views": masses.tolist()}, 4)
    return numbers | {"pictures": pictures}


def restored(kept: Mapping[str, Any]) -> Shown:
    """What `draw` takes, of what `thinned` kept."""
    columns = {name: torch.tensor(kept[name]) for name in COLUMNS}
    masses = torch.tensor(kept["views"])
    pictures = [torch.tensor(one, dtype=torch.float32).numpy() / 255 for one in kept["pictures"]]
    views = masses / masses.sum(-1, keepdim=True)  # of rounded masses
    return {**columns, "pictures": pictures, "views": views}

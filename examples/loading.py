"""From readers to batches: flux residuals beside the images, and an order that can be resumed."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from config import Config
from readers import Cutouts, Hayat, Pasquet, Reader, Rendered, sdss_id, split_rows
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, FluxTable, SyntheticPhotometry

Item = dict[str, Any]


class Items(Dataset[Item]):
    """Some galaxies of a reader as mappings, with the flux residuals of those that have a spectrum.

    A galaxy that the table does not know gets band weights of zero: it has no flux term.
    """

    def __init__(self, reader: Reader, rows: Tensor, table: FluxTable | None = None) -> None:
        self.reader, self.rows, self.table = reader, rows, table
        self.z_spec = reader.z_spec[rows]
        if table is not None:
            place = {sdss_id(name): k for k, name in enumerate(table.object_ids.tolist())}
            found = [place.get(sdss_id(reader.ids[row]), -1) for row in rows.tolist()]
            self.spectrum = torch.tensor(found)
            if max(found) < 0:
                raise ValueError(
                    f"none of {len(rows)} galaxies is in the table of flux residuals: theirs are "
                    f"{reader.ids[rows[0]]!r}, the table's {table.object_ids[0]!r}"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        item: Item = self.reader[int(self.rows[index])]._asdict()
        if self.table is not None:
            k = int(self.spectrum[index])
            residual, band_weight = self.table[max(k, 0)]
            item |= {"residual": residual, "band_weight": band_weight * (k >= 0)}
        return item


class Batches(Sampler[list[int]]):
    """Rows of each batch: every galaxy once an epoch, in an order of (seed, epoch).

    A batch is dealt out to ``world`` processes and in ``splits`` parts, all of one size; what a
    last, short batch has too many is left out, and all of it if parts would hold fewer than two
    (BatchNorm). ``seen`` tells how many parts were trained on before, in all: each new iteration
    starts there, in the middle of an epoch after a resume.
    """

    def __init__(
        self,
        n: int,
        batch: int,
        seed: int,
        *,
        splits: int = 1,
        rank: int = 0,
        world: int = 1,
        seen: Callable[[], int] = lambda: 0,
    ) -> None:
        self.n, self.batch, self.seed = n, batch, seed
        self.splits, self.rank, self.world, self.seen = splits, rank, world, seen
        whole, rest = divmod(n, batch)
        self.steps = whole + (rest >= 2 * splits * world)
        if not self.steps:
            raise ValueError(f"{n} galaxies make no batch of {splits * world} parts: take more")

    def __len__(self) -> int:
        return self.steps * self.splits

    def __iter__(self) -> Iterator[list[int]]:
        epoch, start = divmod(self.seen(), len(self))
        (state,) = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(int(state >> 1)))
        for number in range(start, len(self)):
            step, split = divmod(number, self.splits)
            rows = order[step * self.batch : (step + 1) * self.batch]
            size = len(rows) // (self.splits * self.world)
            first = (split * self.world + self.rank) * size
            yield rows[first : first + size].tolist()


class Resumable(DataLoader[Any]):
    """Tells Lightning that it can be resumed: its `Batches` know where, from the module."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        pass


def loader(items: Dataset[Any], batches: Batches, workers: int) -> Resumable:
    return Resumable(
        items,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def in_order(
    items: Dataset[Any], batch: int, workers: int = 0, *, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Every galaxy once, on one of the ranks, in equally many batches on each."""
    n = size(items)
    parts = np.array_split(np.arange(n)[rank::world], -(-n // (batch * world)))
    return DataLoader(items, batch_sampler=[p.tolist() for p in parts], num_workers=workers)


def size(items: Any) -> int:
    """Of a map-style dataset, whose base class has no length for mypy."""
    return len(items)


class Data(NamedTuple):
    """Disjoint galaxies of one reader."""

    train: Items
    validation: Items
    test: Items


def prepare(config: Config, bins: RedshiftBins, cache: str | Path | None = None) -> Data:
    """The configured data, split; flux residuals for training if the loss has a flux term.

    Galaxies beyond the bins are left out. ``galaxies`` and the split are drawn by ``split_seed``.
    """
    reader = open_reader(config, cache)
    order = torch.randperm(len(reader), generator=torch.Generator().manual_seed(config.split_seed))
    z = reader.z_spec[order]
    order = order[(z >= bins.edges[0]) & (z <= bins.edges[-1])]
    if len(order) < len(reader):
        print(f"{len(reader) - len(order)} of {len(reader)} galaxies lie beyond the bins")
    train, validation, test = split_rows(order[: config.galaxies], config.test, config.validation)
    table = flux_table(reader, train, config, bins) if config.gamma_flux else None
    return Data(Items(reader, train, table), Items(reader, validation), Items(reader, test))


def open_reader(config: Config, cache: str | Path | None = None) -> Reader:
    if config.data == "rendered":
        return Rendered(config.galaxies, seed=config.split_seed, cache=cache)
    if config.path is None:
        raise ValueError(f"data={config.data} needs path, where its file or folder is")
    if config.data == "pasquet":
        return Pasquet(config.path)
    kind = Hayat if config.data == "hayat" else Cutouts
    return kind(config.path, config.side + 2 * config.jitter)


def flux_table(reader: Reader, rows: Tensor, config: Config, bins: RedshiftBins) -> FluxTable:
    """Flux residuals of the data's table, or of the rendered galaxies' own spectra."""
    if config.spectra is not None:
        return FluxTable.load(config.spectra, bins=bins)
    if not isinstance(reader, Rendered):
        raise ValueError("gamma_flux needs spectra, the path of a FluxTable: docs/training.md")
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), reader.wavelength)
    return FluxTable.build(
        (reader.spectra(part) for part in rows.split(64)),
        bins,
        photometry,
        object_ids=[reader.ids[row] for row in rows.tolist()],
        dtype=torch.float32,
    )

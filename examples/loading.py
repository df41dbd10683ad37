"""From readers to batches: flux residuals beside the images, and an order that can be resumed."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from config import Config
from readers.galaxy import Reader, split_rows
from readers.rendered import Rendered
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
            place = {name: k for k, name in enumerate(table.object_ids.tolist())}
            self.spectrum = torch.tensor([place.get(reader.ids[row], -1) for row in rows.tolist()])

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
    items: Dataset[Any], size: int, workers: int = 0, *, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Every galaxy once, on one of the ranks, in equally many batches on each."""
    rows = np.arange(len(items))[rank::world]  # type: ignore[arg-type]
    parts = np.array_split(rows, -(-len(items) // (size * world)))  # type: ignore[arg-type]
    return DataLoader(items, batch_sampler=[p.tolist() for p in parts], num_workers=workers)


class Data(NamedTuple):
    """Disjoint galaxies of one reader."""

    train: Items
    validation: Items
    test: Items


def prepare(config: Config, bins: RedshiftBins, cache: str | Path | None = None) -> Data:
    """The configured data, split; flux residuals for training if the loss has a flux term."""
    reader = Rendered(config.galaxies, seed=config.split_seed, cache=cache)
    train, validation, test = split_rows(
        len(reader), config.test, config.validation, config.split_seed
    )
    table = rendered_table(reader, train, bins) if config.gamma_flux else None
    return Data(Items(reader, train, table), Items(reader, validation), Items(reader, test))


def rendered_table(reader: Rendered, rows: Tensor, bins: RedshiftBins) -> FluxTable:
    """Flux residuals of the rendered galaxies' own spectra: once, before any training."""
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), reader.wavelength)
    return FluxTable.build(
        (reader.spectra(part) for part in rows.split(64)),
        bins,
        photometry,
        object_ids=[reader.ids[row] for row in rows.tolist()],
        dtype=torch.float32,
    )

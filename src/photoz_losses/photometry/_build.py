"""The work of a table: one chunk after another, in this process or on a Dask cluster."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses.bins import RedshiftBins
from photoz_losses.photometry._header import differences
from photoz_losses.photometry._ids import ID_BYTES
from photoz_losses.photometry._layout import schema
from photoz_losses.photometry._lock import alone, clear
from photoz_losses.photometry._mapped import MappedColumn
from photoz_losses.photometry._pieces import Piece, refuse_outside
from photoz_losses.photometry._store import Store, fresh
from photoz_losses.photometry.residual import relative_variance, residual_of
from photoz_losses.photometry.synthetic import SyntheticPhotometry

Chunk = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Work:
    """Makes the part of a table that belongs to a piece, and writes it if there is a store."""

    photometry: SyntheticPhotometry
    bins: RedshiftBins
    options: Mapping[str, Any]
    dtype: torch.dtype
    store: Store | None

    def __call__(self, piece: Piece) -> Chunk | None:
        """The chunk, or None where it has been written."""
        data = self.compute(piece)
        if self.store is None:
            return data
        self.store.write(piece.number, data, piece.digest)
        return None

    def compute(self, piece: Piece) -> Chunk:
        """What the table keeps of these galaxies."""
        spectra = piece.spectra(self.photometry.wavelength)
        refuse_outside(self.bins, spectra.z, piece.ids)
        device = self.photometry.wavelength.device
        spectra, bins = spectra.to(device), RedshiftBins(self.bins.edges).to(device)
        flux, z, valid = spectra.flux, spectra.z.detach(), spectra.valid
        options = dict(self.options)
        min_snr = options.pop("min_snr")
        kept = {}
        options |= {"min_snr": 0.0, "ivar": None}
        if min_snr is not None:
            options |= {"min_snr": min_snr, "ivar": spectra.ivar}
            variance = relative_variance(self.photometry, flux, spectra.ivar, valid=valid)
            kept["variance"] = variance.float().cpu().numpy()
        with torch.no_grad():
            residual, band_weight, _ = residual_of(
                self.photometry, flux, z, bins, valid=valid, **options
            )
        unknown = residual.isnan().flatten(1).any(1).nonzero().flatten().tolist()
        if unknown:
            raise ValueError(
                f"object {piece.ids[unknown[0]]} has a residual that is NaN (it overflowed): "
                f"scale its flux down, or leave it out"
            )
        largest = torch.finfo(self.dtype).max
        names = [name.encode().ljust(ID_BYTES, b"\0") for name in piece.ids]
        return {
            "residual": residual.clamp(-largest, largest).to(self.dtype).cpu().numpy(),
            "band_weight": band_weight.float().cpu().numpy(),
            "z_spec": z.double().cpu().numpy(),
            "clamped": (residual.abs() > largest).sum((1, 2)).int().cpu().numpy(),
            "object_id": np.frombuffer(b"".join(names), np.uint8).reshape(-1, ID_BYTES),
            **kept,
        }


@contextmanager
def begun(path: Path, header: dict[str, Any], galaxies: int | None) -> Iterator[Store]:
    """The store to write into: a new one, or the one that was begun at `path` for the same table.

    No other process writes into it meanwhile. A finished one that is damaged is taken up again.

    Raises
    ------
    ValueError
        If what lies at `path` is another table; names every difference.
    BlockingIOError
        If another process is building it.
    """
    if path.exists():
        store = _compared(path, header, galaxies)
        if store.header["complete"] and store.is_sound():
            clear(path)
            yield store  # only read: by any number at once, from a folder that may be read-only
            return
    with alone(path) as held:
        if not path.exists():
            with fresh(path, alone=held) as beside:
                Store.create(beside, header)
        store = _compared(path, header, galaxies)
        yield store.reopen() if store.header["complete"] and not store.is_sound() else store


def _compared(path: Path, header: dict[str, Any], galaxies: int | None) -> Store:
    store = Store.open(path)
    found = differences(store.header, header)
    stated = store.header.get("galaxies", galaxies)  # by one that is, or once was, finished
    if galaxies not in (None, stated):
        found.append(f"galaxies: {stated} in the table, {galaxies} given")
    if found:
        raise ValueError(
            f"{path} was begun as another table: {'; '.join(found)}. Give another path, or delete "
            f"that one"
        )
    return store


def fill(
    work: Work,
    pieces: Iterator[Piece],
    header: dict[str, Any],
    galaxies: int | None,
    client: Any,
    progress: bool,
) -> tuple[dict[str, Any], Mapping[str, Tensor | MappedColumn], Tensor]:
    """Do what is not yet done: header, columns and fingerprints of the finished table.

    `galaxies`, their number if it is known beforehand, is for the progress bar.

    Raises
    ------
    ValueError
        If the galaxies are others than those of a chunk that is done, or not as many as the store
        says that it has; before any of them is written.
    """
    kept: dict[int, tuple[Chunk, bytes]] = {}
    total = 0
    with _bar(galaxies, progress) as bar:

        def waiting() -> Iterator[Piece]:
            nonlocal total
            for piece in pieces:
                total += len(piece)
                if work.store is not None and _is_done(work.store, piece):
                    bar.update(len(piece))
                else:
                    yield piece

        run = _here(work, waiting()) if client is None else _on_cluster(work, waiting(), client)
        for piece, chunk in run:
            bar.update(len(piece))
            if chunk is not None:
                kept[piece.number] = chunk, piece.digest
    if work.store is not None:
        store = work.store.finish(total)
        return store.header, store.columns(), store.digests()
    chunks = [kept[number] for number in sorted(kept)]
    columns = {
        name: torch.from_numpy(np.concatenate([chunk[name] for chunk, _ in chunks]))
        for name in schema(header)
    }
    clamped = int(columns["clamped"].sum())
    digests = torch.tensor([list(digest) for _, digest in chunks], dtype=torch.uint8)
    end = {"complete": True, "galaxies": total, "clamped": clamped}
    return header | end, columns, digests


def _here(work: Work, pieces: Iterator[Piece]) -> Iterator[tuple[Piece, Chunk | None]]:
    for piece in pieces:
        yield piece, work(piece)


def _on_cluster(
    work: Work, pieces: Iterator[Piece], client: Any
) -> Iterator[tuple[Piece, Chunk | None]]:
    """The same calls on the workers of a Dask client, in the order in which they end."""
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise ImportError(
            "client= needs dask and distributed: pip install 'photoz-losses[scale]'"
        ) from error
    if not isinstance(client, Client):
        raise TypeError(
            f"client must be a distributed.Client, got {type(client).__name__}: Client(cluster)"
        )
    # without a hash: a build that follows a failed one would find the same key as it is released
    everywhere = client.scatter(work, broadcast=True, hash=False)
    running: dict[Any, tuple[Piece, Any]] = {}
    ended = as_completed()

    def submit(some: Iterator[Piece]) -> None:
        for piece in some:
            data = client.scatter(piece, hash=False)
            future = client.submit(_call, everywhere, data, pure=False)
            running[future] = piece, data
            ended.add(future)

    try:
        # no more under way than keep the workers busy, so that memory does not grow with N
        submit(islice(pieces, 2 * max(1, sum(client.nthreads().values()))))
        for future in ended:
            chunk = future.result()
            piece, _ = running.pop(future)
            submit(islice(pieces, 1))
            yield piece, chunk
    finally:
        client.cancel(list(running))


def _call(work: Work, piece: Piece) -> Chunk | None:
    return work(piece)


def _is_done(store: Store, piece: Piece) -> bool:
    """Whether the chunk is done and undamaged; ValueError where it is that of other galaxies."""
    first = piece.number * store.header["chunk"]
    store.check_count(first + len(piece), are_all=len(piece) < store.header["chunk"])
    found = store.digest(piece.number)
    if found not in (None, piece.digest):
        raise ValueError(
            f"galaxies {first} to {first + len(piece) - 1}, from {piece.ids[0]} on: ids, redshifts "
            f"or spectra are not those that {store.path} was begun with: give the same in the same "
            f"order (and seed what is random), or build another table"
        )
    return found is not None and (store.header["complete"] or store.is_whole(piece.number))


class _NoBar:
    def update(self, galaxies: int) -> None:
        """Show nothing."""


def _bar(galaxies: int | None, progress: bool) -> Any:
    """A progress bar that counts galaxies, where one is wanted and tqdm is there."""
    if progress:
        with suppress(ImportError):
            from tqdm import tqdm

            return tqdm(total=galaxies, unit=" galaxies", desc="FluxTable")
    return nullcontext(_NoBar())

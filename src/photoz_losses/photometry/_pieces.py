"""Galaxies from memory, from a stream or from files, cut into the chunks of a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain, count, islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.photometry._ids import different, name_of, names_of
from photoz_losses.photometry.spectra import Spectra, read_sdss_spectra
from photoz_losses.photometry.synthetic import SyntheticPhotometry

PATTERN = "spec-*.fits"


@dataclass(frozen=True)
class Piece:
    """The galaxies of one chunk: what makes their part of the table, and its fingerprint."""

    number: int
    ids: list[str]
    source: Spectra | list[Path]
    z: Tensor | None  # of files, where it is not to be read from them
    digest: bytes

    def __len__(self) -> int:
        return len(self.ids)

    def spectra(self, wavelength: Tensor) -> Spectra:
        """The spectra, read now if they are files."""
        if isinstance(self.source, Spectra):
            return self.source
        spectra = read_sdss_spectra(self.source, wavelength=wavelength)
        return spectra if self.z is None else replace(spectra, z=self.z)


def cut(
    source: Any,
    bins: RedshiftBins,
    photometry: SyntheticPhotometry,
    chunk: int,
    z_spec: Mapping[str, float] | None,
    object_ids: Iterable[str | int] | None,
) -> tuple[int | None, Iterator[Piece]]:
    """Number of galaxies, where it is known beforehand, and their pieces, each made in its turn."""
    source, first = _open(source)
    if isinstance(first, str | PathLike):
        if object_ids is not None:
            raise ValueError("object_ids go with Spectra: files are known by their names")
        files = list(map(_path, source))
        ids = list(different(map(name_of, (path.name for path in files)), "names of files"))
        return len(files), _pieces_of_files(files, ids, _redshifts(ids, z_spec, bins), chunk)
    if z_spec is not None:
        raise ValueError("z_spec goes with files: Spectra carry their redshifts, as z")
    names = None if object_ids is None else names_of(object_ids)
    known = None
    if isinstance(source, list | tuple):  # all there: what is wrong is said before any work
        parts = [part for part in source if isinstance(part, Spectra)]
        known = sum(map(len, parts))
        if isinstance(names, list) and len(names) != known:
            raise ValueError(f"object_ids must be {known}, one a galaxy; got {len(names)}")
        z = torch.cat([part.z.double().cpu() for part in parts])
        refuse_outside(bins, z, names if isinstance(names, list) else range(known))
    return known, _pieces_of_spectra(_recut(source, photometry, chunk), names)


def refuse_outside(bins: RedshiftBins, z: Tensor, ids: Sequence[Any]) -> None:
    """ValueError that names the objects whose redshift lies outside the bins."""
    silent = RedshiftBins(bins.edges, validate=False)
    outside = (silent.index(z.cpu()) < 0).nonzero().flatten().tolist()
    if outside:
        more = f" (and {len(outside) - 1} more here)" if len(outside) > 1 else ""
        low, high = (edge.item() for edge in bins.edges[[0, -1]])
        raise ValueError(
            f"object {ids[outside[0]]} has z_spec {z[outside[0]].item():g}, outside the bins "
            f"[{low:g}, {high:g}]{more}: leave it out, or widen the bins"
        )


def _open(source: Any) -> tuple[Any, Any]:
    """Spectra or paths, in a list or as they come, and the first of them."""
    if isinstance(source, Spectra):
        source = [source]
    elif isinstance(source, str | PathLike):
        path = _check.path("spectra", source)
        source = sorted(path.rglob(PATTERN)) if path.is_dir() else [path]
        if not source:
            raise ValueError(f"spectra: {path} holds no {PATTERN}: give its files, as a list")
    elif not isinstance(source, Iterable) or isinstance(source, bytes | Set | Mapping):
        raise TypeError(
            f"spectra must be Spectra, an iterable of them in order, a folder or a list of files, "
            f"got {type(source).__name__}"
        )
    rest = iter(source)
    first = next(rest, None)
    if first is None:
        raise ValueError("spectra is empty: give at least one galaxy")
    if not isinstance(first, Spectra | str | PathLike):
        raise TypeError(
            f"spectra must yield Spectra or paths of files, got {type(first).__name__}: wrap it in "
            f"Spectra(wavelength, flux, ivar, z, valid)"
        )
    return (source if isinstance(source, list | tuple) else chain([first], rest)), first


def _pieces_of_spectra(chunks: Iterator[Spectra], names: Iterable[str] | None) -> Iterator[Piece]:
    each = map(str, count()) if names is None else iter(names)
    galaxies = 0
    for number, spectra in enumerate(chunks):
        ids = list(islice(each, len(spectra)))
        galaxies += len(spectra)
        if len(ids) < len(spectra):
            raise ValueError(f"object_ids end before galaxy {galaxies}: give one for each")
        columns = (spectra.z.double(), spectra.flux, spectra.ivar, spectra.valid)
        yield Piece(number, ids, spectra, None, _fingerprint(ids, *columns))
    if not galaxies:
        raise ValueError("spectra is empty: give at least one galaxy")
    if names is not None and next(each, None) is not None:
        raise ValueError(f"object_ids are more than the {galaxies} galaxies: give one for each")


def _pieces_of_files(
    files: list[Path], names: list[str], z: Tensor | None, chunk: int
) -> Iterator[Piece]:
    for number, start in enumerate(range(0, len(files), chunk)):
        some = files[start : start + chunk]
        own = None if z is None else z[start : start + chunk]
        ids = names[start : start + chunk]
        try:
            sizes = torch.tensor([path.stat().st_size for path in some])
        except FileNotFoundError as error:
            raise FileNotFoundError(f"spectra: no file {error.filename}") from None
        columns = [sizes] if own is None else [sizes, own]
        yield Piece(number, ids, some, own, _fingerprint(ids, *columns))


def _redshifts(
    ids: list[str], z_spec: Mapping[str, float] | None, bins: RedshiftBins
) -> Tensor | None:
    """The redshifts given for the files, in their order."""
    if z_spec is None:
        return None
    if not isinstance(z_spec, Mapping):
        raise TypeError(
            f"z_spec must be a mapping from file name to redshift, got {type(z_spec).__name__}: "
            f"dict(zip(names, z)), so that none can be another's"
        )
    missing = [name for name in ids if name not in z_spec]
    if missing:
        raise ValueError(f"z_spec lacks {missing[0]}, one of {len(missing)} files without redshift")
    z = torch.tensor([_redshift(name, z_spec[name]) for name in ids], dtype=torch.float64)
    refuse_outside(bins, z, ids)
    return z


def _path(path: Any) -> Path:
    if not isinstance(path, str | PathLike):
        raise TypeError(f"spectra must yield paths throughout, got {_check.shown(path)}")
    return _check.path("spectra", path)


def _redshift(name: str, value: Any) -> float:
    found = _check.numbers(f"z_spec[{name!r}]", value, kinds="iuf")
    if found.ndim:
        raise ValueError(f"z_spec[{name!r}] must be one number, got shape {found.shape}")
    return found.item()


def _recut(
    parts: Iterable[Spectra], photometry: SyntheticPhotometry, chunk: int
) -> Iterator[Spectra]:
    """The same galaxies in the same order, `chunk` at a time."""
    held: list[Spectra] = []
    free = chunk
    for part in parts:
        _check_grid(part, photometry)
        start = 0
        while start < len(part):
            held.append(part[start : start + free])
            start += len(held[-1])
            free -= len(held[-1])
            if not free:
                yield _join(held)
                held, free = [], chunk
    if held:
        yield _join(held)


def _join(parts: list[Spectra]) -> Spectra:
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in ("flux", "ivar", "z", "valid")
    }
    return Spectra(wavelength=parts[0].wavelength, **columns)


def _check_grid(spectra: Any, photometry: SyntheticPhotometry) -> None:
    if not isinstance(spectra, Spectra):
        raise TypeError(f"spectra must yield Spectra throughout, got {type(spectra).__name__}")
    if not torch.equal(spectra.wavelength.double().cpu(), photometry.wavelength.cpu()):
        raise ValueError(
            f"spectra must lie on the wavelengths of photometry, got {spectra!r} and "
            f"{photometry!r}: build SyntheticPhotometry(filters, spectra.wavelength), and read "
            f"files onto one grid, read_sdss_spectra(paths, wavelength=...)"
        )


def _fingerprint(ids: list[str], *columns: Tensor) -> bytes:
    """SHA-256 of ids and numbers: what tells whether a chunk on disk is that of these galaxies."""
    hashed = sha256("\0".join(ids).encode())
    for column in columns:
        hashed.update(f"{column.dtype}{tuple(column.shape)}".encode())
        hashed.update(column.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return hashed.digest()

"""The table of residuals that a training reads: built once, kept on disk, looked up by galaxy."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from photoz_losses import _check
from photoz_losses.bins import RedshiftBins
from photoz_losses.photometry import _build, _header, _pieces
from photoz_losses.photometry._lock import alone
from photoz_losses.photometry._mapped import MappedColumn
from photoz_losses.photometry._rows import checked
from photoz_losses.photometry._store import Store, fresh
from photoz_losses.photometry.filters import FilterSet
from photoz_losses.photometry.residual import check_options
from photoz_losses.photometry.synthetic import SyntheticPhotometry

DTYPES = (torch.float16, torch.float32)


class FluxTable(Dataset[tuple[Tensor, Tensor]]):
    r"""Residuals of many galaxies, as `photoz_losses.flux_residual` makes them, for `FluxLoss`.

    Made by `build` or `load`. ``table[index]`` is ``(residual, band_weight)``, what `FluxLoss`
    takes: of one galaxy, shapes (C, B) and (B,), for an integer; of many, with the galaxies first,
    for a slice, a list, or a tensor of integers or bool. An integer may count from the end; in a
    list or a tensor a negative number, often a sign of "not found", raises IndexError. What is
    looked up may be changed in place: it is a copy, as is every property with values of galaxies
    but `residual`.

    Float16 residuals are rounded to 2**-11 of their value, or to 2**-25 if that is more; the flux
    loss of a galaxy then errs by at most :math:`2^{-11} \sum_c p_c |r_c| + 2^{-25}`. Values beyond
    the range of the type (65504 in float16, from a band almost without flux) are clamped to it and
    counted.

    A memory-mapped table opens its files when a galaxy is looked up, and pickles as their path:
    every worker of a ``DataLoader`` reads the one copy in the page cache. Each process compares
    each file with its size and its checksum when it opens it.

    Raises
    ------
    IndexError
        In a look-up, if a row is not there, a mask has another length, or `index` is none.
    ValueError
        Where a memory-mapped table is looked into, if a file of it is gone, was cut short, or has
        a single bit that is another; names the file.
    TypeError
        In a look-up, if `index` is a tuple (write ``table[[0, 1]]``), sparse or on the device meta,
        or an array with a mask of its own.

    Attributes
    ----------
    bins : RedshiftBins
        The C bins.
    filters : FilterSet
        The B bands.
    header : dict
        What is kept with the table: options, wavelengths, versions, date, number of residuals
        clamped.

    Examples
    --------
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry
    >>> grid = torch.linspace(3000.0, 9000.0, 601, dtype=torch.float64)
    >>> box = FilterSet(["r"], [[5500.0, 6500.0]], [[1.0, 1.0]])
    >>> photometry = SyntheticPhotometry(box, grid)
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> flux = (grid / 6000.0).expand(2, -1)
    >>> z_spec, every = torch.tensor([0.05, 0.31]), torch.ones_like(flux, dtype=torch.bool)
    >>> spectra = Spectra(grid, flux, torch.ones_like(flux), z_spec, every)
    >>> table = FluxTable.build(spectra, bins, photometry, progress=False)
    >>> table
    FluxTable(2 galaxies x 4 bins x 1 bands, float16, in memory)
    >>> [part.shape for part in table[:2]]
    [torch.Size([2, 4, 1]), torch.Size([2, 1])]
    """

    def __init__(
        self, header: dict[str, Any], columns: Mapping[str, Tensor | MappedColumn], digests: Tensor
    ) -> None:
        self.header = header
        self.bins, self.filters = RedshiftBins(header["bins"]), _header.read_filters(header)
        self._columns, self._digests = dict(columns), digests

    @classmethod
    def build(
        cls,
        spectra: Any,
        bins: RedshiftBins,
        photometry: SyntheticPhotometry,
        *,
        z_spec: Mapping[str, float] | None = None,
        object_ids: Iterable[str | int] | None = None,
        path: str | PathLike[str] | None = None,
        dtype: torch.dtype = torch.float16,
        chunk: int = 1024,
        client: Any = None,
        progress: bool = True,
        quadrature: str = "midpoint",
        min_coverage: float = 0.5,
        min_snr: float | None = None,
        dimming: str = "none",
        cosmology: Any = None,
    ) -> Self:
        """Compute the residuals of all galaxies, in memory or on disk.

        With `path` the same call, after the process was killed, goes on where it stopped, and on a
        finished table only reads it. What was begun is compared with what is given: everything in
        the parameters below (and the version of this package), and of each finished chunk the ids,
        redshifts and spectra (of files: names, sizes and the given redshifts, not their content).

        Parameters
        ----------
        spectra : Spectra, iterable of Spectra, path of a folder, or list of paths
            On the wavelengths of `photometry`, in parts of any size; an iterable is read as a
            stream. Of a folder, all files ``spec-*.fits`` in it and below, sorted by path; files,
            no two of one name, are read a chunk at a time, by `read_sdss_spectra`, where the chunk
            is computed.
        bins : RedshiftBins
            The C bins.
        photometry : SyntheticPhotometry
            The B filters on the spectra's wavelengths. Its device computes.
        z_spec : mapping from file name to float, optional
            Redshifts of files; more names than files may be in it. Default: those in the files.
        object_ids : iterable of str or int, optional
            Names of the galaxies, at most 64 bytes each, no two alike, in their order. Default: 0,
            1, 2, ...; files are known by their names.
        path : path, optional
            Folder of the table, best named ``*.zarr``. Needs the extra ``scale``. Default: the
            table is made in memory; `save` then writes the same.
        dtype : torch.dtype
            Of the residuals: float16 or float32.
        chunk : int
            Galaxies in one file, and in one unit of work.
        client : distributed.Client, optional
            The chunks are computed, and with `path` written, by its workers, which must see the
            folder under that path, and the files if they are to be read. Default: this process.
            The table does not depend on the number of workers.
        progress : bool
            Whether to show a progress bar, if tqdm is there.
        quadrature, min_coverage, dimming, cosmology
            As in `photoz_losses.flux_residual`.
        min_snr : float, optional
            The same; with a number, 0 too, the spectra's `ivar` is used: pixels of zero ivar count
            nowhere, those that `Spectra.extend` filled in neither, and `variance` is kept. Default:
            the inverse variances are not looked at, and filled pixels count.

        Returns
        -------
        FluxTable
            In memory, or memory-mapped if `path` is given.

        Raises
        ------
        ValueError
            If a redshift lies outside the bins (names the object), spectra do not lie on the
            wavelengths of `photometry`, there is not one name a galaxy or one comes twice, or
            `path` is a file, or holds another table (names the differences) or one whose header is
            damaged.
        TypeError
            If an argument is of another kind.
        FileNotFoundError
            If a file in ``spectra`` is missing.
        BlockingIOError
            If another process is building the table at `path`, or one that it forked lives on.
        OSError
            If the disk is full or the folder read-only: what is finished stays, and the same call
            goes on later.
        ImportError
            If `path` or `client` lacks the extra ``scale``.

        Warns
        -----
        UserWarning
            If residuals were clamped.

        Examples
        --------
        >>> import torch
        >>> from photoz_losses import RedshiftBins
        >>> from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry
        >>> wavelength = torch.linspace(3000.0, 9000.0, 6001)
        >>> flux = wavelength.square().reciprocal().expand(3, -1)  # constant f_nu
        >>> z = torch.tensor([0.05, 0.15, 0.25])
        >>> spectra = Spectra(wavelength, flux, torch.ones_like(flux), z, flux > 0)
        >>> box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
        >>> photometry = SyntheticPhotometry(box, wavelength)
        >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
        >>> table = FluxTable.build(spectra, bins, photometry, progress=False)
        >>> table
        FluxTable(3 galaxies x 4 bins x 1 bands, float16, in memory)
        >>> residual, band_weight = table[[2, 0]]
        >>> residual.shape, residual.dtype, band_weight.shape
        (torch.Size([2, 4, 1]), torch.float16, torch.Size([2, 1]))
        """
        least = 0.0 if min_snr is None else min_snr
        check_options(quadrature, min_coverage, dimming, cosmology, least)
        options = {
            "quadrature": quadrature,
            "min_coverage": float(min_coverage),
            "min_snr": None if min_snr is None else float(min_snr),
            "dimming": dimming,
            "cosmology": cosmology,
        }
        _check.instance("photometry", photometry, SyntheticPhotometry)
        _check.instance("bins", bins, RedshiftBins)
        if not isinstance(dtype, torch.dtype) or dtype not in DTYPES:
            got = dtype if isinstance(dtype, torch.dtype) else _check.shown(dtype)
            raise ValueError(f"dtype must be torch.float16 or torch.float32, got {got}")
        chunk = _check.count("chunk", chunk, 1)
        progress = _check.flag("progress", progress)
        folder = None if path is None else _check.path("path", path)
        header = _header.describe(bins, photometry, options, dtype, chunk)
        known, pieces = _pieces.cut(spectra, bins, photometry, chunk, z_spec, object_ids)
        begun = nullcontext() if folder is None else _build.begun(folder.resolve(), header, known)
        with begun as store:
            work = _build.Work(photometry, bins, options, dtype, store)
            table = cls(*_build.fill(work, pieces, header, known, client, progress))
        if table.header["clamped"]:
            warnings.warn(
                f"{table.header['clamped']} residuals lie beyond the range of {table.dtype} and "
                f"were clamped to it, in galaxies (table.clamped > 0).nonzero(): their bands have "
                f"almost no flux; leave them out, or keep dtype=torch.float32",
                stacklevel=2,
            )
        return table

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        bins: RedshiftBins | None = None,
        filters: FilterSet | None = None,
        device: torch.device | str | None = None,
        mmap: bool = True,
    ) -> Self:
        """Open a finished table.

        Parameters
        ----------
        path : path
            Folder of the table.
        bins, filters : optional
            Those of the training, to be compared with those of the table.
        device : torch.device or str, optional
            Where to put the whole table. Default: it stays on disk, memory-mapped.
        mmap : bool
            If False, and without `device`, the whole table is read into memory.

        Raises
        ------
        FileNotFoundError
            If nothing is there.
        ValueError
            If the table is not finished, damaged, or compressed by someone else, has other bins
            or filters (names the first difference), or `path` is a file.
        TypeError
            If an argument is of another kind.
        """
        path, mmap = _check.path("path", path), _check.flag("mmap", mmap)
        for name, value, kind in (("bins", bins, RedshiftBins), ("filters", filters, FilterSet)):
            if value is not None:
                _check.instance(name, value, kind)
        store = Store.open(path.resolve())
        if not store.header["complete"]:
            raise ValueError(
                f"{path} is not finished, {store.finished} chunks of {store.header['chunk']} "
                f"galaxies are: call FluxTable.build(..., path=...) again to go on"
            )
        found: list[str | None] = []
        if bins is not None:
            found.append(_header.bins_differ(store.header["bins"], bins.edges.tolist()))
        if filters is not None:
            entry = _header.filters_entry(filters)
            found.append(_header.filters_differ(store.header["filters"], entry))
        if any(found):
            raise ValueError(
                f"{path} is a table for others: {'; '.join(filter(None, found))}. Build one for "
                f"these, or train with RedshiftBins and FilterSet of the table"
            )
        table = cls(store.header, store.columns(), store.digests())
        if device is not None:
            return table.to(device)
        return table if mmap else table.to("cpu")

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table to a new folder: the same bytes as if it had been built there.

        Raises
        ------
        FileExistsError
            If something is there.
        ValueError
            If this table is memory-mapped and a file of it is damaged, as in a look-up.
        TypeError
            If `path` is no path.
        ImportError
            If the extra ``scale`` is missing.
        """
        path = _check.path("path", path).resolve()
        if path.exists():
            raise FileExistsError(f"{path} exists: delete it, or give another path")
        chunk = self.header["chunk"]
        with alone(path) as held, fresh(path, alone=held) as beside:
            store = Store.create(beside, _header.begun(self.header))
            for number, digest in enumerate(self._digests):
                rows = slice(number * chunk, (number + 1) * chunk)
                data = {name: column[rows].cpu().numpy() for name, column in self._columns.items()}
                store.write(number, data, digest.numpy().tobytes())
            store.finish(len(self))

    def to(self, device: torch.device | str) -> Self:
        """The same table whole in the memory of a device (``"cpu"``: of this process).

        As of a tensor, what is there already is not copied: both tables have one `residual`.

        Raises
        ------
        ValueError
            If this table is memory-mapped and a file of it is damaged, as in a look-up.
        """
        columns = {
            name: column.whole() if isinstance(column, MappedColumn) else column
            for name, column in self._columns.items()
        }
        for name in ("residual", "band_weight", "variance"):
            if name in columns:
                columns[name] = columns[name].to(device)
        return type(self)(self.header, columns, self._digests)

    def __len__(self) -> int:
        return len(self._columns["residual"])

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        """Residual and band weight of one galaxy or of many."""
        index = checked(index, len(self), "table")
        return self._copy("residual", index), self._copy("band_weight", index)

    def _copy(self, name: str, index: Any = slice(None)) -> Tensor:
        """Rows of a column, for a `checked` index."""
        column = self._columns[name]
        rows = column[index]
        copied = isinstance(column, MappedColumn) or (isinstance(index, Tensor) and index.ndim)
        return rows if copied else rows.clone()

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Galaxies one by one, fetched together: what a ``DataLoader`` calls for a batch."""
        residual, band_weight = self[list(indices)]
        return list(zip(residual.unbind(), band_weight.unbind(), strict=True))

    @property
    def residual(self) -> Tensor:
        """All residuals, shape (N, C, B).

        Of a memory-mapped table, a copy in memory. Of a table in memory, the table's own memory,
        as they may be gigabytes: clone them before you change them in place.
        """
        return self._columns["residual"][:]

    @property
    def band_weight(self) -> Tensor:
        """All band weights, shape (N, B), float32; a copy."""
        return self._copy("band_weight")

    @property
    def variance(self) -> Tensor:
        """What `flux_loss` takes as `variance`, shape (N, B), float32; see `relative_variance`.

        A copy: take it once, before the training.

        Raises
        ------
        AttributeError
            If the table was built without `min_snr`.
        """
        if "variance" not in self._columns:
            raise AttributeError(
                "this table has no variance: build it with min_snr=0.0, which looks at ivar"
            )
        return self._copy("variance")

    @property
    def z_spec(self) -> Tensor:
        """Redshifts that the residuals belong to, shape (N,), float64; a copy."""
        return self._copy("z_spec")

    @property
    def clamped(self) -> Tensor:
        """How many residuals of each galaxy were clamped, shape (N,), int32; a copy."""
        return self._copy("clamped")

    @property
    def object_ids(self) -> npt.NDArray[np.str_]:
        """Names of the galaxies, shape (N,)."""
        names = self._columns["object_id"][:].numpy()
        return np.char.decode(names.view(f"S{names.shape[1]}")[:, 0], "utf-8")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the residuals."""
        dtype: torch.dtype = getattr(torch, self.header["dtype"])
        return dtype

    def __repr__(self) -> str:
        residual = self._columns["residual"]
        sizes = "{} galaxies x {} bins x {} bands".format(*residual.shape)
        place = "memory-mapped"
        if isinstance(residual, Tensor):
            place = "in memory" if residual.device.type == "cpu" else f"on {residual.device}"
        return f"FluxTable({sizes}, {self.header['dtype']}, {place})"

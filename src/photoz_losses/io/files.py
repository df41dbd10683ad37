"""Predictions into and out of files: HDF5 and npz."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from photoz_losses import _check
from photoz_losses._whole import replacing
from photoz_losses.bins import RedshiftBins
from photoz_losses.io._arrays import Array, read_rows
from photoz_losses.io._formats import read_arrays, write_arrays

NEEDED = ("probs", "edges")
LONGEST = 255  # bytes of the name of a column
OWN = (*NEEDED, "z_spec", "id")  # names of arrays; every other one is a column


@dataclass(frozen=True)
class Predictions:
    """What a file of predictions holds: `save_predictions` writes it, `load_predictions` reads it.

    Attributes
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin.
    bins : RedshiftBins
        The C bins.
    z_spec : Tensor or None, shape (N,)
        True redshifts; NaN where one is unknown.
    object_id : array or None, shape (N,)
        Integers or strings.
    columns : dict of str to Tensor, shape (N,)
        Whatever else there is of each galaxy: a magnitude, say.
    """

    probs: Tensor
    bins: RedshiftBins
    z_spec: Tensor | None = None
    object_id: Array | None = None
    columns: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        given = [name for name in ("z_spec", "object_id") if getattr(self, name) is not None]
        parts = [f"{len(self.probs)} galaxies", repr(self.bins), *given, *self.columns]
        return f"Predictions({', '.join(parts)})"


def save_predictions(
    path: str | Path,
    probs: Tensor,
    bins: RedshiftBins,
    z_spec: Tensor | None = None,
    object_id: Any = None,
    **columns: Any,
) -> None:
    """Write densities, and what belongs to each galaxy, to HDF5 or npz.

    The file holds the arrays ``probs`` (N, C), ``edges`` (C + 1,) and, where given, ``z_spec``,
    ``id`` and the columns by their names, each (N,), bit by bit as they came; but bfloat16 becomes
    float32, and what its rounding left of each row's sum is divided out of ``probs``, as every
    metric does. Every array has a checksum. A write that fails, for a full disk say, or is killed
    leaves an older file as it was; HDF5 is put together in memory before it is written.

    Parameters
    ----------
    path : str or Path
        Ends in ``.h5`` or ``.hdf5`` (needs the extra ``hdf5``), or in ``.npz``. Overwritten.
    probs : Tensor, shape (N, C)
        Masses per bin, ``softmax(logits)``.
    bins : RedshiftBins
        The C bins.
    z_spec : Tensor, float32 or float64, shape (N,), optional
        True redshifts; NaN where one is unknown. They may lie outside the bins. There, as at NaN,
        no score is defined: scores and the report refuse such galaxies and count them (or answer
        NaN, with bins of ``validate=False``).
    object_id : array or list of integers or strings, shape (N,), optional
        Bytes, as FITS has names, are no strings: ``np.char.decode(names)``.
    **columns : Tensor or array of numbers, shape (N,)
        A magnitude, say: ``magnitude=r``.

    Raises
    ------
    ValueError
        If the suffix is another, shapes disagree, rows are no masses, a redshift is infinite, an id
        is empty or no text of UTF-8, or a column has the name of one of the arrays.
    ImportError
        For HDF5 without h5py.
    TypeError
        If `probs` is not floating-point, `z_spec` not float32 or float64, a column is not of
        numbers (names are `object_id`), an id is neither text nor an integer, an array has a mask
        or a unit (of a magnitude in ``mag`` give the ``.value``), or `path` is no path.
    OSError
        If the disk is full or the folder read-only.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.io import load_predictions, save_predictions
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "predictions.npz")
    ...     save_predictions(path, torch.full((2, 4), 0.25), bins, magnitude=[17.1, 17.4])
    ...     load_predictions(path).columns
    {'magnitude': tensor([17.1000, 17.4000], dtype=torch.float64)}
    """
    masses = read_rows(probs, bins)
    if masses.dtype == torch.bfloat16:  # whose sums, off by rounding, float32 would not excuse
        masses = bins.read_probs(masses)
    arrays = {"probs": _check.array("probs", masses), "edges": _check.array("edges", bins.edges)}
    if isinstance(z_spec, Tensor):
        _check.redshift("z_spec", z_spec)  # before bfloat16 becomes float32
    arrays |= {} if z_spec is None else {"z_spec": _check.array("z_spec", z_spec)}
    arrays |= {} if object_id is None else {"id": _ids(object_id)}
    taken = sorted(
        name
        for name in columns
        if {name} & {*OWN, "", ".", "file", "allow_pickle"}
        or "/" in name
        or not _check.is_kept(name)
        or len(name.encode()) > LONGEST
    )
    if taken:
        raise ValueError(
            f"columns must have names of their own, without slash or NUL, that both formats keep; "
            f"got {', '.join(repr(name[:40]) for name in taken)}"
        )
    arrays |= {name: _column(name, column) for name, column in columns.items()}
    path = _check.path("path", path)
    _check_suffix(path)
    _read(arrays, "object_id")  # what cannot be read is not written
    with replacing(path) as part:
        write_arrays(part, path.suffix, arrays)


def _column(name: str, values: Any) -> Array:
    """`values` as an array; ValueError for integers that a gap, or a negative one, made floats."""
    found = _check.array(name, values)
    if found.dtype != np.float64 or not (np.abs(found) >= 2**53).any():
        return found
    for value in np.asarray(_check.without_tensors(name, values), dtype=object).ravel():
        if isinstance(value, Integral) and float(value) != int(value):
            raise ValueError(
                f"{name} must be numbers of one type that holds them, got {value} beside what "
                f"makes floats of all: fill gaps with a number, or give text"
            )
    return found


def _ids(object_id: Any) -> Array:
    """Ids as an array of integers, or of text where one of them is text; errors for any other."""
    ids = _check.array("object_id", object_id)
    listed = _check.is_nested(type(object_id))  # whose array may be of another kind
    if ids.dtype.kind in "iu" and not listed:
        return ids
    given = (
        _check.without_tensors("object_id", object_id) if listed else ids.ravel().tolist()
    )  # pandas has text as objects
    written = [_check.object_id("object_id", one) for one in given]
    if any(isinstance(one, str) for one in given):
        return np.array(written).reshape(ids.shape)
    numbers = list(map(int, given))
    least, most = min(numbers, default=0), max(numbers, default=0)
    if least < 0 and most >= 2**63:
        raise TypeError(
            f"object_id must fit one type of integers, or be text, got {least} and {most}: give "
            f"text, list(map(str, object_id))"
        )
    return np.array(numbers, np.int64 if most < 2**63 else np.uint64).reshape(ids.shape)


def load_predictions(path: str | Path) -> Predictions:
    """Read densities, and what belongs to each galaxy, from HDF5 or npz.

    Of a file of unknown origin nothing is unpickled, and nothing outside it is read. Compressed
    arrays that are to take more than 500 times the file's size, and 64 MiB, are refused before
    they are read. Arrays of HDF5 that lie elsewhere
    (soft and external links, external storage, virtual datasets), or of which a part was never
    written, are refused; groups are passed over. Every checksum must be right: of a file that
    `save_predictions` wrote, and of any npz file, a single bit that is another is noticed, or
    changes no number. HDF5 files of other programs are checked where they have Fletcher's sums.

    Parameters
    ----------
    path : str or Path
        A file as `save_predictions` writes it; any other program may write the same arrays.

    Returns
    -------
    Predictions
        With the bits that were written. Every array but ``probs``, ``edges``, ``z_spec`` and ``id``
        is a column.

    Raises
    ------
    ValueError
        If the suffix is unknown, the file is of another kind or damaged, lacks ``probs`` or
        ``edges``, shapes disagree, rows are no masses, an array is not of numbers, or ``z_spec``
        not of float32 or float64, or infinite (NaN: it is unknown).
    FileNotFoundError
        If there is no such file.
    TypeError
        If `path` is no path.
    ImportError
        For HDF5 without h5py.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from photoz_losses import RedshiftBins
    >>> from photoz_losses.io import load_predictions, save_predictions
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "predictions.npz")
    ...     save_predictions(path, torch.full((2, 4), 0.25), RedshiftBins.uniform(0.0, 0.4, 4))
    ...     found = load_predictions(path)
    >>> found.bins.mean(found.probs)
    tensor([0.2000, 0.2000])
    """
    path = _check.path("path", path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    arrays = read_arrays(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(
            f"{path} lacks {' and '.join(missing)}: it has {found}; it must "
            f"hold probs (N, C) and edges (C + 1,), as save_predictions writes them"
        )
    try:
        return _read(arrays)
    except (ValueError, TypeError) as error:  # the type of what a file holds is no argument's
        raise ValueError(f"{path}: {error}") from None


def _read(arrays: Mapping[str, Array], ids: str = "id") -> Predictions:
    """The arrays, after every check that predictions must pass; errors call those of ids `ids`."""
    bins = RedshiftBins(_numeric("edges", arrays["edges"]))
    probs = read_rows(torch.from_numpy(_numeric("probs", arrays["probs"])), bins)
    columns = {
        name: torch.from_numpy(_per_galaxy(name, _numeric(name, array), len(probs)))
        for name, array in arrays.items()
        if name not in (*NEEDED, "id")
    }
    z_spec, object_id = columns.pop("z_spec", None), arrays.get("id")
    if object_id is not None:
        if object_id.dtype.kind not in "iuUS":
            raise TypeError(f"{ids} must be of integers or strings, got {object_id.dtype}")
        _per_galaxy(ids, object_id, len(probs))
    if z_spec is not None and bool(_check.redshift("z_spec", z_spec).isinf().any()):
        raise ValueError("z_spec must not be infinite: NaN marks an unknown redshift")
    return Predictions(probs, bins, z_spec, object_id, columns)


def _per_galaxy(name: str, array: Array, galaxies: int) -> Array:
    if array.shape != (galaxies,):
        raise ValueError(f"{name} must have shape ({galaxies},), as probs, got {array.shape}")
    return array


def _numeric(name: str, array: Array) -> Array:
    kind = array.dtype.kind
    if kind not in "biuf":
        got = "Python objects" if kind == "O" else array.dtype
        mend = "names go in object_id" if kind in "UST" else "give floats, NaN where there is none"
        raise TypeError(f"{name} must be of numbers, got {got}: {mend}")
    if kind == "f" and array.dtype.itemsize > 8:  # that torch does not have
        raise TypeError(f"{name} must be float64 or narrower, got {array.dtype}: .astype(float)")
    own: Array = array.astype(array.dtype.newbyteorder("="))  # torch takes no other
    return own


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".h5", ".hdf5", ".npz"):
        raise ValueError(f"path must end in .h5, .hdf5 or .npz, got {path.name}")

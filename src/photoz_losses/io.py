"""Densities into and out of files (HDF5, npz) and of qp, which the LSST tools speak."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from photoz_losses._whole import replacing
from photoz_losses.bins import RedshiftBins

Array = npt.NDArray[Any]
NEEDED = ("probs", "edges")
OWN = (*NEEDED, "z_spec", "id")  # names of arrays; every other one is a column

# qp ---------------------------------------------------------------------------------------------


def to_qp(probs: Tensor, bins: RedshiftBins) -> Any:
    """The densities as a ``qp.Ensemble`` of histograms, with every mass kept.

    Its ``pdf``, ``cdf`` and ``ppf`` are those of `photoz_losses.RedshiftBins`. Do not trust its
    mean and moments on unequal bins: qp 1.1 multiplies by the width of the first bin.

    Parameters
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin, ``softmax(logits)``.
    bins : RedshiftBins
        The C bins.

    Returns
    -------
    qp.Ensemble
        N densities in float64, representation ``qp.hist``.

    Raises
    ------
    ImportError
        Without qp: ``pip install 'photoz-losses[qp]'``.
    ValueError
        If `probs` does not have shape (N, C) with N at least 1, or rows are no masses.
    TypeError
        If `probs` is not floating-point.

    Examples
    --------
    >>> bins = RedshiftBins([0.0, 0.1, 0.4])
    >>> ensemble = to_qp(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), bins)
    >>> ensemble.cdf(0.25).ravel()
    array([0.75, 1.  ])
    """
    qp = _qp()
    kept = _rows(probs, bins)
    probs = kept.double()
    if kept.dtype != torch.float64:  # rows as RedshiftBins reads them, without their rounding
        probs = probs / probs.sum(-1, keepdim=True)
    if not len(probs):
        raise ValueError("probs is empty: qp holds no ensemble without densities")
    data = {"bins": _array(bins.edges), "pdfs": _array(probs / bins.widths), "norm": False}
    return qp.Ensemble(qp.hist, data=data)


def from_qp(ensemble: Any, bins: RedshiftBins, *, max_outside: float = 1e-6) -> Tensor:
    """Masses that the densities of a ``qp.Ensemble`` have in our bins.

    Any representation: the mass of a bin is the difference of the ensemble's CDF at its two edges.
    From histograms on the same edges the masses themselves are taken, on other edges they are
    exact where density is spread evenly over each of theirs, as qp does. From any other
    representation the CDF is kept at our edges and is linear in between: between edges it is off by
    less than the mass of the bin.

    Parameters
    ----------
    ensemble : qp.Ensemble
        N densities in redshift.
    bins : RedshiftBins
        The C bins to bring them to.
    max_outside : float
        Largest mass of a density that may lie outside the bins; it is dropped, and the rest divided
        by its sum. 0.05, say, lets go of the tail of a Gaussian below redshift 0.

    Returns
    -------
    Tensor, float64, shape (N, C)

    Raises
    ------
    ValueError
        If more than `max_outside`, or everything, of a density lies outside the bins, or its CDF
        falls or is NaN.
    TypeError
        If `ensemble` has no ``cdf``.

    Examples
    --------
    >>> bins = RedshiftBins([0.0, 0.1, 0.4])
    >>> from_qp(to_qp(torch.tensor([[0.5, 0.5]]), bins), bins)
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if not callable(getattr(ensemble, "cdf", None)):
        raise TypeError(f"ensemble must be a qp.Ensemble, got {type(ensemble).__name__}")
    if not 0 <= max_outside <= 1:
        raise ValueError(f"max_outside must lie in [0, 1], got {max_outside}")
    edges = _array(bins.edges)
    mass = _masses_of_histograms(ensemble, edges)
    if mass is None:
        mass = np.diff(np.reshape(ensemble.cdf(edges), (-1, len(edges))), axis=-1)
    if not (mass >= -1e-9).all():
        at = int((~(mass >= -1e-9)).any(-1).argmax())
        raise ValueError(
            f"ensemble: the CDF of density {at} falls or is NaN within the bins: repair or drop it"
        )
    mass = mass.clip(0)
    inside = mass.sum(-1, keepdims=True)
    outside = 1 - inside
    if (outside > max_outside).any() or not inside.all():
        at = int(outside.argmax())
        raise ValueError(
            f"ensemble: density {at} has {outside[at, 0]:.3g} of its mass outside the bins, "
            f"[{edges[0]:g}, {edges[-1]:g}], more than max_outside {max_outside:g} (and so have "
            f"{int((outside > max_outside).sum()) - 1} others): widen the bins, or give max_outside"
        )
    return torch.from_numpy(mass / inside).to(bins.edges.device)


def _masses_of_histograms(ensemble: Any, edges: Array) -> Array | None:
    """Masses of an ensemble of histograms on exactly these edges; None for any other."""
    if getattr(getattr(ensemble, "gen_class", None), "name", None) != "hist":
        return None
    if not np.array_equal(np.ravel(ensemble.metadata["bins"]), edges):
        return None
    return np.reshape(ensemble.objdata["pdfs"], (-1, len(edges) - 1)) * np.diff(edges)


def _qp() -> Any:
    try:
        import qp
    except ImportError as error:
        raise ImportError("to_qp needs qp: pip install 'photoz-losses[qp]'") from error
    return qp


# Files ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What a file of predictions holds, as `load_predictions` returns it.

    Attributes
    ----------
    probs : Tensor, shape (N, C)
        Masses per bin.
    bins : RedshiftBins
        The C bins.
    z_spec : Tensor or None, shape (N,)
        True redshifts.
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
    metric does. A write that fails or is killed leaves an older file as it was.

    Parameters
    ----------
    path : str or Path
        Ends in ``.h5`` or ``.hdf5`` (needs the extra ``hdf5``), or in ``.npz``. Overwritten.
    probs : Tensor, shape (N, C)
        Masses per bin, ``softmax(logits)``.
    bins : RedshiftBins
        The C bins.
    z_spec : Tensor, shape (N,), optional
        True redshifts.
    object_id : array of integers or strings, shape (N,), optional
    **columns : Tensor or array of numbers, shape (N,)
        A magnitude, say: ``magnitude=r``.

    Raises
    ------
    ValueError
        If the suffix is another, shapes disagree, rows are no masses, or a column has the name of
        one of the arrays.
    ImportError
        For HDF5 without h5py.
    TypeError
        If `probs` is not floating-point, or a column is not of numbers.

    Examples
    --------
    >>> bins = RedshiftBins.uniform(0.0, 0.4, 4)
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "predictions.npz")
    ...     save_predictions(path, torch.full((2, 4), 0.25), bins, magnitude=[17.1, 17.4])
    ...     load_predictions(path).columns
    {'magnitude': tensor([17.1000, 17.4000], dtype=torch.float64)}
    """
    masses = _rows(probs, bins)
    if masses.dtype == torch.bfloat16:  # whose sums, off by rounding, float32 would not excuse
        masses = bins.read_probs(masses)
    arrays = {"probs": _array(masses), "edges": _array(bins.edges)}
    arrays |= {} if z_spec is None else {"z_spec": _array(z_spec)}
    arrays |= {} if object_id is None else {"id": np.asarray(object_id)}
    taken = sorted(
        name for name in columns if {name} & {*OWN, "", ".", "file", "allow_pickle"} or "/" in name
    )
    if taken:
        raise ValueError(
            f"columns must have names of their own, without a slash, that both formats can keep; "
            f"got {', '.join(map(repr, taken))}"
        )
    arrays |= {name: _array(column) for name, column in columns.items()}
    path = Path(path)
    _read(path, arrays)  # what cannot be read is not written
    with replacing(path) as part:
        if path.suffix == ".npz":
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        else:
            _write_hdf5(part, arrays)


def _write_hdf5(path: Path, arrays: Mapping[str, Array]) -> None:
    h5py = _h5py()
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            text = {"dtype": h5py.string_dtype()} if array.dtype.kind == "U" else {}
            file.create_dataset(name, data=array.astype(object) if text else array, **text)


def load_predictions(path: str | Path) -> Predictions:
    """Read densities, and what belongs to each galaxy, from HDF5 or npz.

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
        If the suffix is unknown, the file is of another kind, lacks ``probs`` or ``edges``, shapes
        disagree, or rows are no masses.
    FileNotFoundError
        If there is no such file.
    ImportError
        For HDF5 without h5py.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return _read(path, _npz_arrays(path) if path.suffix == ".npz" else _hdf5_arrays(path))


def _read(path: Path, arrays: Mapping[str, Array]) -> Predictions:
    """The arrays, after every check that a file of predictions must pass."""
    _check_suffix(path)
    missing = [name for name in NEEDED if name not in arrays]
    if missing:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(
            f"{path} lacks {' and '.join(missing)}: it has {found}; it must "
            f"hold probs (N, C) and edges (C + 1,), as save_predictions writes them"
        )
    try:
        bins = RedshiftBins(arrays["edges"])
        probs = _rows(torch.from_numpy(_numeric("probs", arrays["probs"])), bins)
        galaxies = {name: _per_galaxy(name, arrays, len(probs)) for name in arrays}
        numbers = {
            name: torch.from_numpy(_numeric(name, array))
            for name, array in galaxies.items()
            if name not in (*NEEDED, "id")
        }
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None
    return Predictions(probs, bins, numbers.pop("z_spec", None), galaxies.get("id"), numbers)


def _rows(probs: Tensor, bins: RedshiftBins) -> Tensor:
    """`probs` itself if it is one row of masses a galaxy."""
    bins.read_probs(probs)
    if probs.ndim != 2:
        raise ValueError(f"probs must have shape (galaxies, bins), got {tuple(probs.shape)}")
    return probs


def _per_galaxy(name: str, arrays: Mapping[str, Array], galaxies: int) -> Array:
    array = arrays[name]
    if name not in NEEDED and array.shape != (galaxies,):
        raise ValueError(f"{name} must have shape ({galaxies},), as probs, got {array.shape}")
    if array.dtype.kind == "O":
        raise TypeError(f"{name} must be numbers or strings, got Python objects")
    return array


def _numeric(name: str, array: Array) -> Array:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be of numbers, got {array.dtype}")
    own: Array = array.astype(array.dtype.newbyteorder("="))  # torch takes no other
    return own


def _npz_arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, AttributeError, BadZipFile, EOFError):
        raise ValueError(f"{path} is no npz file of plain arrays") from None


def _hdf5_arrays(path: Path) -> dict[str, Array]:
    h5py = _h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file: {error}") from None
    arrays = {}
    with file:
        for name, data in file.items():
            if isinstance(data, h5py.Dataset):
                text = h5py.check_string_dtype(data.dtype)
                decoded = text is not None and text.length is None
                arrays[name] = data.asstr()[...].astype(str) if decoded else data[...]
    return arrays


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".h5", ".hdf5", ".npz"):
        raise ValueError(f"path must end in .h5, .hdf5 or .npz, got {path.name}")


def _array(value: Any) -> Array:
    """NumPy array of a tensor or of anything like an array; bfloat16 as float32."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array: Array = np.asarray(value)
    return array


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 needs h5py: pip install 'photoz-losses[hdf5]'") from error
    return h5py

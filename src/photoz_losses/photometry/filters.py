"""Filter curves."""

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any, Self

import torch
from torch import Tensor

from photoz_losses import _check


class FilterSet:
    r"""Named filter curves, each linear between its tabulated wavelengths and zero outside them.

    Parameters
    ----------
    names : sequence of str
        One name a band, all different.
    wavelengths : sequence of vectors
        For each band its own tabulated wavelengths in Angstrom, strictly increasing, at least two
        (an astropy Quantity or Column of any length unit is converted).
    responses : sequence of vectors
        For each band the response :math:`R(\lambda)` at those wavelengths, for photon counters, on
        any scale: it cancels in :math:`\Phi'`. Not negative, and positive somewhere.

    Raises
    ------
    ValueError
        If lengths disagree, a name comes twice, wavelengths do not increase or are not positive, or
        responses are negative, not finite or all zero.
    TypeError
        If a name is no string, wavelengths or responses are not numbers, wavelengths have a unit
        of no length, or responses one at all.

    Examples
    --------
    >>> from photoz_losses.photometry import FilterSet
    >>> box = FilterSet(["box"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    >>> len(box), box.names
    (1, ('box',))
    """

    def __init__(
        self, names: Sequence[str], wavelengths: Sequence[Any], responses: Sequence[Any]
    ) -> None:
        given = {"names": names, "wavelengths": wavelengths, "responses": responses}
        for argument, value in given.items():
            has_order = isinstance(value, Collection) and not isinstance(value, set | frozenset)
            if not has_order or (isinstance(value, Tensor) and not value.ndim):
                raise TypeError(f"{argument} must be a sequence, got {_check.shown(value)}")
        if isinstance(names, str) or not len(names) == len(wavelengths) == len(responses) > 0:
            raise ValueError(
                f"names, wavelengths and responses must be as many, one entry a band, at least "
                f"one; got {names!r}, {len(wavelengths)} and {len(responses)}"
            )
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"names must be strings, got {_check.shown(names)}")
        if len(set(names)) < len(names):
            raise ValueError(f"names must all be different, got {', '.join(names)}")
        if not _check.is_nested(type(wavelengths)):  # one array, whose rows may have no unit
            wavelengths = _check.plain("wavelengths", wavelengths, "Angstrom")
        self.names = tuple(_check.text("names", name) for name in names)
        self.wavelengths = tuple(
            _check.increasing(f"wavelengths of {name}", values, at_least=2, unit="Angstrom")
            for name, values in zip(names, wavelengths, strict=True)
        )
        self.responses = tuple(
            _response(name, values, wavelength)
            for name, values, wavelength in zip(names, responses, self.wavelengths, strict=True)
        )

    @classmethod
    def from_speclite(cls, *names: str) -> Self:
        """Curves by speclite's names, as ``"sdss2010-*"`` or ``"lsst2023-r", "lsst2023-i"``.

        Raises
        ------
        ValueError
            If there is no name, or one is of no band, nor of all bands of a group.
        TypeError
            If a name is no string.
        """
        if not names:
            raise ValueError("names must hold at least one, as 'sdss2010-*', got none")
        curves = [curve for name in names for curve in _of_speclite(name)]
        return cls(
            [curve.name for curve in curves],
            [curve.wavelength for curve in curves],
            [curve.response for curve in curves],
        )

    @property
    def digest(self) -> str:
        """SHA-256 of names and curves (float64, to the last bit), as 64 hexadecimal digits."""
        hashed = sha256()
        for name, *curve in zip(self.names, self.wavelengths, self.responses, strict=True):
            # lengths first, so that no two sets run into the same bytes
            hashed.update(f"{len(name.encode())} {len(curve[0])} {name}".encode())
            for values in curve:
                hashed.update(values.numpy().astype("<f8").tobytes())
        return hashed.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        ranges = (
            f"{name} {wavelength[0]:g}-{wavelength[-1]:g} A"
            for name, wavelength in zip(self.names, self.wavelengths, strict=True)
        )
        return f"FilterSet({', '.join(ranges)})"


def _of_speclite(name: str) -> Sequence[Any]:
    """The curve of a band, or those of all bands of a group."""
    from speclite.filters import filter_group_names, load_filters

    if not isinstance(name, str):
        raise TypeError(
            f"names must be strings, one argument each, got {_check.shown(name)}: "
            f"from_speclite(*names)"
        )
    try:
        curves: Sequence[Any] = load_filters(name)
    except ValueError as error:
        group = name.partition("-")[0]
        if group not in filter_group_names:
            raise ValueError(
                f"names must be of a group that speclite has, got {name!r}: see "
                f"speclite.filters.filter_group_names"
            ) from error
        bands = ", ".join(load_filters(f"{group}-*").names)
        raise ValueError(
            f"names must be of bands, got {name!r}: {bands}, or {group + '-*'!r} for all of them"
        ) from error
    return curves


def _response(name: str, values: Any, wavelength: Tensor) -> Tensor:
    if wavelength[0] <= 0:
        raise ValueError(
            f"wavelengths of {name} must be positive, in Angstrom, got {wavelength[0].item():g}: "
            f"undo their logarithm, or drop those"
        )
    response = torch.from_numpy(_check.numbers(f"responses of {name}", values))
    _check.same_shape(f"responses of {name}", response, wavelength.shape, "its wavelengths")
    if not (response.isfinite().all() and (response >= 0).all() and (response > 0).any()):
        raise ValueError(
            f"responses of {name} must be finite, not negative, and positive somewhere: "
            f"cut the curve where it was not measured"
        )
    return response

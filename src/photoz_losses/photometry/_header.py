"""What is kept with every table of residuals, as JSON, and how two of them differ."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from photoz_losses.bins import RedshiftBins
from photoz_losses.photometry.filters import FilterSet
from photoz_losses.photometry.synthetic import SyntheticPhotometry

FORMAT = 2  # of the table on disk; another one is refused
PACKAGES = ("photoz-losses", "torch", "numpy", "speclite", "zarr")
NUMBERS, NOTHING = (int, float), type(None)
# types of JSON: of each field, of all entries of a list, of what a mapping must have
FIELDS: dict[str, Any] = {
    "format": int,
    "bins": [NUMBERS],
    "filters": {
        "names": [str],
        "digest": str,
        "wavelengths": [[NUMBERS]],
        "responses": [[NUMBERS]],
    },
    "wavelength": {"pixels": int, "first": float, "last": float, "digest": str},
    "denominator": str,
    "options": {
        "quadrature": str,
        "min_coverage": float,
        "min_snr": (float, NOTHING),
        "dimming": str,
        "cosmology": (str, NOTHING),
    },
    "dtype": str,
    "chunk": int,
    "versions": dict,
    "created": str,
    "complete": bool,
}
ENDS = {"galaxies": int, "clamped": int, "array_digest": str, "data_digest": str}  # once finished


def describe(
    bins: RedshiftBins,
    photometry: SyntheticPhotometry,
    options: Mapping[str, Any],
    dtype: torch.dtype,
    chunk: int,
) -> dict[str, Any]:
    """Everything besides the galaxies that a table depends on; float64 survives JSON exactly."""
    wavelength = photometry.wavelength.cpu()
    cosmology = options["cosmology"]
    return {
        "format": FORMAT,
        "bins": bins.edges.tolist(),
        "filters": filters_entry(photometry.filters),
        "wavelength": {
            "pixels": len(wavelength),
            "first": wavelength[0].item(),
            "last": wavelength[-1].item(),
            "digest": sha256(wavelength.numpy().astype("<f8").tobytes()).hexdigest(),
        },
        "denominator": photometry.denominator,
        "options": dict(options)
        | {"cosmology": None if cosmology is None else " ".join(repr(cosmology).split())},
        "dtype": str(dtype).removeprefix("torch."),
        "chunk": chunk,
        "versions": {name: found for name in PACKAGES if (found := _installed(name))},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
    }


def sealed(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header with the checksum of everything else in it."""
    rest = {name: value for name, value in header.items() if name != "digest"}
    return rest | {"digest": sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def begun(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header as it was when the table was begun; the order of what follows is then the same."""
    later = (*ENDS, "digest")
    return {name: value for name, value in header.items() if name not in later} | {
        "complete": False
    }


def check(header: Mapping[str, Any]) -> None:
    """ValueError unless the header is whole, by its checksum, and what a table can be read by."""
    if header.get("digest") != sealed(header)["digest"]:
        raise ValueError("its header is not what was written, by its checksum")
    once_finished = header.get("complete") or not ENDS.keys().isdisjoint(header)
    kinds = FIELDS | ENDS if once_finished else FIELDS
    wrong = [name for name in kinds if not _is(header.get(name), kinds[name])]
    try:
        if wrong:
            raise ValueError(f"{', '.join(wrong)} missing, or of another type than build writes")
        RedshiftBins(header["bins"])
        read_filters(header)
        counts = [header["chunk"], header.get("galaxies", 1)]
        sizes = all(0 < count < 2**40 for count in counts)
        if not (sizes and header["dtype"] in ("float16", "float32")):
            raise ValueError("chunk, galaxies or dtype")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"its header describes no table: {error}") from None


def _is(value: Any, kind: Any) -> bool:
    """Whether a value of JSON has these types throughout; a bool is no int."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(
            name in value and _is(value[name], rest) for name, rest in kind.items()
        )
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(entry, kind[0]) for entry in value)
    return type(value) in (kind if isinstance(kind, tuple) else (kind,))


def filters_entry(filters: FilterSet) -> dict[str, Any]:
    """Names, curves and digest of a filter set."""
    return {
        "names": list(filters.names),
        "digest": filters.digest,
        "wavelengths": [curve.tolist() for curve in filters.wavelengths],
        "responses": [curve.tolist() for curve in filters.responses],
    }


def read_filters(header: Mapping[str, Any]) -> FilterSet:
    """The filters of a table."""
    entry = header["filters"]
    return FilterSet(entry["names"], entry["wavelengths"], entry["responses"])


def differences(table: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What of `given` is not as in the table, in words; empty where one may continue the other."""
    found = [
        bins_differ(table["bins"], given["bins"]),
        filters_differ(table["filters"], given["filters"]),
    ]
    if table["wavelength"]["digest"] != given["wavelength"]["digest"]:
        found.append(f"wavelength: {_grid(table)} in the table, {_grid(given)} given")
    pairs = {name: (table[name], given[name]) for name in ("denominator", "dtype", "chunk")}
    for name in table["options"] | given["options"]:
        pairs[name] = (table["options"].get(name), given["options"].get(name))
    # a table half from one version and half from another would be neither's
    pairs["photoz-losses"] = tuple(
        header["versions"].get("photoz-losses") for header in (table, given)
    )
    found += [f"{name}: {a} in the table, {b} given" for name, (a, b) in pairs.items() if a != b]
    return [difference for difference in found if difference]


def bins_differ(table: list[float], given: list[float]) -> str | None:
    """How the edges of the bins differ, in words; None where they are equal to the bit."""
    if len(table) != len(given):
        return f"bins: {len(table) - 1} in the table, {len(given) - 1} given"
    for index, (a, b) in enumerate(zip(table, given, strict=True)):
        if a != b:
            return f"bins: edge {index} is {a!r} in the table, {b!r} given"
    return None


def filters_differ(table: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """How two filter sets differ, in words; None where their digests are equal."""
    if table["digest"] == given["digest"]:
        return None
    if table["names"] != given["names"]:
        a, b = (", ".join(entry["names"]) for entry in (table, given))
        return f"filters: {a} in the table, {b} given"
    curves = [
        list(zip(entry["wavelengths"], entry["responses"], strict=True)) for entry in (table, given)
    ]
    other = [name for name, a, b in zip(table["names"], *curves, strict=True) if a != b]
    return (
        f"filters: same names, but another curve of {', '.join(other)} "
        f"(digest {table['digest'][:8]} in the table, {given['digest'][:8]} given)"
    )


def _grid(header: Mapping[str, Any]) -> str:
    grid = header["wavelength"]
    return f"{grid['pixels']} pixels on {grid['first']:.6g}-{grid['last']:.6g} A"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""Names of galaxies as a table keeps them: text of so many bytes, no two alike."""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from photoz_losses import _check

ID_BYTES = 64  # room for the name of a galaxy on disk


def names_of(object_ids: Iterable[str | int]) -> Iterable[str]:
    """Ids as text: a list where there are as many as can be counted, else one after another."""
    object_ids = _check.plain("object_ids", object_ids)
    if hasattr(object_ids, "tolist"):
        object_ids = object_ids.tolist()
    if isinstance(object_ids, str | bytes) or not isinstance(object_ids, Iterable):
        got = _check.shown(object_ids)
        raise TypeError(f"object_ids must be one id a galaxy, got {got}: give a list")
    if isinstance(object_ids, Set | Mapping):
        raise TypeError(
            f"object_ids must be in the order of the galaxies, got {type(object_ids).__name__}: "
            f"give a list"
        )
    names = different(map(name_of, object_ids), "object_ids")
    return list(names) if isinstance(object_ids, list | tuple) else names


def name_of(object_id: Any) -> str:
    """An id as text that a table keeps; TypeError or ValueError for any other."""
    name = _check.object_id("object_ids", object_id)
    if len(name.encode()) > ID_BYTES:
        raise ValueError(f"object_ids must fit {ID_BYTES} bytes, got {name!r}: shorten it")
    return name


def different(names: Iterable[str], of: str) -> Iterator[str]:
    """The same names; ValueError at the first that comes again."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"{of} must be different, got {name!r} twice: leave one out, or rename it"
            )
        seen.add(name)
        yield name

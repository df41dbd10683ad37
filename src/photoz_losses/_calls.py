"""What a call of a Module takes and gives: torch declares it of anything, to anything."""

from collections.abc import Callable
from typing import Any, TypeVar

Forward = TypeVar("Forward")


def typed_as(forward: Forward) -> Callable[[Callable[..., Any]], Forward]:
    """Decorator of ``__call__``, for who reads types: its types are those of `forward`.

    To assign ``__call__ = forward`` is enough for mypy, but pyright keeps what torch declared.
    """
    return lambda _: forward

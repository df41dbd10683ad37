"""What the docstrings of a call say that it raises, and which arguments they and it have.

A Module's docstring names the function whose options it stores. Making one of a class raises what
the class says, and so do its methods where it says "In a method".
"""

import builtins
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from numpydoc.docscrape import NumpyDocString
from public import objects as public_objects
from public import own

OBJECTS = public_objects()
CALLED = {"fit", "forward", "update", "compute"}


def named_in(text: str, near: str) -> Iterator[Any]:
    """Public callables between backticks before the parameters, of the module `near` first."""
    for name in re.findall(r"`[~.\w]*?(\w+)`", text.partition("Parameters\n")[0]):
        for path in (f"{near}.{name}", name):
            if callable(OBJECTS.get(path)):
                yield OBJECTS[path]
                break


def whole(of: Any) -> list[Any]:
    """A callable and all whose docstrings speak for it."""
    function = inspect.unwrap(getattr(of, "__func__", of))
    parts = [function]
    if inspect.isclass(of):  # made, and these called
        parts += [getattr(of, name) for name in CALLED & {*own(of)}]
    elif inspect.ismethod(of):
        makes = inspect.isclass(of.__self__)
        owner = of.__self__ if makes else type(of.__self__)
        parts += [owner] * (makes or "In a method" in (inspect.getdoc(owner) or ""))
    room = function.__module__.split(".")[1]
    for part in list(parts):
        parts += named_in(inspect.getdoc(part) or "", room)
    return parts


@cache
def errors(of: Callable[..., Any]) -> tuple[type[Exception], ...]:
    """Classes of the sections Raises."""
    docs = [NumpyDocString(inspect.getdoc(part) or "") for part in whole(of)]
    names = {name for doc in docs for entry in doc["Raises"] for name in entry.type.split(", ")}
    return tuple(getattr(builtins, name) for name in names)


@cache
def arguments(of: Callable[..., Any]) -> frozenset[str]:
    """Names of parameters."""
    return frozenset(name for part in whole(of) for name in inspect.signature(part).parameters)

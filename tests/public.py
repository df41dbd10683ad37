"""The public surface as the package itself has it: what every table of names is held against.

Public is what stands in the ``__all__`` of a module of whose dotted name no part begins with an
underscore, and what a public class has of that kind.
"""

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import photoz_losses

PACKAGE = photoz_losses.__name__


def found() -> dict[str, ModuleType]:
    """Every public module and package, by its name below the package; "" is the package."""
    below = [item.name for item in pkgutil.walk_packages(photoz_losses.__path__, f"{PACKAGE}.")]
    names = [PACKAGE, *(name for name in below if "._" not in name)]
    return {name.removeprefix(PACKAGE).lstrip("."): import_module(name) for name in names}


def modules() -> dict[str, ModuleType]:
    """Those with names of their own: not what only hands names to the package, as ``losses``."""
    own = set(photoz_losses.__all__)
    return {
        name: module
        for name, module in found().items()
        if hasattr(module, "__all__") and (not name or not set(module.__all__) <= own)
    }


def objects() -> dict[str, Any]:
    """Every public name, as "metrics.crps" (none in front for the package), but for modules."""
    every = (
        (f"{module}.{name}".lstrip("."), getattr(where, name))
        for module, where in modules().items()
        for name in where.__all__
    )
    return {name: value for name, value in every if not inspect.ismodule(value)}


def own(kind: type) -> Iterator[str]:
    """Public methods, properties and other descriptors of a class that this package wrote."""
    attributes = {
        name
        for base in kind.__mro__
        if base.__module__.split(".")[0] == PACKAGE
        for name, value in vars(base).items()
        if not name.startswith("_")
        and (callable(value) or hasattr(type(value), "__get__"))
        and name not in getattr(base, "_fields", ())  # of a named tuple: data
    }
    yield from sorted(attributes)


def methods() -> set[tuple[str, str]]:
    """Class, as "metrics.CDELoss", and method of everything public."""
    return {
        (path, name)
        for path, kind in objects().items()
        if inspect.isclass(kind)
        for name in own(kind)
    }

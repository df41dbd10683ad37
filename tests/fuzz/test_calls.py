"""Every public callable is fuzzed with every parameter that it has, or excused by name."""

import inspect
from collections import defaultdict

from fuzz.calls import CALLS, EXCUSED
from public import objects

UNTRIED = {  # parameters of a callable that no call of the table gives
    "FluxTable": {"columns", "digests", "header"},  # made by build and load
    "FluxTable.build": {"client"},  # loads Dask: tests/photometry
    "SyntheticPhotometry": {"flux", "nu", "valid"},  # of the call "photometry"
}


def parameters(function):
    """Names of the parameters, without those that collect what is left."""
    collects = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return {each.name for each in found if each.kind not in collects} - {"self"}


def test_every_parameter_is_given_by_a_call_or_named():
    given, takes = defaultdict(set), defaultdict(set)
    for call in CALLS.values():
        name = call.of.__module__, call.of.__qualname__
        given[name] |= set(call.arguments)
        takes[name] |= parameters(call.of)
        if inspect.isclass(call.of) and "forward" in vars(call.of):
            takes[name] |= parameters(call.of.forward)
    missing = {(key[1], each) for key in takes for each in takes[key] - given[key]}
    assert missing == {(name, each) for name, untried in UNTRIED.items() for each in untried}


def test_every_public_callable_is_called_or_excused():
    called = {id(call.of) for call in CALLS.values()}
    owners = [call.of.__self__ for call in CALLS.values() if hasattr(call.of, "__self__")]
    called |= {id(owner if isinstance(owner, type) else type(owner)) for owner in owners}
    missing = {name for name, value in objects().items() if id(value) not in called}
    assert missing == set(EXCUSED)

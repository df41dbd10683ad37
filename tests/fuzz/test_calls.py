"""Every public callable is fuzzed, or excused by name."""

from fuzz.calls import CALLS, EXCUSED
from public import objects


def test_every_public_callable_is_called_or_excused():
    called = {id(call.of) for call in CALLS.values()}
    owners = [call.of.__self__ for call in CALLS.values() if hasattr(call.of, "__self__")]
    called |= {id(owner if isinstance(owner, type) else type(owner)) for owner in owners}
    missing = {name for name, value in objects().items() if id(value) not in called}
    assert missing == set(EXCUSED)

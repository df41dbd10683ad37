"""Bad input: each case is refused with an error that names the argument and says what to do.

One table, in a file for each room. Beside the pieces that a case asks for, the whole message that a
user sees stands in ``messages.txt``, which ``python tests/errors/messages.py`` writes anew: read
the difference before you keep it.
"""

import re

import pytest
from errors.messages import FILE, ROOMS, message, read

CASES = [parameters for room in ROOMS for parameters in room.case]
WHOLE = read(FILE)


@pytest.mark.parametrize(("call", "error", "says"), CASES)
def test_bad_input_is_refused_by_name(call, error, says, request):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert re.search(".*".join(map(re.escape, says)), str(caught.value), re.DOTALL), caught.value
    assert message(caught.value) == WHOLE[request.node.callspec.id]


def test_the_table_is_long_and_no_case_comes_twice():
    names = [parameters.id for parameters in CASES]
    assert len(set(names)) == len(names) >= 1300
    assert set(names) == set(WHOLE)


def test_there_are_many_kinds_of_error():
    """A kind: one exception and one message, whatever the numbers, types and names in it."""
    kinds = {re.sub(r"-?\d[\d.e+-]*|'[^']*'|[a-z_]+ must", "…", text) for text in WHOLE.values()}
    assert len(kinds) >= 150

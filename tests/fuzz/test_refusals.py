"""Whatever is given: a result, or an error of ours that is documented and names an argument.

Every call of the table is made with some of its arguments replaced by drawn ones.
"""

import linecache
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz import documented
from fuzz.calls import BINS, CALLS
from fuzz.examples import share
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import pyplot

import photoz_losses

SOURCE = str(Path(photoz_losses.__file__).parent)
NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([0.0, 1e-300, 1e300, 1e4, -1e4, float("nan"), float("inf")]),
    st.integers(-3, 9),
)
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
COUNTS = {"n_boot", "chunk_size", "n_bins", "approximate", "n_segments", "iterations", "n_pixels"}
COUNTS |= {"bars", "galaxies"}
THEIRS = {"metric", "model", "view", "views", "weighting"}  # functions and Modules of users
ANY = {"fwhm", "grow"}  # sizes of kernels: as large as they are asked for


@st.composite
def tensors(draw):
    """Tensors of small shapes, any type, and any values: one kind of number, or all."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    some = draw(st.sampled_from([st.floats(0, 1), st.floats(-1e4, 1e4), NUMBERS]))
    values = draw(hnp.arrays(float, shape, elements=some.map(float)))
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.array(values)).to(draw(st.sampled_from(TYPES)))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.lists(NUMBERS, max_size=3),
    st.dictionaries(st.text(max_size=2), NUMBERS, max_size=2),
    st.just({1, 2}),
    st.just(object()),
    st.just(BINS),
    st.just(np.array(["a", "b"])),
    hnp.arrays(float, (2,), elements=NUMBERS.map(float)),
)


def spoilt(key, value):
    """Strategy for what comes in the place of an argument: like it, or anything."""
    if key in COUNTS:
        return st.one_of(st.integers(-2, 12), st.floats(), JUNK)
    kinds = [NUMBERS, JUNK, tensors()]
    if isinstance(value, torch.Tensor):
        kinds += [tensors(), near(value), near(value)]
    return st.one_of(kinds)


@st.composite
def near(draw, value):
    """The valid tensor with a number in it replaced, a dimension cut, added or scaled."""
    value = value.clone()
    change = draw(st.sampled_from(["number", "cut", "none", "more", "scale", "type"]))
    if change == "number" and value.is_floating_point() and value.numel():
        number = torch.tensor(float(draw(NUMBERS)), dtype=torch.float64)  # too large: infinite
        value.view(-1)[draw(st.integers(0, value.numel() - 1))] = number.to(value.dtype)
    elif change == "cut" and value.ndim:
        at = draw(st.integers(0, value.ndim - 1))
        value = value.narrow(at, 0, value.shape[at] - 1)
    elif change == "none" and value.ndim:
        value = value[:0]
    elif change == "more":
        value = value.unsqueeze(draw(st.integers(0, value.ndim)))
    elif change == "scale" and value.is_floating_point():
        value = value * draw(NUMBERS.map(float))
    elif change == "type":
        value = value.to(draw(st.sampled_from(TYPES)))
    return value


@st.composite
def arguments(draw, name):
    """Valid arguments, of which one to three are replaced."""
    given_ones = CALLS[name].fresh()
    keys = sorted(set(given_ones) - THEIRS - ANY)
    for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True)):
        given_ones[key] = draw(spoilt(key, given_ones[key]))
    return given_ones


SAYS = {  # names in messages that are no parameter: of a term, a part, a column, a keyword
    "TotalLoss": {"term"},
    "TotalLoss terms": {"term"},
}


def refuse_other_errors(name, error):
    """AssertionError unless a `raise` of ours made the error, as documented, about an argument."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    line = linecache.getline(file, trace.tb_lineno).strip()
    ours = file.startswith(SOURCE) and line.startswith("raise")
    assert ours, f"not ours, {file}: {line}"
    of, found = CALLS[name].of, type(error)
    assert found in documented.errors(of), f"{found.__name__} is not among what {of} raises"
    known = {*CALLS[name].arguments, *documented.arguments(of), *SAYS.get(name, ())}
    words = set(re.findall(r"\w+", str(error)))
    assert known & words, f"no argument named: {error}"


LARGE = 1e12  # beyond, a square or a product of two may be more than float32 holds
INFINITE = {  # what a finite input may make infinite or NaN, as it is documented
    "metrics.log_score": "infinite where the density is zero",
}
UNKNOWN = {  # numbers of a dict that are so, as it is documented
    "log_score": "infinite where the density is zero",
    "ad": "infinite of a PIT of 0 or 1, NaN of a histogram",
    "ad_pvalue": "NaN of a histogram",
    "cvm_pvalue": "NaN of one galaxy",
}


def parts(value):
    """Numbers within what is given or comes back, in float64."""
    if isinstance(value, torch.Tensor | np.ndarray | float | int):
        with suppress(TypeError, ValueError, RuntimeError):
            yield torch.as_tensor(value).detach().to(torch.float64)
    elif isinstance(value, Mapping):
        yield from (part for key, one in value.items() if key not in UNKNOWN for part in parts(one))
    elif isinstance(value, list | tuple | set):
        yield from (part for one in value for part in parts(one))


def refuse_infinite(name, given_ones, result):
    """AssertionError if what came back of finite numbers, one at least, is not finite."""
    if name in INFINITE:
        return
    if all(part.numel() and bool((part.abs() <= LARGE).all()) for part in parts(given_ones)):
        for part in parts(result):
            assert bool(part.isfinite().all()), f"{part} of {given_ones}"


@pytest.mark.parametrize("name", CALLS)
def test_only_our_own_errors_escape(name, examples_run):
    pyplot.close("all")  # those of other tests

    @share(len(CALLS))
    @given(arguments(name))
    def law(given_ones):
        examples_run()
        try:
            result = CALLS[name].function(**given_ones)
        except Exception as error:  # whatever came out is judged
            refuse_other_errors(name, error)
        else:
            refuse_infinite(name, given_ones, result)
        assert not pyplot.get_fignums(), "an open figure is left"

    law()

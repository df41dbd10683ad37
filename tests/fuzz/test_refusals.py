"""Whatever is given: a result, or an error of ours that is documented and names an argument.

Every call of the table is made with some of its arguments replaced by drawn ones.
"""

import linecache
import re
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import fields, is_dataclass
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
from photoz_losses import RedshiftBins
from photoz_losses.metrics import PerBin
from photoz_losses.photometry import FluxTable, Spectra

SOURCE = str(Path(photoz_losses.__file__).parent)
NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([0.0, 1e-300, 1e300, 1e4, -1e4, float("nan"), float("inf")]),
    st.sampled_from([1e15, -1e15, 1e30, -1e30]),
    st.integers(-3, 9),
)
HUGE = st.floats(-1e30, 1e30)
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
COUNTS = {"n_boot", "chunk_size", "n_bins", "approximate", "n_segments", "iterations", "n_pixels"}
COUNTS |= {"bars", "galaxies"}
THEIRS = {"metric", "model", "view", "views", "weighting"}  # functions and Modules of users
ANY = {"fwhm", "grow"}  # sizes of kernels: as large as they are asked for


@st.composite
def tensors(draw):
    """Tensors of small shapes, any type, and any values: one kind of number, or all."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    some = draw(st.sampled_from([st.floats(0, 1), st.floats(-1e4, 1e4), HUGE, NUMBERS]))
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


OVERFLOWS = 1e12  # beyond, a square or a product of two may be more than float32 holds
LARGE = 1e30  # beyond, so may a sum
INFINITE = {  # what may be +inf, as it is documented
    **dict.fromkeys(("log_score", "LogScore"), "where the density is zero"),
    "ad": "of a PIT of 0 or 1",
}
OF_HISTOGRAM = {"mad", "bias", "sigma_iqr", "MAD", "Bias", "SigmaIQR"}  # infinite out of its range
UNKNOWN = {  # what may be NaN, of which arguments, as it is documented
    "ad": lambda given_ones: given_ones.get("approximate") is not None,
    "ad_pvalue": lambda given_ones: given_ones.get("approximate") is not None,
    "cvm_pvalue": lambda given_ones: galaxies(given_ones) == 1,
    "standard_error": lambda given_ones: galaxies(given_ones) == 1,
}
OF_TABLE = ("residual", "band_weight", "z_spec", "clamped")


def galaxies(given_ones):
    """How many a metric is asked about."""
    of_each = given_ones["pit_values" if "pit_values" in given_ones else "z_spec"]
    return torch.as_tensor(of_each).numel()


def parts(value, name=""):
    """Numbers within what is given or comes back, in float64, each with the last name over it."""
    if isinstance(value, torch.Tensor | np.ndarray | float | int):
        with suppress(TypeError, ValueError, RuntimeError):
            yield name, torch.as_tensor(value).detach().to(torch.float64)
    elif isinstance(value, RedshiftBins):
        yield from parts(value.edges, "edges")
    elif isinstance(value, FluxTable):
        yield from parts({key: getattr(value, key) for key in OF_TABLE})
        with suppress(AttributeError):  # built without min_snr
            yield from parts(value.variance, "variance")
    elif is_dataclass(value):
        yield from parts({each.name: getattr(value, each.name) for each in fields(value)})
    elif isinstance(value, Mapping) and {"value", "count", "outside"} <= value.keys():
        for key, least in (("value", 1), ("error", 2)):  # galaxies in a bin: else NaN, documented
            if value.get(key) is not None:
                yield from parts(value[key][value["count"] >= least], key)
        yield from parts([value["count"], value["outside"]], name)
    elif isinstance(value, Mapping):
        yield from (part for key, one in value.items() for part in parts(one, key))
    elif isinstance(value, list | tuple | set):
        yield from (part for one in value for part in parts(one, name))


def largest(given_ones):
    """The largest size of a number that is given; infinity where one is none, or none is there."""
    sizes = [part.abs() for _, part in parts(given_ones)]
    if not all(size.numel() and bool(size.isfinite().all()) for size in sizes):
        return float("inf")
    return max((size.max().item() for size in sizes), default=0.0)


def refuse_undocumented(name, given_ones, result):
    """AssertionError if of finite numbers came an infinity or a NaN that is not documented."""
    if (size := largest(given_ones)) > LARGE:
        return
    for key, part in parts(result, name.rpartition(".")[2]):
        documented = torch.zeros_like(part, dtype=torch.bool)
        if key in UNKNOWN and UNKNOWN[key](given_ones):
            documented |= part.isnan()
        if key in INFINITE:
            documented |= part == float("inf")
        if size > OVERFLOWS or (key in OF_HISTOGRAM and given_ones.get("approximate") is not None):
            documented |= part.isinf()
        assert bool((part.isfinite() | documented).all()), f"{key} is {part} of {given_ones}"


def test_numbers_of_the_valid_calls_are_looked_at():
    """Else nothing would be asked of what comes of them."""
    assert [name for name in CALLS if largest(CALLS[name].fresh()) > OVERFLOWS] == []


NAN, INF = float("nan"), float("inf")
UNBOUNDED = Spectra(**CALLS["Spectra"].fresh() | {"ivar": torch.full((2, 41), INF)})
ONE_BIN = {"count": torch.tensor([2, 0]), "outside": torch.tensor(0)}


@pytest.mark.parametrize(
    ("name", "given_ones", "result", "passes"),
    [
        ("cde_loss", {}, torch.tensor(NAN), False),
        ("cde_loss", {}, torch.tensor(INF), False),
        ("cde_loss", {"logits": 1e13}, torch.tensor(INF), True),
        ("cde_loss", {"logits": 1e13}, torch.tensor(NAN), False),
        ("cde_loss", {"logits": NAN}, torch.tensor(NAN), True),
        ("metrics.log_score", {}, torch.tensor([1.0, INF]), True),
        ("metrics.log_score", {}, torch.tensor(-INF), False),
        ("metrics.LogScore", {}, torch.tensor(NAN), False),
        ("metrics.galaxy_scores", {}, {"log_score": torch.tensor([INF])}, True),
        ("metrics.galaxy_scores", {}, {"crps": torch.tensor([INF])}, False),
        ("metrics.PITStatistics", {"approximate": None}, {"ad": torch.tensor(NAN)}, False),
        ("metrics.PITStatistics", {"approximate": 9}, {"ad": torch.tensor(NAN)}, True),
        ("metrics.MAD", {"approximate": None}, torch.tensor(INF), False),
        ("metrics.MAD", {"approximate": 9}, torch.tensor(INF), True),
        ("metrics.pit_statistics", {"pit_values": [0.5]}, {"cvm_pvalue": torch.tensor(NAN)}, True),
        (
            "metrics.pit_statistics",
            {"pit_values": [0, 1]},
            {"cvm_pvalue": torch.tensor(NAN)},
            False,
        ),
        ("metrics.Binned", {}, {"value": torch.tensor([1.0, NAN]), **ONE_BIN}, True),
        ("metrics.Binned", {}, {"value": torch.tensor([NAN, NAN]), **ONE_BIN}, False),
        ("metrics.binned", {}, PerBin(torch.tensor([NAN, NAN]), *ONE_BIN.values()), False),
        ("Spectra", {}, UNBOUNDED, False),
    ],
)
def test_what_is_documented_passes_and_nothing_else(name, given_ones, result, passes):
    with nullcontext() if passes else pytest.raises(AssertionError, match=r" of \{"):
        refuse_undocumented(name, given_ones, result)


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
            refuse_undocumented(name, given_ones, result)
        assert not pyplot.get_fignums(), "an open figure is left"

    law()

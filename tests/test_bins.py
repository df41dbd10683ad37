"""The one reading of the grid, against loops, closed forms and scipy."""

import copy
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import bin_of, cdf
from scipy import stats
from strategies import graded, masses, redshift_bins

from photoz_losses import RedshiftBins, _blocks


@given(graded())
def test_index_follows_the_papers_rule(case):
    bins, _, z = case
    assert bins.index(z).tolist() == [bin_of(bins.edges.tolist(), value) for value in z.tolist()]


@given(redshift_bins())
def test_upper_edge_belongs_to_the_bin_and_the_lowest_edge_to_the_first(bins):
    expected = [0, *range(len(bins))]
    assert bins.index(bins.edges).tolist() == expected
    assert bins.index(bins.edges.nextafter(bins.edges + 1)[:-1]).tolist() == list(range(len(bins)))


def test_a_float32_redshift_on_the_last_edge_is_inside():
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    assert torch.tensor(0.4).item() > 0.4  # in float32 it is larger than the float64 edge
    assert bins.index(torch.tensor(0.4)) == 179
    assert bins.cdf(torch.full((180,), 1 / 180), torch.tensor(0.4)) == 1


def test_index_clips_to_the_nearest_bin_only_on_request():
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    z = torch.tensor([-1.0, 0.2, torch.inf])
    assert bins.index(z, out_of_range="clip").tolist() == [0, 1, 3]
    with pytest.raises(ValueError, match=r"2 of 3 do not, the first is -1 at index 0"):
        bins.index(z)
    with pytest.raises(ValueError, match="nan"):
        bins.index(torch.tensor([torch.nan]), out_of_range="clip")


@given(graded())
def test_density_integrates_to_one_on_any_edges(case):
    bins, probs, _ = case
    assert ((bins.density(probs) * bins.widths).sum(-1) - 1).abs().max() < 1e-12


@given(graded())
def test_cdf_equals_the_loop(case):
    bins, probs, z = case
    edges = bins.edges.tolist()
    rows = zip(probs.tolist(), z.tolist(), strict=True)
    expected = [cdf(edges, row, value) for row, value in rows]
    np.testing.assert_allclose(bins.cdf(probs, z), expected, rtol=0, atol=1e-12)


@given(graded(), st.floats(0, 1))
def test_scipys_histogram_distribution_agrees(case, level):
    bins, probs, z = case
    edges = bins.edges.numpy()
    for row, value in zip(probs, z, strict=True):
        witness = stats.rv_histogram((row.numpy(), edges), density=False)
        assert bins.cdf(row, value).item() == pytest.approx(witness.cdf(value.item()), abs=1e-12)
        assert bins.mean(row).item() == pytest.approx(witness.mean(), rel=1e-12)
        inner = value.item() not in edges  # scipy gives a shared edge to the bin above
        if inner:
            assert bins.pdf(row, value).item() == pytest.approx(witness.pdf(value.item()))


@given(graded(), st.floats(0, 1))
def test_quantile_inverts_the_cdf(case, level):
    bins, probs, _ = case
    z = bins.quantile(probs, level)
    assert (bins.cdf(probs, z) - level).abs().max() < 1e-10
    assert ((z >= bins.edges[0]) & (z <= bins.edges[-1])).all()


@given(graded(), st.floats(1e-6, 1))
def test_quantile_is_the_least_redshift_that_holds_the_level(case, level):
    bins, probs, _ = case
    z = bins.quantile(probs, level)
    step = 1e-6 * bins.widths.min()
    assert (bins.cdf(probs, z - step) < level).all()


def test_quantiles_zero_and_one_are_the_ends_of_the_support():
    bins = RedshiftBins([0.0, 1.0, 2.0, 4.0, 5.0])
    probs = torch.tensor([0.0, 0.5, 0.5, 0.0])
    assert bins.quantile(probs, torch.tensor([0.0, 0.5, 1.0])).tolist() == [1.0, 2.0, 4.0]
    assert bins.median(probs) == 2.0


@given(redshift_bins(), st.data())
def test_a_bin_split_in_two_of_equal_density_changes_nothing(bins, data):
    probs = data.draw(masses(len(bins), batch=2))
    which = data.draw(st.integers(0, len(bins) - 1))
    share = data.draw(st.floats(0.1, 0.9))
    cut = bins.edges[which] + share * bins.widths[which]
    finer = RedshiftBins(torch.cat([bins.edges[: which + 1], cut[None], bins.edges[which + 1 :]]))
    part = (cut - bins.edges[which]) / bins.widths[which]
    halves = torch.stack([probs[:, which] * part, probs[:, which] * (1 - part)], -1)
    split = torch.cat([probs[:, :which], halves, probs[:, which + 1 :]], -1)
    grid = torch.linspace(bins.edges[0].item(), bins.edges[-1].item(), 7, dtype=torch.float64)[1:-1]
    for name in ("cdf", "pdf"):
        coarse = getattr(bins, name)(probs.unsqueeze(-2), grid)
        torch.testing.assert_close(getattr(finer, name)(split.unsqueeze(-2), grid), coarse)
    torch.testing.assert_close(finer.mean(split), bins.mean(probs))
    torch.testing.assert_close(finer.quantile(split, 0.3), bins.quantile(probs, 0.3))


def test_mode_is_the_highest_density_not_the_largest_mass():
    bins = RedshiftBins([0.0, 0.1, 1.1])
    assert bins.mode(torch.tensor([[0.4, 0.6]])).item() == pytest.approx(0.05)


def test_centres_are_centres_and_not_left_edges():
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    spike = torch.zeros(180).index_fill(0, torch.tensor(9), 1.0)
    assert bins.mean(spike).item() == pytest.approx(9.5 * 0.4 / 180)
    assert bins.mean(spike).item() - bins.edges[9].item() == pytest.approx(1.1e-3, rel=0.02)


def test_outside_the_grid_the_density_is_zero_and_the_cdf_full_or_empty():
    bins, probs = RedshiftBins.uniform(0.1, 0.4, 3), torch.full((3,), 1 / 3)
    z = torch.tensor([0.0, 0.5, torch.nan])
    torch.testing.assert_close(
        bins.pdf(probs, z), torch.tensor([0.0, 0.0, torch.nan]), equal_nan=True
    )
    torch.testing.assert_close(
        bins.cdf(probs, z), torch.tensor([0.0, 1.0, torch.nan]), equal_nan=True
    )


def test_a_grid_of_redshifts_broadcasts_against_a_batch():
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    probs = torch.full((3, 4), 0.25)
    grid = torch.linspace(0, 0.4, 5)
    torch.testing.assert_close(bins.cdf(probs[:, None], grid), (grid / 0.4).expand(3, 5))
    with pytest.raises(ValueError, match=r"does not broadcast .*unsqueeze"):
        bins.cdf(probs, grid)


def test_log1p_bins_are_equal_in_velocity_and_end_where_asked():
    bins = RedshiftBins.log1p(0.0, 3.0, 50)
    steps = bins.edges.log1p().diff()
    torch.testing.assert_close(steps, steps.mean().expand(50))
    assert (bins.edges[0], bins.edges[-1]) == (0.0, 3.0)


def test_edges_are_those_of_numpy_to_the_last_digits():
    uniform = RedshiftBins.uniform(0.013, 0.4, 180)
    np.testing.assert_allclose(uniform.edges, np.linspace(0.013, 0.4, 181), rtol=1e-15)
    log1p = RedshiftBins.log1p(0.013, 2.7, 50)
    expected = np.expm1(np.linspace(np.log1p(0.013), np.log1p(2.7), 51))
    np.testing.assert_allclose(log1p.edges, expected, rtol=1e-14)
    assert (log1p.edges[0], log1p.edges[-1]) == (0.013, 2.7)
    for bins in (uniform, log1p):
        edges = bins.edges.numpy()
        np.testing.assert_allclose(bins.centers, (edges[1:] + edges[:-1]) / 2, rtol=1e-15)
        assert np.array_equal(bins.widths, np.diff(edges))


@given(st.lists(st.floats(0, 2), min_size=20, max_size=60, unique=True), st.integers(2, 10))
def test_quantile_bins_are_numpys_quantiles(z, n_bins):
    expected = np.quantile(z, np.linspace(0, 1, n_bins + 1))
    if (np.diff(expected) < 1e-30).any():  # of which float32 has no reciprocal
        return
    np.testing.assert_allclose(RedshiftBins.from_quantiles(z, n_bins).edges, expected, rtol=1e-12)


def test_quantile_bins_of_equal_redshifts_are_refused():
    with pytest.raises(ValueError, match="ask for fewer bins"):
        RedshiftBins.from_quantiles([0.1] * 10 + [0.2], 5)


@pytest.mark.parametrize("width", [2.0**-127, 1e30])
def test_the_narrowest_and_the_widest_bins_have_a_density_in_float32(width):
    bins = RedshiftBins([0.0, width, 2 * width])
    density = bins.density(torch.tensor([[0.25, 0.75]]))
    assert density.isfinite().all()
    assert (density > 0).all()


@given(graded())
def test_float32_masses_give_float32_answers_close_to_float64(case):
    bins, probs, z = case
    for value, exact in (
        (bins.cdf(probs.float(), z), bins.cdf(probs, z)),
        (bins.mean(probs.float()), bins.mean(probs)),
        (bins.quantile(probs.float(), 0.5), bins.quantile(probs.float().double(), 0.5)),
    ):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_masses():
    bins = RedshiftBins([0.0, 0.1, 0.3, 0.4])
    probs = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64, requires_grad=True)
    free = RedshiftBins(bins.edges, validate=False)  # gradcheck steps off the simplex
    z = torch.tensor([0.15])
    for reading in (lambda p: free.cdf(p, z), lambda p: free.quantile(p, 0.4), free.mean):
        assert torch.autograd.gradcheck(reading, probs)


def test_casts_move_the_grid_but_do_not_round_it():
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    edges = bins.edges.clone()
    for cast in (lambda m: m.half(), lambda m: m.to(torch.bfloat16), lambda m: m.float()):
        assert cast(torch.nn.Sequential(bins)) is not None
        assert torch.equal(bins.edges, edges)
        assert bins.widths.dtype == torch.float64
    assert not bins.state_dict()


def test_memory_that_holds_nothing_never_becomes_the_grid():
    """``to_empty``, as deferred initialization calls it: the grid is in no ``state_dict``."""
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    edges = bins.edges.clone()
    torch.nn.Sequential(bins).to_empty(device="cpu")
    assert torch.equal(bins.edges, edges)
    lost = torch.nn.Sequential(bins).to("meta")
    with pytest.raises(RuntimeError, match=r"on the meta device, which keeps no values.*new one"):
        lost.to_empty(device="cpu")


def test_a_grid_that_was_cast_past_to_is_refused():
    """As FSDP's mixed precision casts buffers."""
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    bins.edges.data = bins.edges.data.bfloat16()
    for call in (bins.read_logits, lambda x: bins.mean(x.softmax(-1))):
        with pytest.raises(
            TypeError, match=r"must stay in float64, got torch.bfloat16.*buffer_dty"
        ):
            call(torch.randn(2, 180))


def test_to_moves_every_buffer():
    bins = RedshiftBins.uniform(0.0, 0.4, 4).to("meta")
    assert {buffer.device.type for buffer in bins.buffers()} == {"meta"}
    assert "4 bins" in repr(bins)


def test_copies_and_pickles_are_equal():
    bins = RedshiftBins.log1p(0.0, 2.0, 7)
    for twin in (copy.deepcopy(bins), pickle.loads(pickle.dumps(bins))):
        assert torch.equal(twin.edges, bins.edges)


def test_repr_says_what_the_grid_is():
    assert "180 bins on [0, 0.4], width 0.002222" in repr(RedshiftBins.uniform(0.0, 0.4, 180))
    assert "width 0.1 to 0.9" in repr(RedshiftBins([0.0, 0.1, 1.0]))


def test_validate_false_gives_nan_and_true_always_looks():
    z, logits = torch.tensor([0.9]), torch.zeros(1, 4)
    free = RedshiftBins.uniform(0.0, 0.4, 4, validate=False)
    index, place = free.locate(z, z.shape)
    assert index.tolist() == [3]
    assert place.isnan().all()
    assert free.index(z).tolist() == [-1]
    assert free.read_logits(torch.full((1, 4), 0.25)).shape == logits.shape


def test_where_looking_costs_a_wait_only_the_first_argument_of_each_name_is_looked_at(monkeypatch):
    monkeypatch.setattr("photoz_losses._check.can_read_free", lambda *tensors: False)  # as on a GPU
    z, probs = torch.tensor([0.9]), torch.full((1, 4), 0.25)
    bins = RedshiftBins.uniform(0.0, 0.4, 4)
    for name in ("z_spec", "z_phot"):
        with pytest.raises(ValueError, match=f"{name} must lie in"):
            bins.locate(z, z.shape, name)
        assert bins.locate(z, z.shape, name)[1].isnan().all()
    with pytest.raises(ValueError, match="logits look like probabilities"):
        bins.read_logits(probs)
    assert torch.equal(bins.read_logits(probs), probs)
    always = RedshiftBins.uniform(0.0, 0.4, 4, validate=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="z_spec must lie in"):
            always.locate(z, z.shape)


@pytest.mark.parametrize("edges", [[0.0, 0.1, 0.2], np.linspace(0, 1, 5), torch.linspace(0, 1, 5)])
def test_edges_come_as_list_array_or_tensor(edges):
    bins = RedshiftBins(edges)
    assert bins.edges.dtype == torch.float64
    assert len(bins) == len(edges) - 1


def test_a_float32_redshift_that_became_float64_lies_in_the_grid_too():
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    upper = np.float32(0.4)
    assert bins.index(upper) == bins.index(torch.tensor(upper).double()) == 179
    with pytest.raises(ValueError, match="z must lie in"):
        bins.index(0.4001)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_redshifts_come_as_arrays_of_any_layout(dtype):
    """FITS columns are big-endian, a slice may run backwards, and a memory map is read-only."""
    bins = RedshiftBins([0.0, 0.1, 0.3, 0.4])
    z = np.array([0.1, 0.3, 0.4, 0.05], dtype=dtype)
    z.flags.writeable = False
    assert bins.index(z).tolist() == [0, 1, 2, 0]  # on an edge in their own precision
    assert bins.index(z[::-1]).tolist() == [0, 2, 1, 0]
    assert bins.cdf(torch.full((3,), 1 / 3), z[::-1]).shape == (4,)
    for values in (z, z[::-1], torch.tensor(z.tolist(), requires_grad=True)):
        edges = RedshiftBins.from_quantiles(values, 2).edges
        np.testing.assert_allclose(edges, [0.05, 0.2, 0.4], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_second_softmax_is_refused_in_every_precision(dtype):
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    logits = torch.randn(6, 180, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="logits look like probabilities"):
        bins.read_logits(logits.softmax(-1).to(dtype))
    assert bins.read_logits(logits.to(dtype)).dtype == torch.float32


def test_half_precision_masses_are_read_as_masses_that_sum_to_one():
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    probs = torch.randn(6, 180, generator=torch.Generator().manual_seed(0)).softmax(-1)
    rounded = probs.bfloat16()
    assert (rounded.float().sum(-1) - 1).abs().max() > 1e-4
    torch.testing.assert_close(bins.read_probs(rounded).sum(-1), torch.ones(6))


def test_rows_that_are_no_masses_and_escape_the_check_become_nan():
    free = RedshiftBins.uniform(0.0, 0.4, 4, validate=False)
    rows = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.1, 0.1, 0.1, 0.1], [1.0, 2.0, -3.0, 4.0]])
    assert free.mean(rows).isnan().tolist() == [False, True, True]


def test_masses_that_escape_the_check_have_no_mode_instead_of_bin_0():
    bins = RedshiftBins.uniform(0.0, 0.4, 4, validate=False)
    for row in ([torch.nan] * 4, [5.0, 1.0, 0.0, 0.0]):
        probs = torch.tensor([row])
        for estimate in (bins.mode, bins.mean, bins.median):
            assert estimate(probs).isnan().all()


@given(graded(min_bins=3), st.floats(0.05, 0.95))
def test_leading_dimensions_are_kept_by_every_reading(case, level):
    bins, probs, z = case
    stacked, at = torch.stack([probs, probs.flip(0)]), torch.stack([z, z.flip(0)])
    levels = torch.full_like(z, level)
    for name, *more in (
        ("density",),
        ("pdf", z, at),
        ("cdf", z, at),
        ("quantile", levels, torch.stack([levels, levels])),
        ("mean",),
        ("median",),
        ("mode",),
        ("best",),
        ("read_probs",),
        ("below_edges",),
    ):
        reading = getattr(bins, name)
        each = reading(probs, *more[:1])
        expected = torch.stack([each, each.flip(0)])
        torch.testing.assert_close(reading(stacked, *more[1:]), expected, rtol=1e-13, atol=1e-13)
        single = reading(probs[0], *(part[0] for part in more[:1]))
        torch.testing.assert_close(single, each[0], rtol=1e-13, atol=1e-13)


FOUR = RedshiftBins.uniform(0.0, 0.4, 4)
FLAT = torch.full((2, 4), 0.25)
HALF = torch.tensor([0.1, 0.2], dtype=torch.float16)


@pytest.mark.parametrize(
    ("call", "error", "start"),
    [
        (lambda: RedshiftBins([0.0, torch.nan, 1.0]), ValueError, "edges must be finite"),
        (lambda: RedshiftBins([0.0, 1.0]), ValueError, "edges must be a vector of at least 3 num"),
        (lambda: FOUR.index(0.5), ValueError, "z must lie in [0, 0.4]"),
        (lambda: FOUR.index(HALF), TypeError, "z must be float32 or float64"),
        (lambda: FOUR.index(torch.tensor([1])), TypeError, "z must be a floating-point"),
        (
            lambda: FOUR.index(0.1, "wrap"),
            ValueError,
            "out_of_range must be one of 'raise'",
        ),
        (lambda: FOUR.locate(HALF, HALF.shape), TypeError, "z_spec must be float32"),
        (lambda: FOUR.locate(torch.ones(2), HALF.shape), ValueError, "z_spec must lie in"),
        (lambda: FOUR.locate(torch.ones(2), HALF.shape, "z"), ValueError, "z must lie in"),
        (
            lambda: FOUR.locate(torch.ones(3), HALF.shape),
            ValueError,
            "z_spec must have the shape (2,) of the batch, logits or probs without bins, got (3,)",
        ),
        (lambda: FOUR.read_logits(FLAT), ValueError, "logits look like probabilities"),
        (lambda: FOUR.read_logits(FLAT, "x"), ValueError, "x look like probabilities"),
        (lambda: FOUR.read_logits(FLAT.long()), TypeError, "logits must be a floating-point"),
        (lambda: FOUR.read_logits(FLAT[:, 1:]), ValueError, "logits must have shape (..., 4)"),
        (lambda: FOUR.read_logits(FLAT[0, 0]), ValueError, "logits must have shape (..., 4)"),
        (lambda: FOUR.read_probs(2 * FLAT), ValueError, "probs must be masses per bin"),
        (lambda: FOUR.read_probs(2 * FLAT, "x"), ValueError, "x must be masses per bin"),
        (lambda: FOUR.read_probs(FLAT.long()), TypeError, "probs must be a floating-point"),
        (lambda: FOUR.read_probs(FLAT[:, 1:]), ValueError, "probs must have shape (..., 4)"),
        (lambda: FOUR.shape_of(FLAT[:, 1:]), ValueError, "probs must have shape (..., 4)"),
        (lambda: FOUR.shape_of(FLAT[:, 1:], "x"), ValueError, "x must have shape (..., 4)"),
        (lambda: FOUR.shape_of(FLAT.long(), "x"), TypeError, "x must be a floating-point"),
        (lambda: FOUR.pdf(FLAT, HALF), TypeError, "z must be float32"),
        (lambda: FOUR.cdf(FLAT, HALF), TypeError, "z must be float32"),
        (lambda: FOUR.quantile(FLAT, HALF), TypeError, "q must be float32"),
        (lambda: FOUR.quantile(FLAT, 1.01), ValueError, "q must lie in [0, 1]"),
        (lambda: FOUR.quantile(FLAT, torch.tensor([-0.1, 0.5])), ValueError, "q must lie in"),
        (lambda: FOUR.pdf(FLAT, torch.ones(3)), ValueError, "z of shape (3,) does not broadcast"),
        (lambda: FOUR.quantile(FLAT, torch.ones(3)), ValueError, "q of shape (3,) does not broad"),
        (lambda: FOUR.best(FLAT, 1.0), ValueError, "threshold must lie between 0 and 1, got 1.0"),
        (lambda: FOUR.best(FLAT, 0.0), ValueError, "threshold must lie between 0 and 1, got 0.0"),
        (
            lambda: RedshiftBins([-1.0, 0.0, 1.0]),
            ValueError,
            "edges must lie above -1, where 1 + z is 0, got -1",
        ),
        (lambda: RedshiftBins.uniform(0.4, 0.4, 4), ValueError, "z_min must lie below z_max"),
        (lambda: RedshiftBins.log1p(0.4, 0.4, 4), ValueError, "z_min must lie below z_max"),
        (lambda: RedshiftBins.log1p(-1.0, 0.4, 4), ValueError, "z_min must lie above -1"),
        (lambda: RedshiftBins.uniform(0.0, 0.4, 1), ValueError, "n_bins must be at least 2, got 1"),
        (lambda: RedshiftBins.uniform(0.0, 0.4, 2.0), TypeError, "n_bins must be an integer"),
        (
            lambda: RedshiftBins.from_quantiles([0.1], 2),
            ValueError,
            "z_spec must hold at least",
        ),
        (
            lambda: RedshiftBins.from_quantiles([0.1, 0.2], 1),
            ValueError,
            "n_bins must be at least 2",
        ),
    ],
)
def test_an_error_begins_with_the_argument_it_is_about(call, error, start):
    with pytest.raises(error, match=f"^{re.escape(start)}"):
        call()


def test_the_least_that_each_way_to_make_bins_takes():
    for bins in (
        RedshiftBins([0.0, 0.1, 0.4]),
        RedshiftBins.uniform(-0.5, 0.4, 2),
        RedshiftBins.log1p(-0.999, 0.4, 2),
        RedshiftBins.from_quantiles([0.1, 0.3], 2),
    ):
        assert len(bins) == 2
    assert bins.edges.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda validate: RedshiftBins([0.0, 0.2, 0.4], validate=validate),
        lambda validate: RedshiftBins.uniform(0.0, 0.4, 2, validate=validate),
        lambda validate: RedshiftBins.log1p(0.0, 0.4, 2, validate=validate),
        lambda validate: RedshiftBins.from_quantiles([0.0, 0.2, 0.4], 2, validate=validate),
    ],
    ids=["edges", "uniform", "log1p", "from_quantiles"],
)
def test_every_way_to_make_bins_takes_validate(make):
    z, q, probs = torch.tensor([0.5]), torch.tensor([1.5]), torch.tensor([[0.5, 0.6]])
    for validate in (None, True):
        for call in (
            lambda bins: bins.index(z),
            lambda bins: bins.locate(z, z.shape),
            lambda bins: bins.quantile(torch.tensor([0.5, 0.5]), q),
            lambda bins: bins.read_probs(probs),
        ):
            with pytest.raises(ValueError, match="must"):
                call(make(validate))
    free = make(False)
    assert free.index(z).tolist() == [-1]
    assert free.index(z, "clip").tolist() == [1]
    assert free.index(torch.tensor([torch.nan]), "clip").tolist() == [-1]
    assert free.locate(z, z.shape)[1].isnan().all()
    assert free.quantile(torch.tensor([0.5, 0.5]), q) == 0.4
    assert free.read_probs(probs).isnan().all()


def test_how_far_from_one_a_row_may_sum():
    """1e-3, and 2e-2 in half precision: divided out within, refused beyond."""
    for dtype, within, beyond in (
        (torch.float32, 0.9e-3, 1.1e-3),
        (torch.float64, 0.9e-3, 1.1e-3),
        (torch.float16, 1.8e-2, 2.3e-2),
        (torch.bfloat16, 1.5e-2, 2.4e-2),
    ):
        for sign in (1, -1):
            row = torch.tensor([[0.125, 0.125, 0.25, 0.5]], dtype=torch.float64)
            near = (row * (1 + sign * within)).to(dtype)
            assert FOUR.read_probs(near).sum().item() == pytest.approx(1, abs=1e-6)
            with pytest.raises(ValueError, match="each row summing to 1"):
                FOUR.read_probs((row * (1 + sign * beyond)).to(dtype))


def test_a_float32_first_edge_that_became_float64_lies_in_the_first_bin():
    edge = torch.tensor(0.7)  # which float32 rounds down
    assert edge.double() < 0.7
    assert RedshiftBins([0.7, 0.8, 0.9]).index(edge.double()) == 0


def test_edges_that_float32_moves_outwards_are_the_ends_of_their_bins():
    bins = RedshiftBins([0.7, 0.8, 1.1])
    z = torch.tensor([0.7, 1.1]).double()
    assert z[0] < bins.edges[0]
    assert z[1] > bins.edges[-1]
    index, place = bins.locate(z, z.shape)
    assert index.tolist() == [0, 1]
    assert place.tolist() == [0.0, 1.0]


def test_a_last_edge_beyond_float32_is_refused_though_every_width_is_not():
    with pytest.raises(ValueError, match=r"edges must be numbers that float32 holds, got 4e\+38"):
        RedshiftBins([0.0, 2e38, 4e38])


@pytest.mark.parametrize("reading", ["mean", "median", "mode"])
def test_blocks_change_no_bit_of_a_reading(reading, monkeypatch):
    bins = RedshiftBins.uniform(0.0, 1.0, 7)
    probs = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)).softmax(-1)
    read = getattr(bins, reading)
    whole = read(probs)
    monkeypatch.setattr(_blocks, "AT_ONCE", 4 * 7)
    assert len(_blocks.blocks(len(bins), probs)) == 4
    assert torch.equal(read(probs), whole)


def test_one_row_without_a_mode_leaves_the_others_theirs():
    bins = RedshiftBins([0.0, 0.1, 0.2])
    probs = torch.tensor([[torch.nan, 1.0], [0.2, 0.8]], dtype=torch.float64)
    mode = RedshiftBins(bins.edges, validate=False).mode(probs)
    assert mode.isnan().tolist() == [True, False]
    assert mode[1] == bins.centers[1]

"""What all torchmetrics classes rest on: kept columns, histograms, and what may not spoil them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch._subclasses import FakeTensorMode
from torchmetrics import MetricCollection

from photoz_losses import RedshiftBins
from photoz_losses.metrics._samples import SampleMetric, digest
from photoz_losses.metrics._streaming import StreamingMetric


class Kept(SampleMetric):
    """Every number, in the order in which it came, and its weight."""

    def __init__(self, **options):
        super().__init__({"x": (-1.0, 1.0)}, **options)

    def update(self, x, weights=None):
        if x.device.type == "cpu" and (x < -5).any():
            raise ValueError("a bad batch")
        self._keep(x=x, weights=weights)

    def compute(self):
        values, weights = self._sample("x")
        return values if weights is None else torch.stack([values, weights])


class Mean(StreamingMetric):
    """A metric of sums."""

    def __init__(self, **options):
        super().__init__(**options)
        self.add_state("total", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x):
        if x.device.type == "cpu" and (x < -5).any():
            raise ValueError("a bad batch")
        self.total = self.total + torch.stack([x.double().sum(), x.new_tensor(len(x))])

    def compute(self):
        return self.total[:1] / self.total[1]


both = pytest.mark.parametrize("make", [Kept, Mean])
A, B = torch.tensor([0.1, 0.3], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
BAD = torch.tensor([-9.0], dtype=torch.float64)


def after(make, *batches, **options):
    metric = make(**options)
    for batch in batches:
        metric.update(batch)
    return metric


@both
@pytest.mark.parametrize("how", ["update", "forward"])
def test_a_bad_batch_leaves_what_was_seen_before(make, how):
    metric = after(make, A)
    with pytest.raises(ValueError, match="a bad batch"):
        (metric if how == "forward" else metric.update)(BAD)
    metric.update(B)
    assert torch.equal(metric.compute(), after(make, A, B).compute())
    metric(B)
    assert torch.equal(metric.compute(), after(make, A, B, B).compute())


def test_a_bad_batch_is_forgotten_whatever_the_options():
    metric = after(Kept, A, compute_on_cpu=True, dist_sync_on_step=True)
    with pytest.raises(ValueError, match="a bad batch"):
        metric(BAD)
    assert metric.compute_on_cpu
    assert metric.update_count == 1
    assert torch.equal(metric.compute(), A)


@both
@pytest.mark.parametrize(
    "cast",
    [
        lambda m: m.half(),
        lambda m: m.to(torch.float16),
        lambda m: m.set_dtype(torch.float32),
        lambda m: torch.nn.ModuleList([m]).to(torch.bfloat16)[0],
        lambda m: torch.nn.ModuleList([m]).float()[0],
    ],
)
def test_no_cast_rounds_what_is_kept(make, cast):
    expected = after(make, A, B).compute()
    metric = cast(after(make, A))
    metric.update(B)
    assert torch.equal(metric.compute(), expected)
    assert metric.dtype == torch.float64
    metric.reset()
    metric.update(A)
    metric.update(B)
    assert torch.equal(metric.compute(), expected)


@both
def test_a_cast_that_comes_last_does_not_round_either(make):
    expected = after(make, A, B).compute()
    metric = after(make, A, B)
    metric.compute()
    assert torch.equal(metric.to(torch.float16).compute(), expected)


@both
def test_a_result_of_one_number_keeps_its_shape(make):
    metric = after(make, B)
    for twin in (metric, copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert twin.compute().shape == (1,)
        assert twin.compute().shape == (1,)  # kept from before
    assert metric(B).shape == (1,)


@both
def test_states_are_saved_only_if_asked_for(make):
    metric = after(make, A)
    assert not metric.state_dict()
    metric.persistent(True)
    assert metric.state_dict()


@both
def test_a_loaded_metric_goes_on_by_itself(make, tmp_path):
    metric = after(make, A)
    metric.persistent(True)
    torch.save(metric.state_dict(), tmp_path / "metric.pt")
    saved = torch.load(tmp_path / "metric.pt", weights_only=True)
    restored = after(make, B)
    restored.compute()  # what it knew is forgotten, also what it keeps in its cache
    restored.load_state_dict(saved)
    assert torch.equal(restored.compute(), metric.compute())
    restored.update(B)
    assert torch.equal(restored.compute(), after(make, A, B).compute())
    fresh = make()
    fresh.load_state_dict(saved)  # neither warns that it has seen nothing, nor moved with the other
    assert torch.equal(fresh.compute(), metric.compute())


def test_what_other_options_kept_is_refused():
    metric = after(Kept, A, identity=("one",))
    metric.persistent(True)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Kept(identity=("other",)).load_state_dict(metric.state_dict())


@both
def test_a_collection_forwards_and_updates_in_turn(make):
    metrics = MetricCollection({"one": make(), "other": make()})
    metrics.update(A)
    metrics(B)
    for metric in metrics.values(copy_state=False):  # of which the next update looks at one only
        assert torch.equal(metric.compute().sort().values, after(make, A, B).compute())
    metrics.update(A)
    metrics.compute()
    metrics.reset()
    metrics(A)
    metrics.update(B)
    for value in metrics.compute().values():
        assert torch.equal(value, after(make, A, B).compute())


def test_metrics_of_other_options_are_never_taken_for_one():
    grids = [RedshiftBins([0.0, 0.5, 1.0]), RedshiftBins([0.0, 0.4, 1.0])]
    options = [
        *({"identity": (bins,)} for bins in grids),
        *({"identity": (grids[0], word)} for word in ("a", "b")),
        *({"approximate": n} for n in (4, 5)),
        {"approximate": 4, "edges": (0.3,)},
        {"weighted": True},
        {},
    ]
    metrics = MetricCollection({str(i): Kept(**option) for i, option in enumerate(options)})
    metrics.update(A[:0])
    assert len(metrics.compute_groups) == len(options)
    metrics.update(A)
    for i, option in enumerate(options):
        value = metrics[str(i)].compute()
        assert torch.equal(value.nan_to_num(), after(Kept, A, **option).compute().nan_to_num())
    twins = MetricCollection(
        {"one": Kept(identity=(grids[0],)), "other": Kept(identity=(grids[0],))}
    )
    twins.update(A)
    assert len(twins.compute_groups) == 1


def test_a_digest_tells_apart_and_is_the_same_in_every_process():
    assert digest("a", 1) == digest("a", 1) == "056f7d05"
    assert len({digest("a", "b"), digest("ab"), digest("a", "b", None), digest()}) == 4


def test_weights_may_come_with_some_batches_only():
    metric = Kept(weighted=True)
    metric.update(A)
    assert torch.equal(metric.compute(), A)
    metric.update(B, torch.tensor([3]))
    expected = torch.stack([torch.cat([A, B]), torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)])
    assert torch.equal(metric.compute(), expected)


def test_what_is_kept_lies_on_the_cpu_where_asked():
    with FakeTensorMode(allow_non_fake_inputs=True):
        for on_cpu, device in ((True, "cpu"), (False, "cuda")):
            metric = Kept(compute_on_cpu=on_cpu)
            metric.update(torch.empty(3, device="cuda"))
            assert [
                part.device.type for part in metric.metric_state[metric._name["x", "values"]]
            ] == [device]
    assert torch.equal(after(Kept, A, B, compute_on_cpu=True).compute(), torch.cat([A, B]))


# Histograms --------------------------------------------------------------------------------------


@st.composite
def numbers(draw):
    """Numbers within and beyond [-1, 1], edges of histograms among them, in two batches."""
    element = st.one_of(st.floats(-1.5, 1.5), st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.5, 1.0]))
    values = torch.from_numpy(draw(hnp.arrays(float, st.integers(1, 30), elements=element)))
    return values, draw(st.integers(0, len(values)))


def counted(values, cut, n_bins, weights=None, **options):
    metric = Kept(approximate=n_bins, weighted=True, **options)
    for rows in (slice(cut), slice(cut, None)):
        metric.update(values[rows], None if weights is None else weights[rows])
    return metric


@given(numbers(), st.integers(2, 50))
def test_a_histogram_counts_every_number_once_within_half_a_bin(case, n_bins):
    values, cut = case
    centres, counts = counted(values, cut, n_bins).compute()
    assert counts.sum() == len(values)
    ordered = centres.repeat_interleave(counts.long())
    for exact, approximate in zip(values.sort().values, ordered, strict=True):
        if exact.abs() <= 1:
            assert (exact - approximate).abs() <= 1 / n_bins + 1e-12
        else:
            assert approximate == exact.sign() * torch.inf


@given(numbers(), st.integers(2, 50), st.floats(0.01, 0.99))
def test_the_fraction_beyond_an_edge_is_exact(case, n_bins, edge):
    values, cut = case
    values = torch.cat([values, torch.tensor([edge, -edge], dtype=torch.float64)])
    metric = counted(values, cut, n_bins, edges=(-edge, edge))
    centres, counts = metric.compute()
    assert counts[centres.abs() > edge].sum() == (values.abs() > edge).sum()


@given(numbers(), st.data())
def test_moments_are_exact_with_and_without_a_histogram(case, data):
    values, cut = case
    drawn = data.draw(hnp.arrays(float, len(values), elements=st.floats(0, 3)))
    expected = [drawn.sum(), (drawn * values.numpy()).sum(), (drawn * values.numpy() ** 2).sum()]
    for n_bins in (None, 3):
        metric = counted(values, cut, n_bins, weights=torch.from_numpy(drawn.copy()))
        np.testing.assert_allclose(
            torch.stack(metric._moments("x")), expected, rtol=1e-12, atol=1e-12
        )


@settings(max_examples=20)
@given(numbers())
def test_a_number_of_no_weight_is_none(case):
    values, cut = case
    weights = torch.ones(len(values) + 1, dtype=torch.float64)
    weights[-1] = 0
    with_nan = torch.cat([values, values.new_tensor([torch.nan])])
    for n_bins in (None, 4):
        metric = counted(with_nan, cut, n_bins, weights=weights)
        alone = counted(values, cut, n_bins)
        torch.testing.assert_close(metric._moments("x"), alone._moments("x"), rtol=1e-14, atol=0)
    assert metric.compute()[1, -1] == 0


def test_nan_is_counted_as_nan():
    centres, counts = counted(torch.tensor([0.1, torch.nan]), 1, 4).compute()
    assert counts[centres.isnan()].item() == 1
    assert counted(torch.tensor([0.1, torch.nan]), 1, 4)._moments("x")[1].isnan()


def test_a_histogram_does_not_grow():
    metric = counted(torch.zeros(10_000), 100, 10)
    assert sum(state.numel() for state in metric.metric_state.values()) < 20


@pytest.mark.parametrize(
    ("n_bins", "error"), [(1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_a_number_of_bins_that_is_none_is_refused(n_bins, error):
    with pytest.raises(error, match="approximate must be"):
        Kept(approximate=n_bins)

"""The probability integral transform: its value, its direction, and uniform under the truth."""

import copy
import pickle

import numpy as np
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kstest
from strategies import graded, masses, redshift_bins
from torchmetrics import MetricCollection

from photoz_losses import RedshiftBins
from photoz_losses.metrics import PIT, pit

UNEVEN = RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 1.5])


def population(galaxies=4000, seed=0):
    """Densities on `UNEVEN`, all different, with the bin and the redshift of a draw from each."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(galaxies, len(UNEVEN), generator=generator, dtype=torch.float64)
    probs = logits.softmax(-1)
    drawn = torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    place = torch.rand(galaxies, generator=generator, dtype=torch.float64)
    return probs, drawn, UNEVEN.edges[drawn] + place * UNEVEN.widths[drawn]


@given(graded())
def test_pit_is_the_mass_below_the_truth(case):
    bins, probs, z_spec = case
    rows = zip(probs.tolist(), z_spec.tolist(), strict=True)
    expected = [reference.cdf(bins.edges.tolist(), row, z) for row, z in rows]
    np.testing.assert_allclose(pit(probs, z_spec, bins), expected, atol=1e-9)


@given(graded())
def test_pit_lies_between_zero_and_one(case):
    bins, probs, z_spec = case
    values = pit(probs, z_spec, bins)
    assert ((values >= 0) & (values <= 1)).all()


@given(st.data())
def test_pit_rises_from_zero_to_one_as_the_truth_crosses_the_grid(data):
    bins = data.draw(redshift_bins())
    row = data.draw(masses(len(bins), batch=1))
    place = data.draw(hnp.arrays(float, 9, elements=st.floats(0, 1)))
    span = bins.edges[-1] - bins.edges[0]
    z_spec = (bins.edges[0] + torch.from_numpy(np.sort(place)) * span).clamp(max=bins.edges[-1])
    z_spec = torch.cat([bins.edges[:1], z_spec, bins.edges[-1:]])
    values = pit(row.expand(len(z_spec), -1), z_spec, bins)
    assert values[0] == 0
    assert values[-1] == 1
    assert (values.diff() >= 0).all()


@given(st.data())
def test_pit_undoes_the_quantile(data):
    bins = data.draw(redshift_bins())
    probs = data.draw(masses(len(bins)))
    level = data.draw(hnp.arrays(float, len(probs), elements=st.floats(0.001, 0.999)))
    level = torch.from_numpy(level)
    z_spec = bins.quantile(probs, level).clamp(bins.edges[0], bins.edges[-1])
    # a thin bin of much mass turns the last bit of a redshift into 1e-13 of mass
    assert torch.allclose(pit(probs, z_spec, bins), level, atol=1e-9)


def test_pit_is_uniform_where_the_truth_is_drawn_from_the_density():
    probs, _, z_spec = population()
    assert kstest(pit(probs, z_spec, UNEVEN), "uniform").pvalue > 1e-3


def test_pit_is_not_uniform_for_densities_of_other_galaxies():
    probs, _, z_spec = population()
    assert kstest(pit(probs.roll(1, 0), z_spec, UNEVEN), "uniform").pvalue < 1e-9


def test_a_density_that_lies_too_low_gives_large_pits():
    low = torch.tensor([[0.9, 0.1, 0, 0, 0, 0]], dtype=torch.float64)
    assert pit(low, torch.tensor([0.4]), UNEVEN).item() == 1
    assert pit(low.flip(-1), torch.tensor([0.005]), UNEVEN).item() == 0


# Redshifts known to a bin only -----------------------------------------------------------------


@given(graded(), st.integers(0, 2**32))
def test_randomized_pit_lies_within_the_bin_of_the_truth(case, seed):
    bins, probs, z_spec = case
    generator = torch.Generator().manual_seed(seed)
    values = pit(probs, z_spec, bins, randomized=True, generator=generator)
    own = bins.index(z_spec)
    low = pit(probs, bins.edges[own], bins)
    high = pit(probs, bins.edges[own + 1], bins)
    assert ((low - 1e-9 <= values) & (values <= high + 1e-9)).all()


def test_only_the_randomized_pit_is_uniform_for_redshifts_known_to_a_bin():
    probs, drawn, _ = population()
    z_spec = UNEVEN.centers[drawn]
    generator = torch.Generator().manual_seed(1)
    values = pit(probs, z_spec, UNEVEN, randomized=True, generator=generator)
    assert kstest(values, "uniform").pvalue > 1e-3
    assert kstest(pit(probs, z_spec, UNEVEN), "uniform").pvalue < 1e-3


def test_randomized_pit_is_reproducible_and_each_galaxy_its_own_draw():
    probs = torch.full((50, 6), 1 / 6, dtype=torch.float64)
    z_spec = torch.full((50,), 0.1)
    one, other = (
        pit(probs, z_spec, UNEVEN, randomized=True, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    assert torch.equal(one, other)
    assert len(one.unique()) == 50


def test_the_place_in_the_bin_is_the_generators_own_draw_in_float64():
    probs = torch.full((50, 6), 1 / 6, dtype=torch.float64)
    z_spec = torch.full((50,), 0.1)  # in the third bin
    generator = torch.Generator().manual_seed(3)
    values = pit(probs, z_spec, UNEVEN, randomized=True, generator=generator)
    draws = torch.rand(50, generator=generator.manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(values, (2 + draws) / 6, rtol=1e-14, atol=0)


def test_classes_of_other_options_keep_samples_of_their_own():
    generator = torch.Generator().manual_seed(3)
    both = MetricCollection(
        {
            "exact": PIT(UNEVEN),
            "drawn": PIT(UNEVEN, randomized=True, generator=generator),
            "coarser": PIT(RedshiftBins([0.0, 0.01, 0.05, 0.2, 0.22, 0.5, 2.5])),
        }
    )
    probs, _, z_spec = population(galaxies=20)
    both.update(probs[:0], z_spec[:0])  # after which their states are the same
    both.update(probs, z_spec)
    values = both.compute()
    assert not torch.equal(values["exact"], values["drawn"])
    assert not torch.equal(values["exact"], values["coarser"])


def test_without_a_generator_torch_manual_seed_decides():
    probs, z_spec = torch.full((5, 6), 1 / 6), torch.full((5,), 0.1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = pit(probs, z_spec, UNEVEN, randomized=True)
        torch.manual_seed(5)
        assert torch.equal(pit(probs, z_spec, UNEVEN, randomized=True), first)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_class_goes_on_with_the_same_draws(copied):
    metric = PIT(UNEVEN, randomized=True, generator=torch.Generator().manual_seed(3))
    twin = copied(metric)
    for each in (metric, twin):
        each.update(torch.full((5, 6), 1 / 6), torch.full((5,), 0.1))
    assert torch.equal(metric.compute(), twin.compute())


# Shapes and types ------------------------------------------------------------------------------


@given(graded())
def test_leading_dimensions_are_kept(case):
    bins, probs, z_spec = case
    stacked = pit(torch.stack([probs, probs]), torch.stack([z_spec, z_spec]), bins)
    single = pit(probs, z_spec, bins)
    assert torch.equal(stacked, torch.stack([single, single]))


@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
    ids=str,
)
def test_result_type(given_type, result):
    probs = torch.tensor([[0.25, 0.25, 0.5, 0, 0, 0]], dtype=given_type)
    value = pit(probs, torch.tensor([0.05]), UNEVEN)
    assert value.dtype == result
    assert value.item() == pytest.approx(0.5, abs=1e-6)


def test_a_redshift_that_escapes_the_check_gives_nan():
    bins = RedshiftBins(UNEVEN.edges, validate=False)
    probs = torch.full((3, 6), 1 / 6)
    z_spec = torch.tensor([-0.1, torch.nan, 1.6])
    for randomized in (False, True):
        assert pit(probs, z_spec, bins, randomized=randomized).isnan().all()


@pytest.mark.parametrize(
    ("call", "error", "start"),
    [
        (lambda p, z: pit(p.long(), z, UNEVEN), TypeError, "probs must be a floating-point"),
        (lambda p, z: pit(p[:, 1:], z, UNEVEN), ValueError, r"probs must have shape \(\.\.\., 6\)"),
        (lambda p, z: pit(2 * p, z, UNEVEN), ValueError, "probs must be masses per bin"),
        (lambda p, z: pit(p, z[1:], UNEVEN), ValueError, r"z_spec must have the shape \(3,\)"),
        (lambda p, z: pit(p, z + 9, UNEVEN), ValueError, r"z_spec must lie in \[0, 1.5\]"),
        (lambda p, z: pit(p, z.half(), UNEVEN), TypeError, "z_spec must be float32 or float64"),
        (lambda p, z: PIT(UNEVEN).update(p, z + 9), ValueError, "z_spec must lie in"),
        (lambda p, z: PIT(UNEVEN, approximate=9), TypeError, "approximate is no option of PIT"),
    ],
)
def test_an_error_begins_with_the_argument_it_is_about(call, error, start):
    with pytest.raises(error, match=f"^{start}"):
        call(torch.full((3, 6), 1 / 6), torch.full((3,), 0.1))


def test_the_class_keeps_float64_no_gradient_and_its_options():
    probs = torch.full((4, 6), 1 / 6, requires_grad=True)
    z_spec = torch.tensor([0.005, 0.1, 0.21, 1.0])
    metric = PIT(UNEVEN)
    metric.update(probs[:1], z_spec[:1])
    metric.update(probs[1:], z_spec[1:])
    value = metric.compute()
    assert value.dtype == torch.float64
    assert not value.requires_grad
    torch.testing.assert_close(
        value, pit(probs.detach().double(), z_spec, UNEVEN), atol=1e-7, rtol=0
    )
    randomized = PIT(UNEVEN, randomized=True, generator=torch.Generator().manual_seed(3))
    randomized.update(probs, z_spec)
    generator = torch.Generator().manual_seed(3)
    expected = pit(probs, z_spec, UNEVEN, randomized=True, generator=generator)
    torch.testing.assert_close(randomized.compute().float(), expected.detach())
    assert not torch.equal(randomized.compute(), value)
    assert PIT(UNEVEN).sync_on_compute
    assert not PIT(UNEVEN, sync_on_compute=False).sync_on_compute


def test_many_galaxies_in_blocks_equal_their_halves():
    probs, _, z_spec = population(galaxies=24_000)  # more numbers than go at once
    halves = [pit(p, z, UNEVEN) for p, z in zip(probs.chunk(8), z_spec.chunk(8), strict=True)]
    assert torch.equal(pit(probs, z_spec, UNEVEN), torch.cat(halves))
    shaped = pit(probs.reshape(4, 6000, 6), z_spec.reshape(4, 6000), UNEVEN)
    assert torch.equal(shaped, torch.cat(halves).reshape(4, 6000))

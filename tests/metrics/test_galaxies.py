"""All scores of each galaxy at once, and in blocks: what the single functions give, to the bit."""

import math

import pytest
import torch
from hypothesis import given
from strategies import graded

from photoz_losses import RedshiftBins, _blocks, metrics
from photoz_losses.metrics import galaxy_scores

GRIDS = [RedshiftBins.uniform(0.0, 0.4, 180), RedshiftBins.log1p(0.0, 3.0, 150)]


def one_by_one(probs, z_spec, bins):
    each = {"reduction": "none"}
    return {
        "pit": metrics.pit(probs, z_spec, bins),
        "cde_loss": metrics.cde_loss(probs, z_spec, bins, **each),
        "crps": metrics.crps(probs, z_spec, bins, **each),
        "log_score": metrics.log_score(probs, z_spec, bins, **each),
        "brier": metrics.brier(probs, z_spec, bins, **each),
        "entropy": metrics.entropy(probs, bins, **each),
        "credibility_central": metrics.credibility(probs, z_spec, bins),
        "credibility_highest_density": metrics.credibility(
            probs, z_spec, bins, interval="highest_density"
        ),
        "mean": bins.mean(probs),
        "median": bins.median(probs),
        "mode": bins.mode(probs),
    }


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


def galaxies(bins, shape, dtype=torch.float64):
    """Random densities; the first redshifts lie on edges of the bins, and on both ends."""
    generator, number = torch.Generator().manual_seed(0), math.prod(shape)
    draws = torch.rand(number + 4, generator=generator, dtype=torch.float64)
    logits = torch.randn(number, len(bins), generator=generator, dtype=torch.float64)
    z = torch.lerp(bins.edges[0], bins.edges[-1], draws)
    z[:4] = bins.edges[[1, 0, -2, -1]]
    probs = (3 * logits).softmax(-1).to(dtype)
    return probs.reshape(*shape, len(bins)), z[:number].reshape(shape)


@given(graded())
def test_together_they_are_the_single_functions(case):
    bins, probs, z_spec = case
    assert_same(galaxy_scores(probs, z_spec, bins), one_by_one(probs, z_spec, bins))


@pytest.mark.parametrize("bins", GRIDS, ids=["uniform", "log1p"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2001,), (3, 667), (0,), ()])
def test_blocks_change_no_bit(bins, dtype, shape, monkeypatch):
    probs, z_spec = galaxies(bins, shape, dtype)
    many = probs.numel() > _blocks.AT_ONCE
    assert (len(_blocks.blocks(len(bins), probs)) > 1) == many
    found, single = galaxy_scores(probs, z_spec, bins), one_by_one(probs, z_spec, bins)
    assert_same(found, single)
    monkeypatch.setattr(_blocks, "AT_ONCE", 2**40)
    assert_same(found, galaxy_scores(probs, z_spec, bins))
    assert_same(single, one_by_one(probs, z_spec, bins))
    assert all(value.shape == shape for value in found.values())
    result = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(v.dtype == result for n, v in found.items() if "credibility" not in n)


def test_a_fault_beyond_the_first_block_is_refused():
    bins = GRIDS[0]
    probs, z_spec = galaxies(bins, (2001,))
    with pytest.raises(ValueError, match=r"1 of 2001 do not.* at index 1999"):
        galaxy_scores(probs, z_spec.index_fill(0, torch.tensor(1999), torch.nan), bins)
    probs[2000, 3] = torch.nan
    with pytest.raises(ValueError, match="probs must be masses"):
        galaxy_scores(probs, z_spec, bins)


def test_a_redshift_that_escapes_the_check_gives_nan_where_it_matters():
    bins = RedshiftBins(GRIDS[0].edges, validate=False)
    probs, z_spec = galaxies(bins, (2001,))
    z_spec[[5, 2000]] = torch.tensor([torch.nan, 0.5], dtype=torch.float64)
    for name, value in galaxy_scores(probs, z_spec, bins).items():
        missing = [] if name in ("entropy", "mean", "median", "mode") else [5, 2000]
        assert value.isnan().nonzero().flatten().tolist() == missing, name


def test_a_gradient_goes_through_as_for_few_galaxies():
    bins = GRIDS[0]
    probs, z_spec = galaxies(bins, (801,))
    whole = probs.clone().requires_grad_()
    metrics.crps(whole, z_spec, bins, reduction="sum").backward()
    few = probs[-5:].clone().requires_grad_()
    metrics.crps(few, z_spec[-5:], bins, reduction="sum").backward()
    torch.testing.assert_close(whole.grad[-5:], few.grad, rtol=1e-13, atol=1e-15)


def test_no_values_no_blocks():
    bins = RedshiftBins.uniform(0.0, 0.4, 180).to("meta")
    probs, z_spec = torch.empty(2001, 180, device="meta"), torch.empty(2001, device="meta")
    assert all(v.shape == (2001,) for v in galaxy_scores(probs, z_spec, bins).values())


@pytest.mark.slow
def test_it_compiles_as_the_single_functions_do():
    bins = RedshiftBins.uniform(0.0, 0.4, 20)
    probs, z_spec = galaxies(bins, (7,))
    compiled = torch.compile(galaxy_scores, fullgraph=True, backend="aot_eager")
    for name, value in compiled(probs, z_spec, bins).items():
        torch.testing.assert_close(value, galaxy_scores(probs, z_spec, bins)[name])

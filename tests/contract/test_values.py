"""What a value is: the same from function and Module, from a batch and from its galaxies."""

import pytest
import torch
from contract.inputs import EDGES, MIN_SNR, batch, grid, photometry
from contract.laws import (
    PROMISED,
    arguments,
    assert_same,
    function_of,
    law,
    leaves,
    module_of,
    run,
    unreduced,
)

from photoz_losses import RedshiftBins, flux_residual


@law(*PROMISED)
def test_function_equals_module(entry):
    assert entry.build is not None, "there is no pair"
    values, function = arguments(entry), function_of(entry)
    options = [{"reduction": name} for name in ("mean", "sum", "none")] if entry.reduces else [{}]
    for option in options:
        expected = function(*values, **option)
        module = module_of(entry, **option)
        exact = {"rtol": 0, "atol": 0} if entry.kind == "loss" else {"check_dtype": False}
        ours = run(entry, module, values)
        if isinstance(ours, dict):  # by name: a collection has an order of its own
            ours, expected = dict(sorted(ours.items())), dict(sorted(expected.items()))
            assert ours.keys() == expected.keys()
        assert_same(ours, expected, **exact)
        assert "(" in repr(module)


@law(*PROMISED)
def test_reductions_agree(entry):
    values, function = arguments(entry), function_of(entry)
    each = function(*values, reduction="none")
    assert each.shape == (4,)
    torch.testing.assert_close(function(*values), each.mean())
    torch.testing.assert_close(function(*values, reduction="mean"), each.mean())
    torch.testing.assert_close(function(*values, reduction="sum"), each.sum())
    if entry.build is not None:
        module = module_of(entry, reduction="sum")
        torch.testing.assert_close(run(entry, module, values), each.sum())
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        function(*values, reduction="average")


@law(*PROMISED)
def test_a_batch_is_its_singles(entry):
    """A class that takes galaxies in one by one has seen the batch."""
    values = arguments(entry)
    singles = [[x[i : i + 1] for x in values] for i in range(4)]
    if entry.kind == "metric":
        metric = module_of(entry)
        results = [run(entry, metric, single) for single in singles]
        return assert_same(results[-1], unreduced(entry, values))
    parts = zip(*(leaves(unreduced(entry, single)) for single in singles), strict=True)
    return assert_same([torch.cat(part) for part in parts], unreduced(entry, values))


@law(*PROMISED)
def test_a_permutation_permutes(entry):
    """What has no number for each galaxy stays as it is."""
    values, order = arguments(entry), torch.tensor([2, 0, 3, 1])
    expected = leaves(unreduced(entry, values))
    permuted = unreduced(entry, [x[order] for x in values])
    assert_same(permuted, [x[order] for x in expected] if entry.each else expected)


@law(*PROMISED)
def test_leading_dimensions_are_free(entry):
    values = arguments(entry)
    expected = leaves(unreduced(entry, values))
    folded = leaves(unreduced(entry, [x.unflatten(0, (2, 2)) for x in values]))
    if entry.each and entry.kind != "metric":
        expected = [x.unflatten(0, (2, 2)) for x in expected]
    assert_same(folded, expected)


@law(*PROMISED)
def test_an_empty_batch_gives_an_empty_answer(entry):
    """A mean or a median of no galaxies is NaN; a count of them is 0."""
    for part in leaves(unreduced(entry, [x[:0] for x in arguments(entry)])):
        if entry.each:
            assert part.shape == (0,)
        else:
            assert (part.isnan() if part.is_floating_point() else part == 0).all()


@law("loss")
def test_a_shift_of_all_logits_changes_nothing(entry):
    values, function = arguments(entry), function_of(entry)
    shifted = [
        x + 3 if name in ("logits", "other") else x
        for name, x in zip(entry.inputs, values, strict=True)
    ]
    torch.testing.assert_close(function(*shifted), function(*values))


@law("loss", "score", where=lambda entry: "z_spec" in entry.inputs)
@pytest.mark.parametrize("bad", [torch.nan, -0.1, 0.41, torch.inf])
def test_a_redshift_outside_escapes_nowhere(entry, bad):
    values, function = arguments(entry), function_of(entry)
    values[entry.inputs.index("z_spec")] = torch.tensor([0.1, 0.2, bad, 0.3])
    with pytest.raises(ValueError, match=r"z_spec must lie in \[0, 0.4\]"):
        function(*values)


@law("loss", "score", where=lambda entry: "z_spec" in entry.inputs)
@pytest.mark.parametrize("bad", [-0.1, 0.5])
def test_a_redshift_outside_that_no_check_saw_is_never_a_score(entry, bad):
    assert_poisons_its_galaxy_alone(entry, bad)


@law("loss", "score", where=lambda entry: "z_spec" in entry.inputs)
def test_an_unknown_redshift_that_no_check_saw_is_never_a_score(entry):
    assert_poisons_its_galaxy_alone(entry, torch.nan)


def assert_poisons_its_galaxy_alone(entry, bad):
    """Value and gradient: on a device, and where the grid asks for no look, no check sees it."""
    function = function_of(entry)
    function.stands_on["bins"] = RedshiftBins(EDGES, validate=False)
    values = arguments(entry)
    values[entry.inputs.index("z_spec")] = torch.tensor([0.1, bad, 0.2, 0.3])
    values[0].requires_grad_()
    value = run(entry, function, values, **({"reduction": "none"} if entry.reduces else {}))
    assert value.isnan().tolist() == [False, True, False, False]
    if entry.kind == "loss":
        value.sum().backward()
        assert values[0].grad.isnan().any(-1).tolist() == [False, True, False, False]


def test_the_batch_of_the_table_has_bands_on_both_sides_of_min_snr():
    values = batch()
    options = {"ivar": values["ivar"], "min_snr": MIN_SNR}
    _, weight = flux_residual(photometry(), values["spectrum"], values["z_spec"], grid(), **options)
    assert 0 < weight.sum() < weight.numel()

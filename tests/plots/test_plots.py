"""What each picture shows, read back from its Axes."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes

from photoz_losses import RedshiftBins
from photoz_losses.plots import plot_densities, plot_pit, plot_redshifts


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_pit_bars_are_relative_frequencies_with_the_binomial_band():
    values = torch.tensor([0.05, 0.05, 0.15, 0.95])
    axes = plot_pit(values, n_bins=10)
    band, *bars = axes.patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], [5, 2.5, *[0] * 7, 2.5])
    assert band.get_y() <= 1 <= band.get_y() + band.get_height()


def test_redshifts_draws_every_outlier_as_a_point_and_the_others_as_density():
    z_spec = torch.linspace(0.01, 0.3, 40)
    z_phot = z_spec.clone()
    z_phot[:3] += 0.5
    axes = plot_redshifts(z_phot, z_spec, threshold=0.15)
    points = axes.lines[-1]
    np.testing.assert_allclose(points.get_xdata(), z_spec[:3])
    np.testing.assert_allclose(points.get_ydata(), z_phot[:3])
    assert axes.collections[0].get_array().sum() == 37
    assert "3 outliers of 40" in axes.get_legend().get_texts()[0].get_text()


def test_redshifts_of_outliers_only_still_draws():
    z_spec = torch.full((3,), 0.1)
    assert not plot_redshifts(z_spec + 1, z_spec).collections


def test_densities_draws_a_step_line_a_view_and_the_truth():
    bins = RedshiftBins([0.0, 0.1, 0.4])
    probs = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    axes = plot_densities(probs, bins, z_spec=torch.tensor(0.2))
    steps = [patch.get_data() for patch in axes.patches]
    np.testing.assert_allclose([step.values for step in steps], [[5, 5 / 3], [10, 0]], rtol=1e-6)
    np.testing.assert_allclose(steps[0].edges, bins.edges)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 0.2)


@pytest.mark.parametrize("given", [True, False])
def test_each_draws_on_the_axes_given_or_on_new_ones(given):
    bins = RedshiftBins([0.0, 0.1, 0.4])
    z = torch.tensor([0.1, 0.2])
    for draw in (
        lambda ax: plot_pit(z, ax=ax),
        lambda ax: plot_redshifts(z, z, ax=ax),
        lambda ax: plot_densities(torch.full((1, 2), 0.5), bins, ax=ax),
    ):
        ax = pyplot.subplots()[1] if given else None
        axes = draw(ax)
        assert isinstance(axes, Axes)
        assert not given or axes is ax
        assert axes.get_xlabel()
        assert axes.get_ylabel()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_pit(torch.empty(0)), r"pit must hold values in \[0, 1\]"),
        (lambda: plot_pit(torch.tensor([0.5, torch.nan])), r"pit must hold values in \[0, 1\]"),
        (lambda: plot_redshifts(torch.zeros(2), torch.zeros(3)), "z_spec must have the shape"),
        (lambda: plot_redshifts(torch.zeros(0), torch.zeros(0)), "are empty"),
        (lambda: plot_densities(torch.ones(2), RedshiftBins([0, 1, 2])), "probs must have shape"),
    ],
)
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

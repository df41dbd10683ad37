"""What each picture shows, read back from its Axes."""

import numpy as np
import pytest
import torch
from errors.test_errors import CASES
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from scipy import stats

from photoz_losses import RedshiftBins
from photoz_losses.plots import (
    plot_binned,
    plot_coverage,
    plot_densities,
    plot_gallery,
    plot_nz,
    plot_pit,
    plot_pp,
    plot_redshifts,
)

BINS = RedshiftBins([0.0, 0.1, 0.4])
Z = torch.tensor([0.1, 0.2])
HALVES = torch.full((2, 2), 0.5)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.mark.parametrize(
    ("call", "error"),
    [pytest.param(*c.values[:2], id=c.id) for c in CASES if c.id.startswith("plot_")],
)
def test_what_is_refused_leaves_no_figure(call, error):
    with pytest.raises(error):
        call()
    assert not pyplot.get_fignums()


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


def test_redshifts_of_outliers_only_has_no_counts_and_no_colour_bar():
    z_spec = torch.full((3,), 0.1)
    axes = plot_redshifts(z_spec + 1, z_spec)
    assert not axes.collections
    assert not axes.child_axes
    assert axes.get_legend().get_texts()[0].get_text() == "3 outliers of 3"


def boxes(axes, *artists):
    """Where each is drawn, in pixels."""
    axes.figure.draw_without_rendering()
    return [artist.get_tightbbox() for artist in artists]


def test_redshifts_says_what_its_colours_count_and_covers_no_galaxy():
    z_spec = torch.linspace(0.01, 0.3, 40).repeat(5)
    z_phot = z_spec.clone()
    z_phot[0], z_phot[199] = 0.6, 0.0  # the upper left and the lower right corner
    axes = plot_redshifts(z_phot, z_spec)
    axes.set_title("a title that is as long as one likes")
    (scale,) = axes.child_axes
    assert scale.get_xlabel() == "galaxies per cell"
    assert scale.get_xlim() == (1, axes.collections[0].get_array().max())
    assert all(tick == round(tick) for tick in scale.get_xticks())
    legend, title, bar = axes.get_legend(), axes.title, axes.child_axes[0]
    legend, title, bar, *_ = boxes(axes, legend, title, bar)
    assert min(legend.y0, bar.y0) >= axes.bbox.y1
    assert legend.x1 <= bar.x0
    assert title.y0 >= max(legend.y1, bar.y1)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_redshifts_leaves_a_grid_of_axes_as_it_was(layout):
    z = torch.linspace(0.01, 0.3, 40)
    figure, grid = pyplot.subplots(2, 2, figsize=(9, 9), layout=layout)
    cells = [ax.get_subplotspec() for ax in grid.flat]
    for ax in grid.flat:
        assert plot_redshifts(z, z, ax=ax) is ax
    assert figure.axes == list(grid.flat)
    assert [ax.get_subplotspec() for ax in grid.flat] == cells
    drawn = boxes(grid[0, 0], *grid.flat)
    sizes = {tuple(np.round(ax.bbox.size)) for ax in grid.flat}
    assert len(sizes) == 1
    if layout is not None:
        for k, box in enumerate(drawn):
            assert not any(box.overlaps(other) for other in drawn[k + 1 :])
            assert figure.bbox.x0 <= box.x0
            assert box.y1 <= figure.bbox.y1


def test_densities_draws_a_step_line_a_view_and_the_truth():
    bins = RedshiftBins([0.0, 0.1, 0.4])
    probs = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    axes = plot_densities(probs, bins, z_spec=torch.tensor(0.2))
    steps = [patch.get_data() for patch in axes.patches]
    np.testing.assert_allclose([step.values for step in steps], [[5, 5 / 3], [10, 0]], rtol=1e-6)
    np.testing.assert_allclose(steps[0].edges, bins.edges)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 0.2)


def test_pp_is_the_share_below_with_the_band_of_the_kolmogorov_smirnov_test():
    values = torch.linspace(0, 1, 52)[1:-1].double() ** 2
    axes = plot_pp(values)
    level, share = axes.lines[-1].get_data()
    np.testing.assert_allclose(share, [(values <= x).double().mean() for x in level])
    statistic, p_value = stats.kstest(values, "uniform")
    band = axes.collections[0].get_paths()[0].vertices
    reach = (band[:, 1] - band[:, 0]).max()
    assert stats.kstwo.cdf(reach, 50) == pytest.approx(0.95, abs=1e-6)
    assert (statistic > reach) == (p_value < 0.05)
    assert np.abs(share - level).max() == pytest.approx(statistic, abs=0.02)


@pytest.mark.parametrize(("bars", "drawn"), [(5, 5), (100, 40)])
def test_redshifts_draws_intervals_of_some_galaxies_spread_over_the_redshifts(bars, drawn):
    z_spec = torch.linspace(0.01, 0.3, 40, dtype=torch.float64).flip(0)
    axes = plot_redshifts(z_spec, z_spec, low=z_spec - 0.01, high=z_spec + 0.02, bars=bars)
    (lines,) = (found for found in axes.collections if isinstance(found, LineCollection))
    ends = np.array(lines.get_segments())
    assert len(ends) == drawn
    np.testing.assert_allclose(ends[[0, -1], 0, 0], [0.01, 0.3])
    np.testing.assert_allclose(ends[:, 0, 1], ends[:, 0, 0] - 0.01)
    np.testing.assert_allclose(ends[:, 1, 1], ends[:, 0, 0] + 0.02)


def test_redshifts_draws_intervals_of_outliers_in_their_colour():
    z_spec = torch.linspace(0.01, 0.3, 40, dtype=torch.float64)
    z_phot = z_spec.clone()
    z_phot[[3, 20]] = 0.9
    low, high = z_phot - 0.3, z_phot + 0.1
    axes = plot_redshifts(z_phot, z_spec, low=low, high=high, bars=7)
    others, outliers = (found for found in axes.collections if isinstance(found, LineCollection))
    np.testing.assert_allclose(
        outliers.get_segments(), [[[z, 0.6], [z, 1.0]] for z in z_spec[[3, 20]]]
    )
    np.testing.assert_array_equal(outliers.get_color()[0], to_rgba(axes.lines[-1].get_color()))
    at = np.array(others.get_segments())[:, 0, 0]
    assert len(at) == 7
    assert not np.isin(at, z_spec[[3, 20]]).any()


def test_gallery_draws_the_image_and_the_densities_beside_it():
    bins = RedshiftBins([0.0, 0.1, 0.4])
    image = torch.zeros(5, 9, 9)
    image[3, 4, 4], image[2, 4, 5] = 10.0, 10.0
    left, right = plot_gallery(image, torch.full((3, 2), 0.5), bins, rgb=(3, 2, 1), z_spec=0.3)
    pixels = left.images[0].get_array()
    assert pixels.shape == (9, 9, 3)
    np.testing.assert_array_equal(pixels[4, 4], [1, 0, 0])
    np.testing.assert_array_equal(pixels[4, 5], [0, 1, 0])
    assert len(right.patches) == 3
    assert right.get_position().x0 > left.get_position().x1
    grey, _ = plot_gallery(image, torch.full((3, 2), 0.5), bins)
    assert grey.images[0].get_array().shape == (9, 9)
    assert plot_gallery(image, torch.full((3, 2), 0.5), bins, axes=(left, right)) == (left, right)


def test_binned_draws_the_metric_its_errors_and_the_galaxies():
    axes = plot_binned(
        [0.0, 0.1, 0.4], torch.tensor([0.02, -0.01]), errors=[0.005, 0.01], counts=[30, 3]
    )
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.05, 0.02], [0.25, -0.01]])
    bars = np.array(axes.containers[0].lines[2][1].get_segments())
    np.testing.assert_allclose(bars[:, :, 1], [[0.015, 0.025], [-0.02, 0.0]], atol=1e-9)
    behind = axes.figure.axes[1]
    np.testing.assert_allclose(behind.patches[0].get_data().values, [30, 3])
    assert behind.get_ylabel() == "galaxies in the bin"
    assert list(behind.get_yticks()) == [0, 10, 20, 30]
    few = plot_binned([0, 1, 2], [1.0, 2.0], counts=[1, 1]).figure.axes[1]
    assert list(few.get_yticks()) == [0, 1]
    assert np.isnan(plot_binned([0, 1, 2], [1.0, np.nan]).lines[0].get_ydata()[1])


@pytest.mark.parametrize("galaxies", [3, 400])
def test_nz_stacks_to_the_mean_density_and_counts_every_galaxy(galaxies):
    bins = RedshiftBins([0.0, 0.05, 0.1, 0.2, 0.4])
    z_spec = torch.linspace(0.0, 0.4, galaxies, dtype=torch.float64)
    probs = torch.rand(galaxies, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    truth, stack = (patch.get_data() for patch in plot_nz(probs, z_spec, bins).patches)
    np.testing.assert_allclose(stack.values, bins.density(probs).mean(0), rtol=1e-6)
    assert (truth.values * np.diff(truth.edges)).sum() == pytest.approx(1)
    np.testing.assert_allclose(truth.edges, bins.edges)


@pytest.mark.parametrize(("galaxies", "columns"), [(3, 10), (600, 20), (1200, 36), (9000, 180)])
def test_nz_takes_bins_together_where_galaxies_are_few(galaxies, columns):
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    z_spec = torch.linspace(0.0, 0.4, galaxies)
    truth = plot_nz(torch.full((galaxies, 180), 1 / 180), z_spec, bins).patches[0].get_data()
    assert len(truth.values) == columns
    assert set(truth.edges) <= set(bins.edges.tolist())
    np.testing.assert_allclose(truth.edges[[0, -1]], [0.0, 0.4])
    assert (truth.values * np.diff(truth.edges)).sum() == pytest.approx(1)


def test_a_legend_stands_on_the_side_of_the_diagonal_where_no_curve_is():
    low, high = torch.full((9,), 0.1), torch.full((9,), 0.9)
    level = np.array([0.5, 0.9])
    for below, above in (
        (plot_pp(high), plot_pp(low)),
        (
            plot_coverage(level, level - 0.3, label="central"),
            plot_coverage(level, level + 0.1, label="central"),
        ),
    ):
        for axes, upper in ((below, True), (above, False)):
            (legend,) = boxes(axes, axes.get_legend())
            (x0, y0), (x1, y1) = axes.transAxes.inverted().transform(legend.get_points())
            assert (y0 > x1) if upper else (y1 < x0), "the legend crosses the diagonal"


def test_the_band_of_the_pit_is_seen_on_the_bars():
    band, *bars = plot_pit(torch.linspace(0, 1, 50)).patches
    assert all(band.get_zorder() > bar.get_zorder() for bar in bars)
    assert band.get_alpha() < 0.5


def test_coverage_draws_two_kinds_of_interval_on_the_same_axes_with_the_binomial_band():
    axes = plot_coverage([0.5, 0.9], torch.tensor([0.4, 0.8]), galaxies=100, label="central")
    assert plot_coverage([0.5, 0.9], [0.45, 0.85], label="highest density", ax=axes) is axes
    diagonal, central, highest = axes.lines
    np.testing.assert_allclose(central.get_ydata(), [0.4, 0.8])
    np.testing.assert_allclose(highest.get_ydata(), [0.45, 0.85])
    assert central.get_color() != highest.get_color()
    assert list(diagonal.get_ydata()) == [0, 1]
    band = axes.collections[0].get_paths()[0].vertices
    at_half = band[np.isclose(band[:, 0], 0.5)][:, 1]
    assert (at_half.min() * 100, at_half.max() * 100) == stats.binom.interval(0.95, 100, 0.5)


@pytest.mark.parametrize("given", [True, False])
def test_each_draws_on_the_axes_given_or_on_new_ones(given):
    bins = RedshiftBins([0.0, 0.1, 0.4])
    z = torch.tensor([0.1, 0.2])
    for draw in (
        lambda ax: plot_pit(z, ax=ax),
        lambda ax: plot_redshifts(z, z, ax=ax),
        lambda ax: plot_densities(torch.full((1, 2), 0.5), bins, ax=ax),
        lambda ax: plot_pp(z, ax=ax),
        lambda ax: plot_binned([0, 1, 2], z, ax=ax),
        lambda ax: plot_nz(torch.full((2, 2), 0.5), z, bins, ax=ax),
        lambda ax: plot_coverage(z, z, ax=ax),
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
        (lambda: plot_pp(torch.empty(0)), r"pit must hold values in \[0, 1\]"),
        (lambda: plot_redshifts(Z, Z, low=Z), "low and high belong together"),
        (lambda: plot_redshifts(Z, Z, low=Z, high=Z[:1]), "high must have the shape"),
        (lambda: plot_gallery(Z, HALVES, BINS), r"image must have shape \(bands, H, W\)"),
        (
            lambda: plot_gallery(torch.ones(5, 4, 4), HALVES, BINS, rgb=(1, 2)),
            "rgb must name three",
        ),
        (lambda: plot_gallery(torch.ones(5, 4, 4), HALVES, BINS, axes=[None]), "axes must be two"),
        (lambda: plot_binned([0, 2, 1], Z), "edges must increase"),
        (lambda: plot_binned([0, 1], Z), "values must hold one number a bin"),
        (
            lambda: plot_binned([0, 1, 2], Z, counts=[1]),
            "counts must hold one number a bin",
        ),
        (lambda: plot_nz(HALVES[:0], Z[:0], BINS), "probs must have shape"),
        (lambda: plot_nz(HALVES, Z + 9, BINS), "z_spec must lie in"),
        (lambda: plot_coverage(Z, [0.5]), "level and coverage must agree"),
        (lambda: plot_coverage([50.0, 95.0], Z), r"level must lie in \[0, 1\]"),
        (lambda: plot_coverage(Z, [0.5, np.nan]), r"coverage must lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_with_latex_a_label_is_not_read_as_mathtext():
    label = r"$\tfrac{1}{2} \sigma \hskip 1em$"
    with pytest.raises(ValueError, match="xlabel must hold whole mathematics"):
        plot_binned([0, 1, 2], [1.0, 2.0], xlabel=label)
    with pyplot.rc_context({"text.usetex": True}):
        assert plot_binned([0, 1, 2], [1.0, 2.0], xlabel=label).get_xlabel() == label


def test_redshifts_that_are_unknown_are_refused_and_zeros_drawn():
    z = torch.linspace(0.1, 0.3, 9)
    unknown = z.clone()
    unknown[2:4] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity for 2 of 9"):
        plot_redshifts(unknown, z)
    plot_redshifts(torch.zeros(3), torch.zeros(3)).figure.canvas.draw()

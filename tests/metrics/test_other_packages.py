"""The same numbers as other packages, where they define the same thing; how far off, where not.

Two sets of densities: 180 uniform bins on [0, 0.4], and 150 bins in log(1 + z) to z = 3. RAIL takes
its metrics from qp (``qp.metrics``), so that qp is the witness for both. The table in
docs/metrics.md is this file's.
"""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from photoz_losses import RedshiftBins
from photoz_losses.io import to_qp
from photoz_losses.metrics import (
    bias,
    cde_loss,
    crps,
    entropy,
    log_score,
    mad,
    outlier_rate,
    pit,
    pit_statistics,
    sigma_iqr,
)

GRIDS = {
    "uniform": RedshiftBins.uniform(0.0, 0.4, 180),
    "log1p": RedshiftBins.log1p(0.0, 3.0, 150),
}


def densities(bins, galaxies=200):
    """Two peaks a galaxy, floor everywhere, widths that differ; fixed."""
    generator = torch.Generator().manual_seed(11)
    a, b, c, d = torch.rand(4, galaxies, 1, generator=generator, dtype=torch.float64)
    span = bins.edges[-1] - bins.edges[0]
    z_spec = (bins.edges[0] + span * (0.1 + 0.8 * a)).squeeze(-1)
    peak = bins.edges[0] + span * (0.1 + 0.8 * a + 0.05 * (b - 0.5))
    width = span * (0.01 + 0.03 * c)
    main = (-((bins.centers - peak) / width).square() / 2).exp()
    other = (-((bins.centers - span * d) / width).square() / 2).exp()
    mass = (main + 0.2 * other + 1e-3) * bins.widths
    return mass / mass.sum(-1, keepdim=True), z_spec


@pytest.fixture(params=GRIDS, scope="module")
def case(request):
    bins = GRIDS[request.param]
    return bins, *densities(bins)


@pytest.fixture(scope="module")
def qp():
    return pytest.importorskip("qp", reason="needs the extra qp")


def at(z):
    """One redshift a galaxy, as qp wants it."""
    return z.numpy()[:, None]


def agree(ours, theirs, tolerance=1e-9):
    np.testing.assert_allclose(ours, np.ravel(theirs), rtol=tolerance, atol=tolerance)


# SciPy: rv_histogram is the same density ---------------------------------------------------------


def test_scipy_histograms_have_the_same_functions(case):
    bins, probs, z_spec = case
    edges = bins.edges.numpy()
    rows = [stats.rv_histogram((row, edges), density=False) for row in probs.numpy()]
    pairs = list(zip(rows, z_spec.tolist(), strict=True))
    agree(pit(probs, z_spec, bins), [row.cdf(z) for row, z in pairs])
    agree(log_score(probs, z_spec, bins, reduction="none"), [-row.logpdf(z) for row, z in pairs])
    agree(bins.median(probs), [row.median() for row in rows])
    agree(bins.quantile(probs, 0.05), [row.ppf(0.05) for row in rows])
    agree(bins.mean(probs), [row.mean() for row in rows])
    agree(entropy(probs, bins, reduction="none"), [row.entropy() for row in rows])


# qp and RAIL ------------------------------------------------------------------------------------


def test_qp_has_the_same_pdf_cdf_and_quantiles(qp, case):
    bins, probs, z_spec = case
    ensemble = to_qp(probs, bins)
    agree(pit(probs, z_spec, bins), ensemble.cdf(at(z_spec)))
    agree(bins.pdf(probs, z_spec), ensemble.pdf(at(z_spec)))
    for level in (0.05, 0.5, 0.95):
        agree(bins.quantile(probs, level), ensemble.ppf(level))


def test_qp_has_the_same_pit_and_its_tests(qp, case):
    from qp.metrics.pit import PIT

    bins, probs, z_spec = case
    theirs = PIT(to_qp(probs, bins), z_spec.numpy())
    values = pit(probs, z_spec, bins)
    agree(values, theirs.pit_samps)
    statistics = pit_statistics(values)
    for name, result in (("ks", theirs.evaluate_PIT_KS()), ("cvm", theirs.evaluate_PIT_CvM())):
        agree(statistics[name], result.statistic)
        agree(statistics[f"{name}_pvalue"], result.pvalue)


def test_rail_has_the_same_point_metrics(qp, case):
    from qp.metrics import point_estimate_metric_classes as rail

    bins, probs, z_spec = case
    z_phot = bins.mode(probs)
    pair = z_phot.numpy(), z_spec.numpy()
    agree(mad(z_phot, z_spec, centered=True), rail.PointSigmaMAD().evaluate(*pair))
    agree(bias(z_phot, z_spec, statistic="median"), rail.PointBias().evaluate(*pair))
    agree(sigma_iqr(z_phot, z_spec, factor=1 / 1.349), rail.PointSigmaIQR().evaluate(*pair))
    agree(
        outlier_rate(z_phot, z_spec, threshold="sigma_iqr"), rail.PointOutlierRate().evaluate(*pair)
    )


def rail_cde_loss(ensemble, z_spec, grid):
    from qp.metrics.concrete_metric_classes import CDELossMetric

    return CDELossMetric(grid).evaluate(ensemble, z_spec.numpy())


def test_rail_has_the_same_cde_loss_on_a_grid_that_steps_where_the_density_does(qp, case):
    bins, probs, z_spec = case
    margin = 1e-11 * bins.widths
    inside = torch.stack([bins.edges[:-1] + margin, bins.edges[1:] - margin], -1).flatten().numpy()
    agree(cde_loss(probs, z_spec, bins), rail_cde_loss(to_qp(probs, bins), z_spec, inside))


def test_rail_has_another_cde_loss_on_its_own_grid(qp, case):
    bins, probs, z_spec = case
    exact, ensemble = cde_loss(probs, z_spec, bins).item(), to_qp(probs, bins)
    off = {
        points: abs(rail_cde_loss(ensemble, z_spec, np.linspace(0, 2.5, points)) / exact - 1)
        for points in (301, 30_001)
    }
    assert off[301] > 1e-3  # its default grid, whatever the bins
    if bins is GRIDS["uniform"]:  # the other grid ends beyond 2.5
        assert off[30_001] < 2e-3


def test_the_mean_of_qp_holds_on_uniform_bins_only(qp):
    for name, bins in GRIDS.items():
        probs, _ = densities(bins)
        ratio = np.ravel(to_qp(probs, bins).mean()) / bins.mean(probs).numpy()
        if name == "uniform":
            agree(ratio, np.ones(len(ratio)))
        else:  # it multiplies all bins by the width of the first
            assert ratio.max() < 0.95


def test_qp_answers_in_rising_order_whatever_the_order_asked(qp):
    bins = GRIDS["uniform"]
    probs, _ = densities(bins)
    theirs = to_qp(probs[:2], bins).cdf(np.array([0.3, 0.1]))
    ours = bins.cdf(probs[:2, None], torch.tensor([[0.3, 0.1]], dtype=torch.float64))
    agree(ours.flip(-1).ravel(), theirs)


# scores and properscoring -------------------------------------------------------------------------


def test_scores_has_the_same_crps(case):
    probability = pytest.importorskip("scores.probability", reason="needs the package scores")
    xarray = pytest.importorskip("xarray")
    bins, probs, z_spec = case
    edges = bins.edges.numpy()
    below = np.concatenate([np.zeros((len(probs), 1)), probs.cumsum(-1).clamp(max=1).numpy()], -1)
    forecast = xarray.DataArray(below, dims=("galaxy", "threshold"), coords={"threshold": edges})
    truth = xarray.DataArray(z_spec.numpy(), dims="galaxy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of xarray, about its own changes
        theirs = probability.crps_cdf(
            forecast,
            truth,
            threshold_dim="threshold",
            integration_method="exact",
            preserve_dims=["galaxy"],
        )
    agree(crps(probs, z_spec, bins, reduction="none"), theirs["total"].values)


def test_properscoring_has_the_same_crps_to_its_own_tolerance(case):
    properscoring = pytest.importorskip("properscoring", reason="needs the package properscoring")
    bins, probs, z_spec = case
    few = slice(0, 5)
    for row, z, ours in zip(
        probs[few], z_spec[few], crps(probs[few], z_spec[few], bins, reduction="none"), strict=True
    ):
        below = np.concatenate([[0.0], row.cumsum(-1).numpy()])

        def cdf(x, below=below):
            return np.interp(x, bins.edges.numpy(), below)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of quad: the steps of the CDF
            theirs = properscoring.crps_quadrature(
                z.item(), cdf, bins.edges[0].item(), bins.edges[-1].item(), tol=1e-4
            )
        assert ours.item() == pytest.approx(float(theirs), rel=2e-3)


def test_a_gaussian_on_ever_finer_bins_has_the_crps_of_properscoring():
    properscoring = pytest.importorskip("properscoring", reason="needs the package properscoring")
    truth = torch.tensor([0.17], dtype=torch.float64)
    expected = float(properscoring.crps_gaussian(0.17, mu=0.2, sig=0.02))
    off = []
    for n_bins in (50, 200, 800):
        bins = RedshiftBins.uniform(0.0, 0.4, n_bins)
        mass = np.diff(stats.norm.cdf(bins.edges, 0.2, 0.02))
        value = crps(torch.from_numpy(mass / mass.sum()).unsqueeze(0), truth, bins)
        off.append(abs(value.item() - expected))
    assert off[0] / off[1] > 8 < off[1] / off[2]  # as the square of the width: 16 for each step
    assert off[2] < 1e-6


# Closed forms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", GRIDS.values(), ids=GRIDS)
def test_a_uniform_density_has_the_closed_forms(bins):
    low, span = bins.edges[0], bins.edges[-1] - bins.edges[0]
    place = torch.linspace(0, 1, 41, dtype=torch.float64)
    z_spec = (low + place * span).clamp(max=bins.edges[-1])
    probs = (bins.widths / span).expand(41, -1)
    agree(pit(probs, z_spec, bins), place)
    agree(cde_loss(probs, z_spec, bins, reduction="none"), (-1 / span).expand(41))
    agree(log_score(probs, z_spec, bins, reduction="none"), span.log().expand(41))
    agree(entropy(probs, bins, reduction="none"), span.log().expand(41))
    third = span * (place**3 + (1 - place) ** 3) / 3
    agree(crps(probs, z_spec, bins, reduction="none"), third)

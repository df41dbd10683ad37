"""How far do the conventions of other packages and surveys lie from these, on one set of densities?

    python benchmarks/conventions.py      (needs qp-prob and cdetools)

The densities are those of ``mistakes.py``: the network of ``examples/photometry_mlp.py`` on real
SDSS fluxes, 180 bins on [0, 0.4], of the galaxies that it has not seen; one seed. Each package's
own function is called, as its documentation says.
"""

import logging

import numpy as np
import torch
from cdetools.cde_loss import cde_loss as theirs_cde_loss
from cdetools.cdf_coverage import cdf_coverage
from cdetools.hpd_coverage import hpd_coverage
from measure import save
from mistakes import BINS, arguments, prepare, trained
from qp.metrics import concrete_metric_classes as rail
from torch import Tensor

from photoz_losses import RedshiftBins, cross_entropy, rebin
from photoz_losses.io import to_qp
from photoz_losses.metrics import (
    PRESETS,
    bias,
    brier,
    cde_loss,
    credibility,
    mad,
    outlier_rate,
    photo_z_metrics,
    pit,
)

LOG_BINS = RedshiftBins.log1p(0.0, 3.0, 150)
Rows = dict[str, dict[str, float]]


def of_qp(probs: Tensor, z_spec: Tensor) -> Rows:
    ensemble, z = to_qp(probs, BINS), z_spec.numpy()
    logging.disable(logging.WARNING)  # that densities do not sum to one
    on_log_bins = rebin(probs, BINS, LOG_BINS)
    theirs = np.ravel(to_qp(on_log_bins, LOG_BINS).mean())
    ratio = theirs / LOG_BINS.mean(on_log_bins).numpy()
    return {
        "qp mean over ours, log(1 + z) bins": {
            "ours": 1.0,
            "theirs": float(np.median(ratio)),
        },
        "RAIL CDELossMetric, default grid": {
            "ours": float(cde_loss(probs, z_spec, BINS)),
            "theirs": float(rail.CDELossMetric().evaluate(ensemble, z)),
        },
        "RAIL BrierMetric, default grid": {
            "ours": float(brier(probs, z_spec, BINS)),
            "theirs": float(rail.BrierMetric().evaluate(ensemble, z)),
        },
    }


def of_cdetools(probs: Tensor, z_spec: Tensor) -> Rows:
    """Densities at the centres of the bins; fewer bins show the whole steps."""
    rows = {}
    for bins in (BINS, RedshiftBins.uniform(0.0, 0.4, 45)):
        masses = rebin(probs, BINS, bins)
        given = bins.density(masses).numpy(), bins.centers.numpy(), z_spec.numpy()
        above = torch.from_numpy(cdf_coverage(*given))
        denser = torch.from_numpy(hpd_coverage(*given))
        value, _ = theirs_cde_loss(*given)
        level = credibility(masses, z_spec, bins, interval="highest_density")
        below = pit(masses, z_spec, bins)
        rows[f"cdetools cde_loss, {len(bins)} bins"] = {
            "ours": float(cde_loss(masses, z_spec, bins)),
            "theirs": float(value),
        }
        rows[f"cdetools cdf_coverage, {len(bins)} bins"] = {
            "ours": float(below.mean()),
            "theirs": float(above.mean()),
            "largest |theirs - (1 - ours)|": float((above - (1 - below)).abs().max()),
        }
        rows[f"cdetools hpd_coverage, {len(bins)} bins"] = {
            "ours": float(level.mean()),
            "theirs": float(denser.mean()),
            "largest |theirs - ours|": float((denser - level).abs().max()),
        }
    return rows


def of_pasquet(probs: Tensor, z_spec: Tensor) -> Rows:
    """The lines of their published ``test.py``: lower edges, and 1.48."""
    lower = (probs * BINS.edges[:-1]).sum(-1)
    return {
        "Pasquet et al.'s code: bias": {
            "ours": float(bias(BINS.mean(probs), z_spec)),
            "theirs": float(bias(lower, z_spec)),
        },
        "Pasquet et al.'s code: MAD": {
            "ours": float(mad(BINS.mean(probs), z_spec, centered=True)),
            "theirs": float(mad(lower, z_spec, centered=True, factor=1.48)),
        },
    }


def of_euclid(probs: Tensor, z_spec: Tensor) -> Rows:
    """The same densities on the step of Euclid's PHZ_PDF, 0.01."""
    wide = RedshiftBins.uniform(0.0, 0.4, 40)
    masses = rebin(probs, BINS, wide)
    pairs = {
        "median": (BINS.median(probs), wide.median(masses)),
        "mean": (BINS.mean(probs), wide.mean(masses)),
    }
    rows = {
        f"Euclid's step of 0.01: MAD of the {name}": {
            "ours": float(mad(ours, z_spec, centered=True)),
            "theirs": float(mad(theirs, z_spec, centered=True)),
        }
        for name, (ours, theirs) in pairs.items()
    }
    z_phot = BINS.median(probs)
    for threshold in (0.05, 0.15):
        rows[f"outliers beyond {threshold}"] = {
            "ours": float(outlier_rate(z_phot, z_spec, threshold=threshold))
        }
    return rows


def of_presets(probs: Tensor, z_spec: Tensor) -> Rows:
    rows = {}
    for name in PRESETS:
        metrics = photo_z_metrics(BINS, name)
        metrics.update(probs=probs, z_spec=z_spec)
        values = metrics.compute()
        rows[f"preset {name}"] = {key: float(values[key]) for key in ("mad", "bias")}
        rows[f"preset {name}"]["outlier_rate"] = float(values["outlier_rate"])
    return rows


def main() -> None:
    options = arguments(__doc__.split("\n")[0])
    data = prepare(options.seed)

    def plain(logits: Tensor, z: Tensor) -> Tensor:
        return cross_entropy(logits, z, BINS)

    probs = trained(data, plain, options.epochs, options.seed).softmax(-1)
    z_spec = data.z_unseen
    rows: Rows = {}
    for measure in (of_qp, of_cdetools, of_pasquet, of_euclid, of_presets):
        rows |= measure(probs, z_spec)
    save("conventions", rows, vars(options) | {"held out": len(z_spec)})


if __name__ == "__main__":
    main()

"""Densities into and out of files (HDF5, npz) and of qp, which the LSST tools speak."""

from photoz_losses.io.files import Predictions, load_predictions, save_predictions
from photoz_losses.io.qp import from_qp, to_qp

__all__ = ["Predictions", "from_qp", "load_predictions", "save_predictions", "to_qp"]

"""What every public class says of itself: its options, in few lines and without their entries."""

import inspect

import pytest
import torch
from public import objects

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    L2Penalty,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    Views,
    WeightSchedule,
    metrics,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.io import Predictions
from photoz_losses.photometry import FilterSet, FluxTable, Spectra, SyntheticPhotometry, Templates
from photoz_losses.transforms import RandomDihedral, RandomRotation, ResampleBackground, SourceMask

BINS = RedshiftBins.uniform(0.0, 0.4, 180)
B = "RedshiftBins(180 bins on [0, 0.4], width 0.002222)"
WAVELENGTH = torch.linspace(4000.0, 9000.0, 200, dtype=torch.float64)
FILTERS = FilterSet(
    ["r"], [torch.tensor([5000.0, 5500.0, 6000.0])], [torch.tensor([0.0, 1.0, 0.0])]
)
PHOTOMETRY = SyntheticPhotometry(FILTERS, WAVELENGTH)
SEEDED = torch.Generator().manual_seed(7)
SPECTRA = torch.ones(3, 200)
DRAWN = SPECTRA > 0


def fitted():
    generator = torch.Generator().manual_seed(0)
    z_spec = 0.4 * torch.rand(300, generator=generator)
    logits = -(((BINS.centers - z_spec.unsqueeze(-1)) / 0.1) ** 2) / 2
    return TemperatureScaling(BINS).fit(logits + 0.0, (z_spec + 0.05).clamp(max=0.4)), logits


def with_bins(options):
    """What a Module of torch shows: options in a line of their own, then its own Modules."""
    return f"\n  {options}\n  (bins): {B}\n)"


BETWEEN = "distance='cramer', space='probs', temperature=2, reduction='sum'"
SHOWN = [
    (BINS, B),
    (RedshiftBins([0.0, 0.1, 1.0]), "RedshiftBins(2 bins on [0, 1], width 0.1 to 0.9)"),
    (RedshiftCrossEntropy(BINS, 0.1), with_bins("label_smoothing=0.1, reduction='mean'")),
    (CDELoss(BINS, reduction="sum"), with_bins("reduction='sum'")),
    (CRPSLoss(BINS), with_bins("reduction='mean'")),
    (FluxLoss(BINS), with_bins("reduction='mean'")),
    (
        SpectrophotometricFluxLoss(
            BINS, PHOTOMETRY, quadrature="trapezoid", min_coverage=0.9, min_snr=3.0, dimming="f_nu"
        ),
        "quadrature='trapezoid', min_coverage=0.9, min_snr=3, dimming='f_nu'\n",
    ),
    (InvarianceLoss("cramer", bins=BINS, temperature=2.0, reduction="sum"), with_bins(BETWEEN)),
    (
        RotationDerivativeLoss("cramer", bins=BINS, temperature=2.0, reduction="sum"),
        with_bins(BETWEEN),
    ),
    (L2Penalty(), "L2Penalty()"),
    (
        WeightSchedule(0.1, "cosine", steps=10),
        "WeightSchedule(0 to 0.1 cosine over 10 steps, at step 0)",
    ),
    (UncertaintyWeights(["ce", "flux"]), "UncertaintyWeights(ce, flux)"),
    (
        ReLoBRaLo(["ce", "flux"], alpha=0.9, temperature=2.0),
        "ReLoBRaLo(ce, flux, alpha=0.9, temperature=2, rho=0.999)",
    ),
    (
        TotalLoss({"ce": (1.0, RedshiftCrossEntropy(BINS)), "cde": (0.1, CDELoss(BINS))}),
        "\n  ce: 1, cde: 0.1\n",
    ),
    (
        PHOTOMETRY,
        "FilterSet(r 5000-6000 A), 200 pixels on 4000-9000 A, denominator='covered'\n"
        "  (sums): FilterSums(1 bands, 3 knots, grid='linear')\n",
    ),
    (RandomDihedral(SEEDED), "RandomDihedral(generator=Generator(seed=7))"),
    (
        RandomRotation(64, interpolation="bicubic"),
        "RandomRotation(crop=64, interpolation='bicubic')",
    ),
    (
        ResampleBackground(2.0, 3, mask=DRAWN, generator=SEEDED),
        "ResampleBackground(sigma=2, iterations=3, unbiased=False, mask=bool (3, 200), "
        "correlated=False, generator=Generator(seed=7))",
    ),
    (PITRecalibration(BINS, n_segments=5), with_bins("n_segments=5, prior=10, not fitted")),
    (TemperatureScaling(BINS), with_bins("not fitted")),
    (metrics.MAD(True, factor=1.0), "MAD(centered=True, factor=1)"),
    (metrics.SigmaIQR(factor=2.0), "SigmaIQR(factor=2)"),
    (metrics.Bias("median"), "Bias(statistic='median')"),
    (metrics.OutlierRate("sigma_iqr"), "OutlierRate(threshold='sigma_iqr')"),
    (metrics.RMS(approximate=99), "RMS(approximate=99)"),
    (metrics.PIT(BINS, randomized=True), f"PIT({B}, randomized=True)"),
    (
        metrics.PITStatistics(BINS, n_bins=9, approximate=99),
        f"PITStatistics({B}, n_bins=9, randomized=False, approximate=99)",
    ),
    (metrics.CDELoss(BINS), f"CDELoss({B})"),
    (metrics.CRPS(BINS), f"CRPS({B})"),
    (metrics.LogScore(BINS), f"LogScore({B})"),
    (metrics.Brier(BINS), f"Brier({B})"),
    (metrics.Entropy(BINS), f"Entropy({B})"),
    (
        metrics.Coverage(BINS, level=[0.5, 0.9]),
        f"Coverage({B}, level=float64 (2,), interval='central')",
    ),
    (
        metrics.Binned(metrics.OutlierRate(0.15), [0.0, 0.1, 0.4]),
        "Binned(OutlierRate(threshold=0.15), 2 bins on [0, 0.4])",
    ),
    (
        metrics.photo_z_metrics(BINS, "rail"),
        "\n  z_phot='mode'\n  (bias): Bias(statistic='median')\n",
    ),
]
DATA = [
    (SourceMask(DRAWN, DRAWN), "SourceMask(mask=bool (3, 200), sources=bool (3, 200))"),
    (
        Views(SPECTRA, SPECTRA, None),
        "Views(logits=float32 (3, 200), logits_transformed=float32 (3, 200))",
    ),
    (FILTERS, "FilterSet(r 5000-6000 A)"),
    (
        Spectra(WAVELENGTH, SPECTRA, SPECTRA, torch.ones(3), DRAWN),
        "Spectra(3 on 200 pixels, 4000-9000 A)",
    ),
    (Templates(WAVELENGTH, SPECTRA), "Templates(3 on 200 wavelengths, 4000-9000 A)"),
    (
        Predictions(SPECTRA[:, :180] / 180, BINS, torch.ones(3), columns={"r": torch.ones(3)}),
        f"Predictions(3 galaxies, {B}, z_spec, r)",
    ),
    (metrics.PRESETS["paper"], "estimate='mean', centered=False, mad_factor=1.4826"),
]
ELSEWHERE = {FluxTable, metrics.PerBin}  # in tests of the table, and of metrics' tables


@pytest.mark.parametrize("shown", [*SHOWN, *DATA], ids=lambda s: type(s[0]).__name__)
def test_repr_has_every_option_in_few_lines(shown):
    owner, expected = shown
    text = repr(owner)
    assert expected in text
    assert text.startswith(f"{type(owner).__name__}(")
    assert "tensor(" not in text, "entries of a tensor"
    assert "Sums()" not in text, "a part that says nothing"


def test_every_public_class_is_tried():
    classes = {each for each in objects().values() if inspect.isclass(each)}
    assert classes == {type(owner) for owner, _ in (*SHOWN, *DATA)} | ELSEWHERE


def test_a_calibration_shows_what_it_learned():
    scaling, logits = fitted()
    assert f"temperature={scaling.temperature.item():g}" in repr(scaling)
    z_spec = 0.4 * torch.rand(len(logits), generator=torch.Generator().manual_seed(1))
    assert "prior=10, fitted" in repr(PITRecalibration(BINS).fit(logits, z_spec))

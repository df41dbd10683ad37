"""Bad input: transforms of images."""

import torch
from errors.table import IMAGES, INF, NAN, Cases, Z

from photoz_losses import metrics
from photoz_losses.transforms import (
    RandomDihedral,
    RandomRotation,
    ResampleBackground,
    dihedral,
    resample_background,
    rotate,
    source_mask,
)

case = Cases()

ELEMENT = torch.tensor([0, 5])
TRANSFORMS = {
    "dihedral": lambda x: dihedral(x, torch.zeros(len(x), dtype=torch.int64)),
    "RandomDihedral": lambda x: RandomDihedral()(x),
    "resample_background": resample_background,
    "ResampleBackground": lambda x: ResampleBackground()(x),
    "rotate": lambda x: rotate(x, torch.zeros(len(x))),
    "RandomRotation": lambda x: RandomRotation()(x),
    "source_mask": source_mask,
}
for name, call in TRANSFORMS.items():
    for fault, images, error, *says in (
        ("3-D", IMAGES[0], ValueError, "(N, bands, H, W)", "(5, 8, 8)", "unsqueeze(0)"),
        ("integer", IMAGES.int(), TypeError, "floating-point", "int32", "images.float()"),
        ("NumPy", IMAGES.numpy(), TypeError, "torch.Tensor", "ndarray", "torch.as_tensor"),
    ):
        case(f"{name}: images {fault}", lambda c=call, x=images: c(x), error, "images", *says)
for name in ("dihedral", "RandomDihedral", "rotate", "RandomRotation"):
    case(
        f"{name}: images not square",
        lambda c=TRANSFORMS[name]: c(IMAGES[..., 1:]),
        ValueError, "images", "square", "(8, 7)", "cut",
    )  # fmt: skip
for fault, element, error, *says in (
    ("8", torch.tensor([0, 8]), ValueError, "0 to 7"),
    ("negative", torch.tensor([0, -1]), ValueError, "0 to 7"),
    ("of another batch", torch.tensor([0, 1, 2]), ValueError, "(2,)", "(3,)"),
    ("one number for all", torch.tensor(3), ValueError, "(2,)", "()"),
    ("a fraction", torch.tensor([0.0, 0.5]), TypeError, "int"),
):
    case(
        f"dihedral: element {fault}", lambda e=element: dihedral(IMAGES, e), error, "element", *says
    )
for options, *says in (
    ({"sigma": 0.0}, "sigma", "positive", "0.0"),
    ({"sigma": -1.0}, "sigma", "positive", "-1.0"),
    ({"sigma": NAN}, "sigma", "positive", "nan"),
    ({"iterations": 0}, "iterations", "at least 1", "0"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(
        f"resample_background: {name}",
        lambda o=options: resample_background(IMAGES, **o), ValueError, *says,
    )  # fmt: skip
    case(
        f"ResampleBackground: {name}",
        lambda o=options: ResampleBackground(**o), ValueError, *says,
    )  # fmt: skip

MASK = torch.zeros(2, 8, 8, dtype=torch.bool)
for fault, mask, error, *says in (
    ("float", MASK.float(), TypeError, "bool", "float32", "> 0"),
    ("NumPy", MASK.numpy(), TypeError, "torch.Tensor", "ndarray"),
    ("of other pixels", MASK[..., 1:], ValueError, "(2, 8, 8)", "(2, 5, 8, 8)", "(2, 8, 7)"),
    ("of another batch", MASK[:1], ValueError, "(2, 8, 8)", "(1, 8, 8)"),
    ("of one band", MASK[:, None], ValueError, "(2, 5, 8, 8)", "(2, 1, 8, 8)"),
    ("of one image", MASK[0], ValueError, "(2, 8, 8)", "(8, 8)"),
):
    for name in ("mask", "sources"):
        options = {"mask": MASK, name: mask}
        for caller, call in (
            ("resample_background", resample_background),
            ("ResampleBackground", ResampleBackground()),
        ):
            case(
                f"{caller}: {name} {fault}",
                lambda c=call, o=options: c(IMAGES, **o), error, f"{name} must", *says,
            )  # fmt: skip
case(
    "resample_background: sources alone",
    lambda: resample_background(IMAGES, sources=MASK), ValueError, "sources", "mask=None",
)  # fmt: skip
case(
    "ResampleBackground: mask of a batch",
    lambda: ResampleBackground(mask=MASK), ValueError, "mask", "(H, W)", "(2, 8, 8)", "the call",
)  # fmt: skip
case(
    "ResampleBackground: its own mask of other pixels",
    lambda: ResampleBackground(mask=MASK[0, 1:])(IMAGES), ValueError, "mask", "(2, 7, 8)",
)  # fmt: skip
case(
    "mad: weights without a finite sum",
    lambda: metrics.mad(Z, Z, weights=torch.tensor([1e308, 1e308], dtype=torch.float64)),
    ValueError, "weights", "finite sum", "largest",
)  # fmt: skip
case(
    "mad: weights without digits",
    lambda: metrics.mad(Z, Z, weights=torch.full_like(Z, 5e-324, dtype=torch.float64)),
    ValueError, "weights", "less than 1e-280", "at most 4.94066e-324", "largest",
)  # fmt: skip
ANGLE = torch.zeros(2)
for fault, angle, error, *says in (
    ("of another batch", torch.zeros(3), ValueError, "(2,)", "(3,)"),
    ("of shape (N, 1)", ANGLE[:, None], ValueError, "(2,)", "squeeze(-1)"),
    ("one number", torch.tensor(0.1), ValueError, "(2,)", "()"),
    ("of degrees, integer", torch.tensor([90, 0]), TypeError, "floating-point", "int64"),
    ("NaN", ANGLE * NAN, ValueError, "finite"),
    ("infinite", ANGLE + INF, ValueError, "finite"),
):
    case(f"rotate: angle {fault}", lambda a=angle: rotate(IMAGES, a), error, "angle", *says)
for fault, side, options, *says in (
    ("too large", 90, {"crop": 64}, "crop 64 needs", "92 x 92", "90 x 90"),
    (
        "too large, bicubic",
        92,
        {"crop": 64, "interpolation": "bicubic"},
        "crop 64 needs",
        "94 x 94",
        "92 x 92",
    ),
    ("of other parity", 91, {"crop": 64}, "crop must be odd", "91", "64", "90 x 90", "crop=63"),
    ("of other parity, even", 92, {"crop": 1}, "crop must be even", "92", "crop=2"),
    ("zero", 92, {"crop": 0}, "crop must be at least 1", "0"),
    ("none left", 2, {}, "images must", "4 x 4", "2 x 2"),
    ("none left, bicubic", 1, {"interpolation": "bicubic"}, "images must", "3 x 3", "1 x 1"),
    ("of an unknown kernel", 92, {"interpolation": "nearest"}, "interpolation", "'bilinear'"),
):
    images = torch.ones(2, 1, side, side)
    case(
        f"rotate: crop {fault}",
        lambda x=images, o=options: rotate(x, ANGLE, **o),
        ValueError,
        *says,
    )
    case(
        f"RandomRotation: crop {fault}",
        lambda x=images, o=options: RandomRotation(**o)(x), ValueError, *says,
    )  # fmt: skip
for options, *says in (
    ({"keep": "centre"}, "keep", "'central', 'all'"),
    ({"missing": "drop"}, "missing", "'raise', 'keep'"),
    ({"n_sigma": 0.0}, "n_sigma", "positive", "0.0"),
    ({"n_pixels": 0}, "n_pixels", "at least 1", "0"),
    ({"fwhm": -1.0}, "fwhm", "negative", "-1.0"),
    ({"grow": NAN}, "grow", "negative", "nan"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"source_mask: {name}", lambda o=options: source_mask(IMAGES, **o), ValueError, *says)

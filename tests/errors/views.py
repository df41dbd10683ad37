"""Bad input: views of a batch of images."""

import torch
from errors.table import IMAGES, NAN, Cases
from torch import nn

from photoz_losses import average_views, rotation_derivative, two_views

case = Cases()


def first_pixels(images, *extra):
    """A model of four bins."""
    return images.flatten(1)[:, :4]


TWO_VIEWS = {
    "number of images": (lambda x: x[:1], ValueError, "view", "(2, 5, H, W)", "(1, 5, 8, 8)"),
    "bands": (lambda x: x[:, :3], ValueError, "view", "(2, 5, H, W)", "their bands"),
    "size": (lambda x: x[..., 1:], ValueError, "view", "(8, 8)", "(8, 7)", "crop", "detach=True"),
    "type": (lambda x: x.double(), TypeError, "view", "float32", "float64"),
    "device": (lambda x: x.to("meta"), ValueError, "view", "device cpu", "meta"),
    "a tuple": (lambda x: (x, 0), TypeError, "view", "tensor of images", "tuple"),
}
for fault, (view, error, *says) in TWO_VIEWS.items():
    case(
        f"two_views: view changes {fault}",
        lambda v=view: two_views(first_pixels, IMAGES, v),
        error,
        *says,
    )
    if fault != "size":
        case(
            f"two_views: view changes {fault}, detached",
            lambda v=view: two_views(first_pixels, IMAGES, v, detach=True), error, *says,
        )  # fmt: skip
        case(
            f"average_views: view changes {fault}",
            lambda v=view: average_views(first_pixels, IMAGES, [v]), error, *says,
        )  # fmt: skip
case(
    "two_views: view_inputs bytes",
    lambda: two_views(first_pixels, IMAGES, torch.neg, view_inputs=b"a"),
    TypeError, "view_inputs", "list or tuple", "b'a'", "(that,)",
)  # fmt: skip
for value in (0.0, 1.1, NAN):
    case(
        f"two_views: fraction {value}",
        lambda f=value: two_views(first_pixels, IMAGES, torch.flip, fraction=f),
        ValueError, "fraction", "(0, 1]", str(value),
    )  # fmt: skip
OF_MODEL = {
    "two_views": lambda model, x: two_views(model, x, torch.neg),
    "two_views detached": lambda model, x: two_views(model, x, torch.neg, detach=True),
    "average_views": lambda model, x: average_views(model, x, None),
    "rotation_derivative": lambda model, x: rotation_derivative(model, x),
}
for name, call in OF_MODEL.items():
    for fault, model, images, error, *says in (
        ("two outputs", lambda x: (x, x), IMAGES, TypeError, "model", "logits alone"),
        ("one number", lambda x: x.sum(), IMAGES, ValueError, "model", "one row", "C)", "()"),
        ("too few rows", lambda x: x[1:], IMAGES, ValueError, "model", "one row", "C)"),
        ("one image", first_pixels, IMAGES[0], ValueError, "images", "unsqueeze(0)"),
        ("integers", first_pixels, IMAGES.int(), TypeError, "images", ".float()"),
    ):
        case(f"{name}: {fault}", lambda c=call, m=model, x=images: c(m, x), error, *says)
case(
    "average_views: no views",
    lambda: average_views(first_pixels, IMAGES, []), ValueError, "views is empty", "None",
)  # fmt: skip
case(
    "average_views: oblong",
    lambda: average_views(first_pixels, IMAGES[..., 1:], None), ValueError, "images", "square",
)  # fmt: skip
case(
    "average_views: training mode",
    lambda: average_views(nn.Flatten(), IMAGES, None), ValueError, "training mode", "model.eval()",
)  # fmt: skip
case(
    "rotation_derivative: small images",
    lambda: rotation_derivative(first_pixels, IMAGES[..., :3]), ValueError, "at least 4", "(8, 3)",
)  # fmt: skip
case(
    "rotation_derivative: detached",
    lambda: rotation_derivative(lambda x: first_pixels(x.detach()), IMAGES),
    ValueError, "do not follow its images",
)  # fmt: skip

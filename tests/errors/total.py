"""Bad input: the weighted sum of terms."""

import torch
from errors.table import BINS, ENTROPY, INF, LOGITS, NAN, PROBS, RESIDUAL, WEIGHT, Cases, Z, used_up
from torch import nn

from photoz_losses import (
    CDELoss,
    FluxLoss,
    L2Penalty,
    ReLoBRaLo,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    cde_loss,
    metrics,
)

case = Cases()


class _Variadic(nn.Module):
    def forward(self, *inputs):
        return inputs[0].sum()


for value in (-0.1, NAN, INF, 1e300):
    case(
        f"TotalLoss: weight {value}",
        lambda v=value: TotalLoss({"ce": (v, ENTROPY)}),
        ValueError, "'ce'", "weight", "between 0 and 1e+30",
    )  # fmt: skip
case(
    "TotalLoss: a sum that overflows",
    lambda: TotalLoss({"ce": (1.0, ENTROPY), "flux": (1e30, FluxLoss(BINS))})(
        logits=LOGITS, z_spec=Z, residual=1e20 * torch.ones_like(RESIDUAL)
    ),
    ValueError, "ce and flux must give a loss that torch.float32 holds", "and 1e+20", "scale",
)  # fmt: skip
case(
    "TotalLoss: a metric, of the same name",
    lambda: TotalLoss({"cde": (1.0, metrics.CDELoss(BINS))}),
    TypeError, "'cde'", "the metric CDELoss", "take the loss", "from photoz_losses",
)  # fmt: skip
case(
    "TotalLoss: a collection of metrics",
    lambda: TotalLoss({"scores": (1.0, metrics.photo_z_metrics(BINS))}),
    TypeError, "'scores'", "the metric PhotoZMetrics", "take the loss",
)  # fmt: skip
case(
    "TotalLoss: nothing given",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(),
    TypeError, "'ce'", "'logits'", "got none",
)  # fmt: skip
case("TotalLoss: no terms", lambda: TotalLoss({}), ValueError, "terms", "at least one")
case(
    "TotalLoss: function",
    lambda: TotalLoss({"ce": (1.0, cde_loss)}),
    TypeError, "'ce'", "Module", "function", "CDELoss(bins)",
)  # fmt: skip
case(
    "TotalLoss: by place",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(LOGITS, Z),
    TypeError, "by keyword", "loss(logits=..., z_spec=...)",
)  # fmt: skip
case(
    "TotalLoss: no weight",
    lambda: TotalLoss({"ce": ENTROPY}),
    TypeError,
    "'ce'",
    "(weight, Module)",
)
case(
    "TotalLoss: pair turned round",
    lambda: TotalLoss({"ce": (ENTROPY, 1.0)}),
    TypeError, "'ce'", "(weight, Module)", "before 1.0", "weight first",
)  # fmt: skip
case(
    "TotalLoss: weight not a number",
    lambda: TotalLoss({"ce": ("1", ENTROPY)}),
    TypeError, "'ce'", "weight",
)  # fmt: skip
case(
    "TotalLoss: term without keywords",
    lambda: TotalLoss({"odd": (1.0, _Variadic())}),
    TypeError, "'odd'", "by name",
)  # fmt: skip
case(
    "TotalLoss: missing keyword",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(logits=LOGITS, redshift=Z),
    TypeError, "'ce'", "'z_spec'", "logits, redshift",
)  # fmt: skip
case(
    "TotalLoss: misspelt optional keyword",
    lambda: TotalLoss({"flux": (1.0, FluxLoss(BINS))})(
        logits=LOGITS, residual=RESIDUAL, band_weights=WEIGHT
    ),
    TypeError, "'band_weights'", "'band_weight'",
)  # fmt: skip
case(
    "TotalLoss: term not reduced",
    lambda: TotalLoss({"cde": (1.0, CDELoss(BINS, reduction="none"))})(logits=LOGITS, z_spec=Z),
    ValueError, "'cde'", "(2,)", "reduction='mean'",
)  # fmt: skip
case(
    "TotalLoss: generator used up",
    lambda: TotalLoss({"l2": (1.0, L2Penalty())})(parameters=used_up()),
    ValueError, "parameters", "anew",
)  # fmt: skip
case(
    "TotalLoss: a term's own check",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)})(logits=PROBS, z_spec=Z),
    ValueError, "logits", "without softmax",
)  # fmt: skip

SURE_OF_Z = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
RAMP = WeightSchedule(0.1, "linear", steps=10)
SOMETIMES = WeightSchedule(0.1, every=4)
for name, weights, weighting, error, *says in (
    ("not a Module", {}, ["ce"], TypeError, "weighting", "Module with names", "['ce']"),
    ("no names", {}, nn.Identity(), TypeError, "weighting", "Module with names", "Identity"),
    ("unknown name", {}, UncertaintyWeights(["flux"]), ValueError, "weighting", "'flux'", "ce"),
    ("scheduled", {"ce": RAMP}, UncertaintyWeights(["ce"]), ValueError, "'ce'", "positive number"),
    ("zero", {"ce": 0.0}, UncertaintyWeights(["ce"]), ValueError, "'ce'", "positive number"),
    (
        *("never due", {"ce": SOMETIMES, "cde": SOMETIMES}, None, ValueError),
        *("terms", "every step", "every > 1"),
    ),
):
    case(
        f"TotalLoss: weighting {name}",
        lambda g={"ce": 1.0, "cde": 0.1} | weights, w=weighting: TotalLoss(
            {"ce": (g["ce"], ENTROPY), "cde": (g["cde"], CDELoss(BINS))}, weighting=w
        ),
        error, *says,
    )  # fmt: skip
case(
    "TotalLoss.active: unknown term",
    lambda: TotalLoss({"ce": (1.0, ENTROPY)}).active("flux"),
    ValueError, "name", "one of ce", "'flux'",
)  # fmt: skip
case(
    "TotalLoss: CDE loss in a weighting",
    lambda: TotalLoss(
        {"ce": (1.0, ENTROPY), "cde": (0.1, CDELoss(BINS))}, weighting=ReLoBRaLo(["ce", "cde"])
    )(logits=SURE_OF_Z, z_spec=Z),
    ValueError, "'cde' adds -", "leave it out of names", "fixed weight",
)  # fmt: skip

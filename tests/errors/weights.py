"""Bad input: weights between terms."""

import torch
from errors.table import INF, LOGITS, NAN, Cases, Z, used_up
from torch import nn

from photoz_losses import (
    L2Penalty,
    ReLoBRaLo,
    UncertaintyWeights,
    WeightSchedule,
    gradient_norms,
    l2_penalty,
)

case = Cases()

for options, error, *says in (
    ({"weight": -1.0}, ValueError, "weight", "between 0 and 1e+30", "-1"),
    ({"weight": NAN}, ValueError, "weight", "between 0 and 1e+30", "nan"),
    ({"weight": "1"}, TypeError, "weight", "number", "'1'"),
    ({"weight": 1e300}, ValueError, "weight", "between 0 and 1e+30", "1e+300"),
    ({"start": 1e300}, ValueError, "start", "between 0 and 1e+30", "1e+300"),
    ({"start": INF}, ValueError, "start", "between 0 and 1e+30", "inf"),
    ({"kind": "step"}, ValueError, "kind", "'constant', 'linear', 'cosine'", "'step'"),
    ({"kind": "linear"}, ValueError, "steps", "at least 1", "'linear'"),
    ({"steps": 5}, ValueError, "'constant'", "steps=5", "'linear' or 'cosine'"),
    ({"start": 0.5}, ValueError, "'constant'", "start=0.5", "'linear' or 'cosine'"),
    ({"kind": "linear", "steps": -1}, ValueError, "steps", "at least 0", "-1"),
    ({"kind": "linear", "steps": 2.5}, TypeError, "steps", "integer", "2.5"),
    ({"every": 0}, ValueError, "every", "at least 1", "0"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(
        f"WeightSchedule: {name}",
        lambda o={"weight": 0.1} | options: WeightSchedule(**o),
        error, *says,
    )  # fmt: skip
for scheme in (UncertaintyWeights, ReLoBRaLo):
    for what, names, error, *says in (
        ("one string", "ce", TypeError, "names", "['ce', 'flux']", "'ce'"),
        ("numbers", [1, 2], TypeError, "names", "sequence of str", "[1, 2]"),
        ("none", [], ValueError, "names", "hold at least", "[]"),
        ("twice", ["ce", "ce"], ValueError, "names", "differ", "'ce'"),
    ):
        case(
            f"{scheme.__name__}: names {what}",
            lambda s=scheme, n=names: s(n),
            error, *says,
        )  # fmt: skip
    for what, terms, error, *says in (
        ("missing", {"ce": Z[0]}, ValueError, "terms", "'flux'", "ce"),
        ("negative", {"ce": Z[0], "flux": -Z[0]}, ValueError, "'flux' adds -0.05", "leave it out"),
        ("not reduced", {"ce": Z, "flux": Z}, ValueError, "terms", "scalars", "(2,)"),
        ("a float", {"ce": Z[0], "flux": 0.1}, TypeError, "flux", "torch.Tensor", "float"),
    ):
        case(
            f"{scheme.__name__}: term {what}",
            lambda s=scheme, t=terms: s(["ce", "flux"])(t),
            error, *says,
        )  # fmt: skip
for options, *says in (
    ({"alpha": 1.5}, "alpha", "[0, 1]", "1.5"),
    ({"rho": -0.1}, "rho", "[0, 1]", "-0.1"),
    ({"temperature": 0.0}, "temperature", "positive", "0.0"),
    ({"temperature": NAN}, "temperature", "positive", "nan"),
):
    name = " ".join(f"{key} {value}" for key, value in options.items())
    case(f"ReLoBRaLo: {name}", lambda o=options: ReLoBRaLo(["ce", "flux"], **o), ValueError, *says)
case("ReLoBRaLo: one name", lambda: ReLoBRaLo(["ce"]), ValueError, "names", "at least 2", "'ce'")
THETA = torch.tensor([3.0, 4.0], requires_grad=True)
OTHER = torch.ones(2, requires_grad=True)


def pulled(**terms):
    return gradient_norms(terms, [THETA])


def after_backward():
    term = THETA.square().sum()
    term.backward()
    return pulled(ce=term)


for fault, call, error, *says in (
    (
        "terms detached", lambda: pulled(ce=THETA.sum().detach(), flux=THETA.sum().detach()),
        ValueError, "terms must require gradients", "no_grad", "as TotalLoss returned them",
    ),
    (
        "term not reduced", lambda: pulled(ce=THETA.square()),
        ValueError, "terms['ce']", "scalar", "(2,)", "reduction='mean'",
    ),
    (
        "parameters of another model", lambda: pulled(ce=OTHER.sum(), flux=OTHER.prod()),
        ValueError, "parameters", "enter a term", "of the model that",
    ),
    ("after the backward", after_backward, RuntimeError, "terms['ce']", "before total.backward()"),
):  # fmt: skip
    case(f"gradient_norms: {fault}", call, error, *says)
for fault, parameters, *says in (
    ("a model", nn.Linear(2, 2), "iterable of tensors", "Linear"),
    ("a Sequential", nn.Sequential(nn.Flatten()), "floating-point tensors", "Flatten"),
    ("named_parameters", [*nn.Linear(2, 2).named_parameters()], "floating-point", "tuple"),
):
    for name, call in (
        ("gradient_norms", lambda p: gradient_norms({"ce": THETA.sum()}, p)),
        ("l2_penalty", l2_penalty),
        ("L2Penalty", L2Penalty()),
    ):
        case(
            f"{name}: {fault}",
            lambda c=call, p=parameters: c(p),
            TypeError, "parameters", *says, "call model.parameters()",
        )  # fmt: skip
case(
    "gradient_norms: generator used up",
    lambda: gradient_norms({"ce": LOGITS.sum()}, used_up()),
    ValueError, "parameters", "anew",
)  # fmt: skip

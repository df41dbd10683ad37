"""One table of the public losses, and the laws that every one of them keeps.

A loss that is public but not in the table fails `test_the_table_is_complete`.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import logits as drawn_logits
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import photoz_losses
from photoz_losses import (
    CDELoss,
    CRPSLoss,
    FluxLoss,
    InvarianceLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    ReLoBRaLo,
    RotationDerivativeLoss,
    SpectrophotometricFluxLoss,
    TotalLoss,
    UncertaintyWeights,
    WeightSchedule,
    cde_loss,
    cross_entropy,
    crps_loss,
    flux_loss,
    invariance_loss,
    metrics,
    rebin,
    rotation_derivative_loss,
)
from photoz_losses.calibration import PITRecalibration, TemperatureScaling
from photoz_losses.photometry import (
    FilterSet,
    SyntheticPhotometry,
    flux_residual,
    relative_variance,
)
from photoz_losses.transforms import RandomDihedral, RandomRotation, ResampleBackground

EDGES = (0.0, 0.05, 0.1, 0.25, 0.3, 0.4)
BINS = RedshiftBins(EDGES)
NO_LOGITS = {"L2Penalty", "TotalLoss"}  # in tests of their own
NO_LOSS = {"WeightSchedule", "UncertaintyWeights", "ReLoBRaLo"}  # they weigh terms: as above
MIN_SNR = 5.0  # leaves out some of the bands of `batch`


def photometry() -> SyntheticPhotometry:
    triangle = FilterSet(["t", "u"], [[4800, 5200, 5600], [5500, 5900, 6400]], [[0, 1, 0]] * 2)
    return SyntheticPhotometry(triangle, torch.linspace(3800, 8000, 120, dtype=torch.float64))


@dataclass(frozen=True)
class Loss:
    """A public loss: its function, its Module, and what it takes besides logits, per galaxy."""

    name: str
    function: Callable[..., Tensor]
    module: Callable[..., nn.Module]
    inputs: tuple[str, ...]


def from_spectra(logits: Tensor, spectrum: Tensor, z_spec: Tensor, **options: str) -> Tensor:
    residual, band_weight = flux_residual(photometry(), spectrum, z_spec, BINS)
    return flux_loss(logits, residual, band_weight, **options)


class InUnitsOfError(FluxLoss):
    """FluxLoss with the keyword `variance`, by place."""

    def forward(self, logits: Tensor, residual: Tensor, weight: Tensor, variance: Tensor) -> Tensor:
        return super().forward(logits, residual, weight, variance=variance)


class FromNoisySpectra(SpectrophotometricFluxLoss):
    """SpectrophotometricFluxLoss with the keyword `ivar`, by place."""

    def forward(self, logits: Tensor, flux: Tensor, z_spec: Tensor, ivar: Tensor) -> Tensor:
        return super().forward(logits, flux, z_spec, ivar=ivar)


def from_noisy_spectra(
    logits: Tensor, spectrum: Tensor, z_spec: Tensor, ivar: Tensor, **options: str
) -> Tensor:
    residual, band_weight = flux_residual(
        photometry(), spectrum, z_spec, BINS, ivar=ivar, min_snr=MIN_SNR
    )
    return flux_loss(logits, residual, band_weight, **options)


LOSSES = [
    Loss(
        "RedshiftCrossEntropy",
        lambda logits, z, **options: cross_entropy(logits, z, BINS, **options),
        lambda **options: RedshiftCrossEntropy(RedshiftBins(EDGES), **options),
        ("z_spec",),
    ),
    Loss(
        "CDELoss",
        lambda logits, z, **options: cde_loss(logits, z, BINS, **options),
        lambda **options: CDELoss(RedshiftBins(EDGES), **options),
        ("z_spec",),
    ),
    Loss(
        "CRPSLoss",
        lambda logits, z, **options: crps_loss(logits, z, BINS, **options),
        lambda **options: CRPSLoss(RedshiftBins(EDGES), **options),
        ("z_spec",),
    ),
    Loss(
        "FluxLoss",
        flux_loss,
        lambda **options: FluxLoss(RedshiftBins(EDGES), **options),
        ("residual", "weight"),
    ),
    Loss(
        "SpectrophotometricFluxLoss",
        from_spectra,
        lambda **options: SpectrophotometricFluxLoss(RedshiftBins(EDGES), photometry(), **options),
        ("spectrum", "z_spec"),
    ),
    Loss(
        "FluxLoss[variance]",
        lambda logits, residual, weight, variance, **options: flux_loss(
            logits, residual, weight, variance=variance, **options
        ),
        lambda **options: InUnitsOfError(RedshiftBins(EDGES), **options),
        ("residual", "weight", "variance"),
    ),
    Loss(
        "SpectrophotometricFluxLoss[ivar]",
        from_noisy_spectra,
        lambda **options: FromNoisySpectra(
            RedshiftBins(EDGES), photometry(), min_snr=MIN_SNR, **options
        ),
        ("spectrum", "z_spec", "ivar"),
    ),
    *(
        Loss(
            f"InvarianceLoss[{distance}]",
            lambda logits, other, _d=distance, **options: invariance_loss(
                logits, other, distance=_d, bins=BINS, **options
            ),
            lambda _d=distance, **options: InvarianceLoss(_d, bins=RedshiftBins(EDGES), **options),
            ("other",),
        )
        for distance in ("l2", "symmetric_kl", "cramer")
    ),
    *(
        Loss(
            f"RotationDerivativeLoss[{distance}]",
            lambda logits, derivative, _d=distance, **options: rotation_derivative_loss(
                logits, derivative, distance=_d, bins=BINS, temperature=2.0, **options
            ),
            lambda _d=distance, **options: RotationDerivativeLoss(
                _d, bins=RedshiftBins(EDGES), temperature=2.0, **options
            ),
            ("derivative",),
        )
        for distance in ("l2", "symmetric_kl", "cramer")
    ),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def batch(galaxies: int = 4, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Fixed inputs of every loss, from one seed."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(galaxies, *shape, generator=generator, dtype=torch.float64)

    values = {
        "logits": draw(5),
        "other": draw(5),
        "residual": draw(5, 2),
        "weight": (draw(2) > 0).double(),
        "spectrum": 2 + draw(120).tanh(),
    }
    z = 0.02 + 0.36 * torch.rand(galaxies, generator=generator, dtype=torch.float64)
    values |= {"variance": draw(2).exp(), "ivar": (3 * draw(1) + draw(120).tanh()).exp()}
    values["derivative"] = draw(5)
    return {name: value.to(dtype) for name, value in values.items()} | {"z_spec": z}


def arguments(loss: Loss, **options) -> tuple[Tensor, list[Tensor]]:
    values = batch(**options)
    return values["logits"], [values[name] for name in loss.inputs]


def test_the_table_is_complete():
    public = {
        name
        for name in photoz_losses.__all__
        if isinstance(getattr(photoz_losses, name), type)
        and issubclass(getattr(photoz_losses, name), nn.Module)
    }
    assert {loss.name.split("[")[0] for loss in LOSSES} == (
        public - {"RedshiftBins"} - NO_LOGITS - NO_LOSS
    )


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_function_equals_module(loss, reduction):
    logits, others = arguments(loss)
    expected = loss.function(logits, *others, reduction=reduction)
    assert torch.equal(loss.module(reduction=reduction)(logits, *others), expected)
    assert "(" in repr(loss.module(reduction=reduction))


@every_loss
def test_reductions_agree_and_an_unknown_one_raises(loss):
    logits, others = arguments(loss)
    each = loss.function(logits, *others, reduction="none")
    assert each.shape == (4,)
    torch.testing.assert_close(loss.function(logits, *others), each.mean())
    torch.testing.assert_close(loss.function(logits, *others, reduction="sum"), each.sum())
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none'"):
        loss.function(logits, *others, reduction="average")


@every_loss
def test_a_batch_is_its_singles_and_a_permutation_permutes(loss):
    logits, others = arguments(loss)
    each = loss.function(logits, *others, reduction="none")
    singles = [
        loss.function(logits[i : i + 1], *(x[i : i + 1] for x in others), reduction="none")
        for i in range(4)
    ]
    torch.testing.assert_close(torch.cat(singles), each)
    order = torch.tensor([2, 0, 3, 1])
    permuted = loss.function(logits[order], *(x[order] for x in others), reduction="none")
    torch.testing.assert_close(permuted, each[order])


@every_loss
def test_leading_dimensions_are_free(loss):
    logits, others = arguments(loss)
    each = loss.function(logits, *others, reduction="none")
    folded = loss.function(
        logits.unflatten(0, (2, 2)), *(x.unflatten(0, (2, 2)) for x in others), reduction="none"
    )
    torch.testing.assert_close(folded, each.unflatten(0, (2, 2)))


@every_loss
def test_an_empty_batch_gives_an_empty_answer(loss):
    logits, others = arguments(loss)
    empty = loss.function(logits[:0], *(x[:0] for x in others), reduction="none")
    assert empty.shape == (0,)


@every_loss
def test_gradcheck_in_every_floating_argument(loss):
    logits, others = arguments(loss, galaxies=2)
    differentiable = [
        value.clone().requires_grad_(name not in ("z_spec", "weight", "ivar"))
        for name, value in zip(loss.inputs, others, strict=True)
    ]
    logits = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss.function, (logits, *differentiable))
    assert torch.autograd.gradgradcheck(lambda x: loss.function(x, *others), (logits,))


@every_loss
@pytest.mark.parametrize(
    ("given_type", "result"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_float64_is_kept_and_everything_else_is_float32(loss, given_type, result):
    logits, others = arguments(loss)
    rounded = logits.to(given_type)
    if loss.inputs in [("other",), ("derivative",)]:
        others = [x.to(given_type) for x in others]
    value = loss.function(rounded, *others, reduction="none")
    assert value.dtype == result
    exact = loss.function(rounded.double(), *(x.double() for x in others), reduction="none")
    torch.testing.assert_close(value.double(), exact, rtol=2e-5, atol=2e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing_inside(loss, dtype):
    logits, others = arguments(loss, dtype=torch.float32)
    expected = loss.function(logits, *others, reduction="none")
    with torch.autocast("cpu", dtype=dtype):
        value = loss.function(logits, *others, reduction="none")
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_saturated_logits_give_finite_values_and_gradients(loss, dtype, size):
    _, others = arguments(loss)
    logits = torch.full((4, 5), -size, dtype=dtype)
    logits[torch.arange(4), torch.tensor([0, 1, 3, 4])] = size
    logits.requires_grad_()
    if "z_spec" in loss.inputs:  # also at the outer edges of the grid
        others[loss.inputs.index("z_spec")] = torch.tensor([0.0, 0.4, 0.1, 0.2])
    value = loss.function(logits, *others)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@every_loss
@given(data=st.data())
def test_any_logits_give_finite_values_and_gradients(loss, data):
    _, others = arguments(loss)
    logits = data.draw(drawn_logits(5, batch=4, size=1e4)).requires_grad_()
    value = loss.function(logits, *others)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@every_loss
def test_a_shift_of_all_logits_changes_nothing(loss):
    logits, others = arguments(loss)
    shifted = [x + 3 if name == "other" else x for name, x in zip(loss.inputs, others, strict=True)]
    torch.testing.assert_close(loss.function(logits + 3, *shifted), loss.function(logits, *others))


@every_loss
def test_compiles_whole_forward_and_backward(loss):
    logits, others = arguments(loss, dtype=torch.float32)
    module = loss.module()
    # inductor takes seconds a graph, and has most of these two without their errors
    backend = "aot_eager" if loss.name.endswith(("[ivar]", "[variance]")) else "inductor"
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    one, two = (logits.clone().requires_grad_() for _ in range(2))
    expected, value = module(one, *others), compiled(two, *others)
    expected.backward()
    value.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-6)


@every_loss
def test_vmap_agrees_with_the_batch(loss):
    logits, others = arguments(loss)
    each = torch.func.vmap(lambda *x: loss.function(*x, reduction="none"))(
        logits.unsqueeze(1), *(x.unsqueeze(1) for x in others)
    )
    torch.testing.assert_close(each.squeeze(1), loss.function(logits, *others, reduction="none"))


@every_loss
def test_a_module_under_vmap_and_grad_keeps_no_tensor_of_theirs(loss):
    logits, others = arguments(loss)
    module = loss.module()
    each = torch.func.vmap(module)(logits.unsqueeze(1), *(x.unsqueeze(1) for x in others))
    torch.testing.assert_close(each.mean(), module(logits, *others))
    gradient = torch.func.grad(lambda x: module(x, *others))(logits)
    assert gradient.isfinite().all()
    copy.deepcopy(module)


@every_loss
def test_copies_and_pickles_give_the_same(loss):
    logits, others = arguments(loss)
    module = loss.module()
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(logits, *others), module(logits, *others))
    assert not module.state_dict()  # a checkpoint does not change when a loss is added


def on_fake_cuda(mode: FakeTensorMode, module: nn.Module) -> nn.Module:
    """The module with every buffer a fake CUDA tensor."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            with mode:
                part._buffers[name] = torch.empty_like(mode.from_tensor(buffer), device="cuda")
    return module


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_runs_on_fake_cuda_tensors(loss, dtype):
    """A tensor left on the CPU, or a look at a value, raises under FakeTensorMode."""
    _, others = arguments(loss)
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, loss.module())
    with mode:
        inputs = [torch.empty(x.shape, dtype=torch.float32, device="cuda") for x in others]
        logits = torch.empty(4, 5, dtype=dtype, device="cuda")
        value = module(logits, *inputs)
    assert (value.device.type, value.dtype, value.shape) == ("cuda", torch.float32, ())


def test_a_mix_of_devices_raises_under_fake_cuda():
    """The test above can fail: a module left on the CPU does not take CUDA tensors."""
    mode, left_behind = FakeTensorMode(), CDELoss(RedshiftBins(EDGES))
    for name, buffer in left_behind.bins._buffers.items():
        left_behind.bins._buffers[name] = mode.from_tensor(buffer)
    with mode, pytest.raises(RuntimeError, match=r"[dD]evice"):
        left_behind(torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda"))


@pytest.mark.parametrize(
    "name", ["index", "density", "pdf", "cdf", "quantile", "mean", "median", "mode", "best"]
)
def test_the_reading_of_the_bins_runs_on_fake_cuda_tensors(name):
    mode = FakeTensorMode()
    bins = on_fake_cuda(mode, BINS)
    with mode:
        probs, z = torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda")
        takes = {"index": (z,), "pdf": (probs, z), "cdf": (probs, z), "quantile": (probs, z)}
        assert getattr(bins, name)(*takes.get(name, (probs,))).device.type == "cuda"


def test_photometry_runs_on_fake_cuda_tensors():
    mode = FakeTensorMode()
    module, bins = on_fake_cuda(mode, photometry()), on_fake_cuda(mode, BINS)
    with mode:
        flux, z = torch.empty(3, 120, device="cuda"), torch.empty(3, device="cuda")
        valid = torch.empty(3, 120, dtype=torch.bool, device="cuda")
        results = [
            *module(flux, torch.empty(3, 5, device="cuda"), valid),
            *flux_residual(module, flux, z, bins, valid=valid, quadrature="trapezoid"),
            *flux_residual(module, flux, z, bins, dimming="f_nu"),
            *flux_residual(module, flux, z, bins, valid=valid, ivar=flux),
            *flux_residual(module, flux, z, bins, ivar=flux, min_snr=3.0, quadrature="trapezoid"),
            module.variance(flux, torch.empty(3, 5, device="cuda"), valid),
            module.variance(flux.bfloat16(), torch.empty(5, device="cuda")),
            relative_variance(module, flux, flux, valid=valid),
        ]
    assert {result.device.type for result in results} == {"cuda"}


def test_photometry_on_the_meta_device_has_a_backward():
    module, bins = photometry().to("meta"), RedshiftBins(EDGES).to("meta")
    flux = torch.empty(3, 120, device="meta", requires_grad=True)
    z = torch.empty(3, device="meta", requires_grad=True)
    ivar = torch.empty(3, 120, device="meta")
    residual, _ = flux_residual(module, flux, z, bins, ivar=ivar, min_snr=3.0)
    (residual.sum() + module(flux, torch.empty(5, device="meta"))[0].sum()).backward()
    assert flux.grad.shape == (3, 120)
    assert z.grad.shape == (3,)
    assert relative_variance(module, flux, ivar).shape == (3, 2)


def test_the_batch_of_this_table_has_bands_on_both_sides_of_min_snr():
    values = batch()
    options = {"ivar": values["ivar"], "min_snr": MIN_SNR}
    _, weight = flux_residual(photometry(), values["spectrum"], values["z_spec"], BINS, **options)
    assert 0 < weight.sum() < weight.numel()


DISC = torch.ones(8, 8).tril().bool()
TRANSFORMS = {
    "RandomDihedral": RandomDihedral,
    "RandomRotation": lambda **source: RandomRotation(2, **source),
    "bicubic": lambda **source: RandomRotation(interpolation="bicubic", **source),
    "ResampleBackground": lambda **source: ResampleBackground(unbiased=True, **source),
    "correlated": lambda **source: ResampleBackground(correlated=True, **source),
    "masked": lambda **source: ResampleBackground(mask=DISC, **source),
    "masked, correlated": lambda **source: ResampleBackground(mask=DISC, correlated=True, **source),
}
every_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


@every_transform
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transforms_run_on_fake_cuda_tensors(transform, dtype):
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, transform())
    with mode:
        view = module(torch.empty(3, 5, 8, 8, device="cuda", dtype=dtype))
    assert (view.device.type, view.dtype, view.shape[:2]) == ("cuda", dtype, (3, 5))


@every_transform
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_transforms_keep_type_and_memory_format(transform, dtype, layout):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = images.to(dtype).contiguous(memory_format=layout)
    view = transform(generator=torch.Generator().manual_seed(0))(images)
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=layout)
    assert view.isfinite().all()
    assert torch.equal(view, transform(generator=torch.Generator().manual_seed(0))(images))


@every_transform
def test_transforms_compile_to_one_graph(transform):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    compiled = torch.compile(transform(), fullgraph=True, backend="aot_eager")
    assert compiled(images).shape[:2] == (2, 3)


@every_transform
def test_transforms_with_a_generator_compile_with_a_break(transform):
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    compiled = torch.compile(
        transform(generator=torch.Generator().manual_seed(1)), backend="aot_eager"
    )
    expected = transform(generator=torch.Generator().manual_seed(1))(images)
    torch.testing.assert_close(compiled(images), expected)


@every_transform
def test_transforms_take_an_empty_batch(transform):
    assert transform()(torch.empty(0, 5, 8, 8)).shape[:2] == (0, 5)


def test_rebin_runs_on_fake_cuda_tensors():
    mode = FakeTensorMode()
    bins, new_bins = on_fake_cuda(mode, BINS), on_fake_cuda(mode, RedshiftBins([0.0, 0.2, 0.4]))
    with mode:
        moved = rebin(torch.empty(4, 5, device="cuda"), bins, new_bins)
    assert (moved.device.type, moved.shape) == ("cuda", (4, 2))


@pytest.mark.parametrize("calibration", [TemperatureScaling, PITRecalibration])
def test_calibrations_run_on_fake_cuda_tensors(calibration):
    logits = batch(galaxies=40)["logits"].unsqueeze(1).repeat(1, 5, 1)
    z = torch.linspace(0.01, 0.39, 200)
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, calibration(BINS).fit(logits.flatten(0, 1), z))
    with mode:
        value = module(torch.empty(4, 5, device="cuda"))
    assert (value.device.type, value.shape) == ("cuda", (4, 5))


@pytest.mark.parametrize("weighting", [UncertaintyWeights, ReLoBRaLo])
def test_weights_between_terms_run_on_fake_cuda_tensors(weighting):
    terms = {
        "ce": (1.0, RedshiftCrossEntropy(BINS)),
        "crps": (1.0, CRPSLoss(BINS)),
        "cde": (WeightSchedule(0.1, "linear", steps=3, every=2), CDELoss(BINS)),
    }
    mode = FakeTensorMode()
    loss = on_fake_cuda(mode, TotalLoss(terms, weighting=weighting(["ce", "crps"])))
    for name in loss.weighting._parameters:
        with mode:
            setattr(loss.weighting, name, nn.Parameter(torch.empty(2, device="cuda")))
    with mode:
        logits, z = torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda")
        for due in (True, False):
            total, values = loss(logits=logits, z_spec=z)
            assert (total.device.type, total.shape) == ("cuda", ())
            assert ("cde" in values) == due
            loss.step()


@pytest.mark.parametrize(
    "name",
    [
        *("mad", "bias", "outlier_rate", "pit", "cde_loss", "crps"),
        *("log_score", "brier", "credibility", "coverage", "galaxy_scores"),
    ],
)
def test_metrics_run_on_fake_cuda_tensors(name):
    mode = FakeTensorMode()
    bins = on_fake_cuda(mode, BINS)
    with mode:
        z = torch.empty(4, device="cuda")
        point = name in ("mad", "bias", "outlier_rate")
        inputs = (z, z) if point else (torch.empty(4, 5, device="cuda"), z, bins)
        value = getattr(metrics, name)(*inputs)
        each = value.values() if isinstance(value, dict) else [value]
        assert all(one.device.type == "cuda" for one in each)


@every_loss
def test_a_step_on_the_meta_device_has_a_backward(loss):
    logits, others = arguments(loss)
    module = loss.module().to("meta")
    on_meta = logits.to("meta").requires_grad_()
    module(on_meta, *(x.to("meta") for x in others)).backward()
    assert on_meta.grad.shape == (4, 5)


@pytest.mark.parametrize(
    "loss", [x for x in LOSSES if "z_spec" in x.inputs], ids=lambda loss: loss.name
)
def test_a_redshift_outside_escapes_nowhere(loss):
    logits, others = arguments(loss)
    for bad in (torch.nan, -0.1, 0.41, torch.inf):
        others[loss.inputs.index("z_spec")] = torch.tensor([0.1, 0.2, bad, 0.3])
        with pytest.raises(ValueError, match=r"z_spec must lie in \[0, 0.4\]"):
            loss.function(logits, *others)


@pytest.mark.parametrize("term", [RedshiftCrossEntropy, CDELoss, CRPSLoss])
def test_where_values_cannot_be_read_a_redshift_outside_poisons_value_and_gradient(term):
    loss = term(RedshiftBins(EDGES, validate=False), reduction="none")
    logits = batch()["logits"].requires_grad_()
    value = loss(logits, torch.tensor([0.1, torch.nan, 0.5, 0.3]))
    assert value.isnan().tolist() == [False, True, True, False]
    value.sum().backward()
    assert logits.grad.isnan().any(-1).tolist() == [False, True, True, False]


@pytest.mark.gpu
@every_loss
def test_cuda_equals_the_cpu(loss):
    logits, others = arguments(loss, dtype=torch.float32)
    module = loss.module()
    expected = module(logits, *others)
    value = module.cuda()(logits.cuda(), *(x.cuda() for x in others))
    torch.testing.assert_close(value.cpu(), expected)

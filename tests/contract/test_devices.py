"""Devices: nothing is left on the CPU and nobody waits, by fake CUDA tensors here, else by a GPU.

Under FakeTensorMode a mix of devices raises, and so does every look at a value, see `as_if_real`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import pytest
import torch
from contract.inputs import FILTERS, NETWORK, PIXELS, WAVELENGTH, batch, grid, photometry
from contract.laws import (
    COMPUTES,
    PROMISED,
    arguments,
    assert_same,
    backward,
    is_class,
    law,
    leaves,
    module_of,
    of_option,
    run,
)
from fake_cuda import needs_fake_cuda
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MetricCollection

from photoz_losses import (
    CDELoss,
    CRPSLoss,
    RedshiftCrossEntropy,
    TotalLoss,
    WeightSchedule,
    _check,
    _values,
)
from photoz_losses.photometry import FluxTable, Spectra

SENT = "sends_nothing_to_a_device"
LIKE = batch(dtype=torch.float32)  # drawn under the mode, they took half of the time


def on_fake_cuda(mode: FakeTensorMode, module: nn.Module) -> nn.Module:
    """The module with every buffer, parameter and state of a metric a fake CUDA tensor."""

    def move(tensor: Tensor) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor  # of a part that belongs to two
        with mode:
            return torch.empty_like(mode.from_tensor(tensor), device="cuda")

    module = copy.deepcopy(module)
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = move(buffer)
        for name, weight in part.named_parameters(recurse=False):
            moved = move(weight.detach())
            with mode:
                part._parameters[name] = nn.Parameter(moved)
        for name, default in getattr(part, "_defaults", {}).items():
            part._defaults[name] = [] if isinstance(default, list) else move(default)
            setattr(part, name, copy.copy(part._defaults[name]))
            part._device = torch.device("cuda")
    return module


def fake_arguments(entry, dtype: torch.dtype) -> list[Tensor]:
    """Fake CUDA tensors; to be called under the mode."""
    return [
        torch.empty(
            LIKE[name].shape,
            dtype=dtype if name in NETWORK else LIKE[name].dtype,
            device="cuda",
        )
        for name in entry.inputs
    ]


@contextmanager
def as_if_real() -> Iterator[None]:
    """Fake CUDA tensors are asked what real ones are from the second batch on: a look raises.

    `_check.can_read` says no to fake tensors, and what it guards would run on a GPU only.
    """
    plain = (Tensor, nn.Parameter, FakeTensor)

    def can_read(*tensors: Tensor) -> bool:
        if torch.compiler.is_compiling() or _check.in_functorch():
            return False
        held_back = ("meta", "cpu")  # the host may look at what is its own
        return all(type(x) in plain and x.device.type not in held_back for x in tensors)

    with (
        mock.patch.object(_check, "can_read", can_read),
        mock.patch.object(_values.Look, "at", return_value=False),  # the first look is over
    ):
        yield


@needs_fake_cuda
@law(*COMPUTES, dear=of_option)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_runs_on_fake_cuda(entry, dtype):
    if dtype == torch.bfloat16 and entry.kind == "view":
        pytest.skip("the network of the views is in float32")
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, module_of(entry))
    with mode, as_if_real():
        results = leaves(run(entry, module, fake_arguments(entry, dtype)))
    assert {part.device.type for part in results} == {"cuda"}


@needs_fake_cuda
@law("metric", dear=of_option)
def test_updates_on_fake_cuda(entry):
    mode = FakeTensorMode()
    metric, sends = on_fake_cuda(mode, module_of(entry)), SENT in entry.excused
    if isinstance(metric, MetricCollection):
        metric._groups_checked = True  # as after its first batch, whose states it compares
    with mode:
        values = fake_arguments(entry, torch.float32)
        for _ in range(2):
            with nullcontext() if sends else Copies(), as_if_real():
                metric.update(**dict(zip(entry.inputs, values, strict=True)))
    parts = metric.values() if isinstance(metric, MetricCollection) else [metric]
    states = leaves([list(part.metric_state.values()) for part in parts])
    assert {state.device.type for state in states} == {"cuda"}


class Copies(TorchDispatchMode):
    """Raises where the host sends values to a device and waits until they are there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            blocks = not (kwargs.get("non_blocking") or args[2:3] == (True,))
            source = args[func is torch.ops.aten.copy_.default]
            result = func(*args, **kwargs)
            if blocks and source.device.type != result.device.type:
                raise RuntimeError(f"{func} copies from {source.device} to {result.device}")
            return result
        return func(*args, **kwargs)


@needs_fake_cuda
@law(*COMPUTES, dear=of_option)
def test_sends_nothing_to_a_device(entry):
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, module_of(entry))
    with mode:
        values = fake_arguments(entry, torch.float32)
        with Copies(), as_if_real():
            run(entry, module, values)


class Sends(CDELoss):
    """A loss that makes a number of the host a tensor of the device."""

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        return super().forward(logits, z_spec) * torch.as_tensor(2.0, device=logits.device)


@needs_fake_cuda
def test_a_copy_to_a_device_raises_under_fake_cuda():
    """The law can fail: ``torch.as_tensor(number, device=)`` does not pass."""
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, Sends(grid()))
    with mode, Copies(), pytest.raises(RuntimeError, match="copies from cpu to cuda"):
        module(torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda"))


@needs_fake_cuda
def test_a_mix_of_devices_raises_under_fake_cuda():
    """The law can fail: a module left on the CPU does not take CUDA tensors."""
    mode, left_behind = FakeTensorMode(), CDELoss(grid())
    for name, buffer in left_behind.bins._buffers.items():
        left_behind.bins._buffers[name] = mode.from_tensor(buffer)
    with mode, pytest.raises(RuntimeError, match=r"[dD]evice"):
        left_behind(torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda"))


class Waits(CDELoss):
    """A loss that looks at its value: the host waits for the device."""

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        value = super().forward(logits, z_spec)
        return value if value.item() < 0 else 2 * value


@needs_fake_cuda
def test_a_look_at_a_value_raises_under_fake_cuda():
    """The law can fail: ``.item()`` does not pass."""
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, Waits(grid()))
    with mode, pytest.raises(DataDependentOutputException, match="_local_scalar_dense"):
        module(torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda"))


class Guarded(CDELoss):
    """A loss that looks at every value that can be read, on whatever device."""

    def forward(self, logits: Tensor, z_spec: Tensor) -> Tensor:
        if _check.can_read(logits) and not bool(logits.isfinite().all()):
            raise ValueError("logits must be finite")
        return super().forward(logits, z_spec)


@needs_fake_cuda
def test_a_guarded_look_raises_as_if_fake_tensors_were_real():
    """The law can fail: a look behind `_check.can_read` passes without it, and not with it."""
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, Guarded(grid()))
    with mode:
        values = torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda")
        module(*values)
        with as_if_real(), pytest.raises(DataDependentOutputException, match="_local_scalar"):
            module(*values)


@needs_fake_cuda
def test_a_schedule_is_due_and_not_due_on_fake_cuda():
    mode = FakeTensorMode()
    terms = {
        "ce": (1.0, RedshiftCrossEntropy(grid())),
        "crps": (1.0, CRPSLoss(grid())),
        "cde": (WeightSchedule(0.1, "linear", steps=3, every=2), CDELoss(grid())),
    }
    loss = on_fake_cuda(mode, TotalLoss(terms))
    with mode:
        logits, z = torch.empty(4, 5, device="cuda"), torch.empty(4, device="cuda")
        for due in (True, False):
            total, values = loss(logits=logits, z_spec=z)
            assert (total.device.type, total.shape) == ("cuda", ())
            assert ("cde" in values) == due
            loss.step()


@needs_fake_cuda
def test_valid_pixels_and_variances_run_on_fake_cuda():
    mode = FakeTensorMode()
    module = on_fake_cuda(mode, photometry())
    with mode:
        flux, nu = torch.empty(3, PIXELS, device="cuda"), torch.empty(3, 5, device="cuda")
        valid = torch.empty(3, PIXELS, dtype=torch.bool, device="cuda")
        results = [
            *module(flux, nu, valid),
            module.variance(flux, nu, valid),
            module.variance(flux.bfloat16(), torch.empty(5, device="cuda")),
        ]
    assert {result.device.type for result in results} == {"cuda"}


def table() -> FluxTable:
    values = batch()
    valid = torch.ones(4, PIXELS, dtype=torch.bool)
    spectra = Spectra(
        WAVELENGTH, values["spectrum"].float(), values["ivar"].float(), values["z_spec"], valid
    )
    return FluxTable.build(spectra, grid(), photometry(), min_snr=0.0, progress=False)


@needs_fake_cuda
def test_the_table_is_looked_up_on_fake_cuda():
    whole, mode = table(), FakeTensorMode()
    assert whole.filters.names == FILTERS.names
    fake = copy.copy(whole)
    fake._columns = {
        name: on_fake_cuda(mode, _Holding(column)).held
        if name in ("residual", "band_weight", "variance")
        else column
        for name, column in whole._columns.items()
    }
    with mode:
        rows = torch.empty(3, dtype=torch.int64, device="cuda")
        gathered = [*fake[rows], *fake[0], *fake[1:3], fake.variance, *fake.__getitems__([2, 0])[0]]
    assert {part.device.type for part in gathered} == {"cuda"}
    assert gathered[0].shape == (3, 5, 2)


class _Holding(nn.Module):
    def __init__(self, held: Tensor) -> None:
        super().__init__()
        self.register_buffer("held", held)


@pytest.fixture
def _deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def twice(entry, device: str) -> None:
    """Values and gradients from the same start, to the bit."""
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        module = module_of(entry).to(device)
        first, *others = (x.to(device) for x in arguments(entry, dtype=torch.float32))
        first.requires_grad_(first.is_floating_point() and not is_class(module))
        parts = leaves(run(entry, module, [first, *others]))
        backward(parts)
        results.append(parts + ([first.grad] if first.grad is not None else []))
    assert_same(results[0], results[1], rtol=0, atol=0)


@law(*COMPUTES)
@pytest.mark.usefixtures("_deterministic")
def test_gives_the_same_twice(entry):
    twice(entry, "cpu")


@pytest.mark.gpu
@law(*COMPUTES)
@pytest.mark.usefixtures("_deterministic")
def test_gives_the_same_twice_on_a_gpu(entry):
    twice(entry, "cuda")


@pytest.mark.gpu
@law(*COMPUTES)
def test_waits_for_no_device(entry):
    """From the second batch on: the first may be looked at, see `validate` in RedshiftBins."""
    module = module_of(entry).cuda()
    values = [x.cuda() for x in arguments(entry, dtype=torch.float32)]
    run(entry, module, values)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(entry, module, values)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@law(*PROMISED)
def test_cuda_equals_the_cpu(entry):
    values = arguments(entry, dtype=torch.float32)
    expected = leaves(run(entry, module_of(entry), values))
    actual = leaves(run(entry, module_of(entry).cuda(), [x.cuda() for x in values]))
    assert_same([part.cpu() for part in actual], expected)

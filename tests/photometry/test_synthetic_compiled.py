"""The flux in bands under torch.compile, and the same numbers however often it is computed."""

import numpy as np
import pytest
import torch
from photometry.spectroscopy import SDSS_GRID
from reference import C_ANGSTROM
from torch._dynamo.testing import CompileCounterWithBackend

from photoz_losses import RedshiftBins
from photoz_losses.photometry import FilterSet, SyntheticPhotometry

UNIT = C_ANGSTROM / 5000.0**2  # brings the flux in bands to about 1
LOG_GRID = 10 ** np.linspace(3.55, 4.0, 300)
# one band leaves the spectrum with the shift, one it never reaches
FILTERS = FilterSet(
    ["leaves", "outside"],
    [[8000, 8300, 8800, 9100], [20000, 21000, 22000]],
    [[0, 0.7, 1, 0], [0, 1, 0]],
)
ONE = FilterSet(["leaves"], FILTERS.wavelengths[:1], FILTERS.responses[:1])  # compiles faster


@pytest.fixture(autouse=True)
def forgotten():
    """No test finds what another has compiled."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def spectra_of(batch: int, wavelength, masked: bool = False) -> list[torch.Tensor | None]:
    """Flux, shifts by 20 bins, mask; leaves that want a gradient."""
    rng = np.random.default_rng(batch)
    flux = torch.from_numpy(rng.uniform(0.5, 2.0, (batch, len(wavelength))))
    z_spec = torch.from_numpy(rng.uniform(0.0, 0.3, (batch, 1)))
    nu = (1 + RedshiftBins.uniform(0.0, 0.4, 20).centers) / (1 + z_spec)
    valid = torch.from_numpy(rng.uniform(size=flux.shape) > 0.02) if masked else None
    return [flux.requires_grad_(), nu.requires_grad_(), valid]


def with_gradients(call, flux, nu, valid=None, seed: int = 0):
    """Flux in bands, coverage, and the gradients of a sum with random weights."""
    bands, coverage = call(flux, nu, valid)
    weight = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 1.5, bands.shape))
    (weight * (UNIT * bands + coverage)).sum().backward()
    gradients = flux.grad.clone(), nu.grad.clone()
    flux.grad = nu.grad = None
    return bands.detach(), coverage.detach(), *gradients


def assert_equal_to_rounding(got, expected) -> None:
    """1e-12 where half a per cent of the filter is covered; there the sums keep these digits."""
    for value, exact in zip(got[:2], expected[:2], strict=True):
        kept = expected[1] > 5e-3
        assert (value - exact).abs()[kept].le(1e-12 * exact[kept].abs()).all()
        assert torch.equal(value == 0, exact == 0)
    for gradient, exact in zip(got[2:], expected[2:], strict=True):
        assert (gradient - exact).abs().max() <= 1e-10 * exact.abs().max()


# Compiled ----------------------------------------------------------------------------------------


def test_one_compilation_serves_every_batch_size_that_is_marked():
    photometry = SyntheticPhotometry(ONE, LOG_GRID)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(photometry, fullgraph=True, backend=counter)
    for batch in (4, 7, 3):
        inputs = spectra_of(batch, LOG_GRID, masked=True)
        for tensor in inputs:
            torch._dynamo.mark_dynamic(tensor, 0)
        assert_equal_to_rounding(
            with_gradients(compiled, *inputs), with_gradients(photometry, *inputs)
        )
        assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True], ids=["all valid", "masked"])
def test_a_second_change_of_the_batch_size_compiles_nothing(masked):
    photometry = SyntheticPhotometry(ONE, LOG_GRID)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(photometry, fullgraph=True, backend=counter)
    compilations = []
    for batch in (4, 7, 3):
        inputs = spectra_of(batch, LOG_GRID, masked)
        assert_equal_to_rounding(
            with_gradients(compiled, *inputs), with_gradients(photometry, *inputs)
        )
        compilations.append(counter.frame_count)
    assert compilations[0] == 1
    assert compilations[1] <= 2
    assert compilations[1:] == compilations[1:2] * 2


@pytest.mark.parametrize(
    "wavelength",
    [np.linspace(3600, 9900, 250), 12500 - np.geomspace(8900, 2600, 200)],
    ids=["linear", "any"],
)
def test_compiled_on_other_grids_equals_eager(wavelength, request):
    photometry = SyntheticPhotometry(FILTERS, wavelength)
    assert photometry.sums.grid == request.node.callspec.id
    compiled = torch.compile(photometry, fullgraph=True, backend="aot_eager")
    inputs = spectra_of(5, wavelength, masked=True)
    assert_equal_to_rounding(with_gradients(compiled, *inputs), with_gradients(photometry, *inputs))


@pytest.mark.slow
def test_steep_filters_and_jumps_compile_too():
    filters = FilterSet(
        ["jump", "steep"],
        [[5000.0, 6000.0], [4999.999, 5000.0, 6000.0, 6000.001]],
        [[1.0, 1.0], [0.0, 1.0, 1.0, 0.0]],
    )
    photometry = SyntheticPhotometry(filters, LOG_GRID)
    compiled = torch.compile(photometry, fullgraph=True, backend="aot_eager")
    inputs = spectra_of(3, LOG_GRID)
    assert_equal_to_rounding(with_gradients(compiled, *inputs), with_gradients(photometry, *inputs))


def test_the_variance_compiles_and_equals_eager():
    photometry = SyntheticPhotometry(FILTERS, LOG_GRID)
    compiled = torch.compile(photometry.variance, fullgraph=True, backend="aot_eager")
    ivar, nu, valid = spectra_of(4, LOG_GRID, masked=True)
    got, expected = (call(ivar, nu, valid) for call in (compiled, photometry.variance))
    kept = photometry(ivar, nu, valid)[1] > 5e-3
    assert kept.any()
    assert (got - expected).abs()[kept].le(1e-11 * expected[kept]).all()


# Deterministic -----------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 40])
def test_gradients_are_the_same_bits_with_one_thread_and_with_two(batch, two_threads):
    photometry = SyntheticPhotometry(FilterSet.from_speclite("sdss2010-*"), SDSS_GRID)
    inputs = spectra_of(batch, SDSS_GRID, masked=True)
    runs = []
    for threads in (1, 2, 2, 1):
        torch.set_num_threads(threads)
        runs.append(with_gradients(photometry, *inputs))
    assert all(all(map(torch.equal, run, runs[0])) for run in runs[1:])


def test_compiled_by_inductor_equals_eager_and_gives_the_same_bits_in_every_run(two_threads):
    photometry = SyntheticPhotometry(ONE, LOG_GRID)
    assert photometry.sums.grid == "log"
    compiled = torch.compile(photometry, fullgraph=True)
    inputs = spectra_of(1, LOG_GRID)  # one spectrum: the threads share its sums
    runs = [with_gradients(compiled, *inputs) for _ in range(10)]
    assert_equal_to_rounding(runs[0], with_gradients(photometry, *inputs))
    assert all(all(map(torch.equal, run, runs[0])) for run in runs[1:])

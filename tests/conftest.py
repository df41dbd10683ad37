"""Hypothesis profiles, and where the real data lie."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# compile and photometry are slow beside what hypothesis expects of a unit
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    max_examples=30,  # of a test; tests/fuzz has counts of its own, in fuzz/examples.py
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("ci"), derandomize=False, max_examples=1000)
# in it tests/fuzz draws about 12,000 examples, new ones each night; by default few, the same
settings.register_profile("nightly", settings.get_profile("fuzz"))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; many small tensors want one thread."""
    import torch

    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or each count of devices looks for a driver anew
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish() -> None:
    """Leave what was imported out of every later collection of garbage: a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Subnormal numbers are no zeros: some of the oldest releases switch them off when loaded."""
    import torch

    torch.set_flush_denormal(False)


# torch is imported by the processes that run tests, and not by the one that starts these
gc.set_threshold(20_000, 20, 50)  # from the imports on: thousands of tests live until the end
os.environ.setdefault("TORCH_DYNAMO_RUN_GC_AFTER_COMPILE", "0")  # read when Dynamo is imported

BESIDE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real SDSS spectra and stamps, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("PHOTOZ_LOSSES_DATA", BESIDE_CHECKOUT))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}: set PHOTOZ_LOSSES_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def spectrum_files(data_folder: Path) -> list[Path]:
    """The real SDSS spectra."""
    return sorted((data_folder / "spectra").glob("spec-*.fits"))

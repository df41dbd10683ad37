"""Laws of the transforms alone: what they keep of the images."""

import pytest
import torch
from contract.laws import law


def images(dtype: torch.dtype, layout: torch.memory_format) -> torch.Tensor:
    drawn = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return drawn.to(dtype).contiguous(memory_format=layout)


def seeded(entry):
    return entry.build(generator=torch.Generator().manual_seed(0))


@law("transform")
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_transform_keeps_type_and_memory_format(entry, dtype, layout):
    given = images(dtype, layout)
    view = seeded(entry)(given)
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=layout)
    assert view.isfinite().all()
    assert torch.equal(view, seeded(entry)(given))


@law("transform")
def test_a_transform_takes_an_empty_batch(entry):
    assert entry.build()(torch.empty(0, 5, 8, 8)).shape[:2] == (0, 5)

"""Fake CUDA tensors where there is no GPU: which tests need a torch that can index them."""

import pytest
import torch

needs_fake_cuda = pytest.mark.skipif(
    not torch.cuda.is_available() and not hasattr(torch._C, "_ensureCUDADeviceGuardSet"),
    reason="before its #163187 (2025) torch indexed fake CUDA tensors only with a driver",
)

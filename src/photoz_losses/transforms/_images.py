"""What the transforms ask of a batch, and where they draw their random numbers."""

import hashlib
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import get_worker_info

from photoz_losses import _check


def check_images(images: Tensor, *, square: bool = False) -> None:
    """ValueError or TypeError unless `images` is a batch (N, bands, H, W) of floating point."""
    if _check.floating("images", images).ndim != 4:
        raise ValueError(
            f"images must have shape (N, bands, H, W), got {tuple(images.shape)}: for one image "
            f"call images.unsqueeze(0)"
        )
    if 0 in images.shape[-2:]:
        raise ValueError(f"images must have pixels, got shape {tuple(images.shape)}: leave it out")
    if square and images.shape[-2] != images.shape[-1]:
        raise ValueError(
            f"images must be square to be turned, got {tuple(images.shape[-2:])} pixels: cut them"
        )


def pixel_mask(name: str, value: Tensor, images: Tensor) -> Tensor:
    """`value`, of shape (N, H, W) or that of `images`, to be broadcast to `images`; else errors."""
    if _check.dense(name, value).dtype != torch.bool:
        raise TypeError(
            f"{name} must be a bool tensor, got {value.dtype}: compare it, {name} > 0 for one"
        )
    of_all_bands = (len(images), *images.shape[-2:])
    if tuple(value.shape) not in (of_all_bands, tuple(images.shape)):
        raise ValueError(
            f"{name} must have shape {of_all_bands}, one for all bands of an image, or "
            f"{tuple(images.shape)} as images, got {tuple(value.shape)}"
        )
    value = value.to(images.device)
    return value.unsqueeze(1) if value.ndim == 3 else value


def source_of_draws(images: Tensor, generator: torch.Generator | None) -> dict[str, Any]:
    """The keywords `device` and, if there is one, `generator` of one call's draws.

    (A generator of None does not compile where shapes are dynamic.)

    In the main process of rank 0 that is the user's `generator` itself. Every DataLoader worker and
    every rank holds a copy of it in the same state, so there each call gets one of its own, seeded
    by that state, the worker's seed and the rank. A CUDA generator keeps its state on the host:
    no one waits for a device.
    """
    _check.generator("generator", generator)
    if generator is None:
        return {"device": images.device}
    worker = get_worker_info()
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    if worker is None and rank == 0:
        return {"device": generator.device, "generator": generator}
    place = f"{rank} {None if worker is None else worker.seed}".encode()
    state = generator.get_state().numpy().tobytes()
    digest = hashlib.blake2b(place + state, digest_size=8).digest()
    torch.rand(1, generator=generator, device=generator.device)  # the next call finds another state
    own = torch.Generator(device=generator.device)
    own.manual_seed(int.from_bytes(digest, "little", signed=True))
    return {"device": generator.device, "generator": own}


def _with_state(device: str, state: bytes) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


def _by_state(generator: torch.Generator) -> tuple[Any, ...]:
    return _with_state, (str(generator.device), generator.get_state().numpy().tobytes())


# torch sends the state in shared memory, which a spawned DataLoader worker finds closed, and ends
ForkingPickler.register(torch.Generator, _by_state)


def laid_out_as(images: Tensor, view: Tensor) -> Tensor:
    """`view` in the type and memory format (channels last or not) of `images`."""
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    if channels_last and not images.is_contiguous():
        return view.to(images.dtype).contiguous(memory_format=torch.channels_last)
    return view.to(images.dtype).contiguous()

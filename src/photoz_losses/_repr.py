"""Options in a ``repr``: every one that is in use, and no tensor's entries."""

import torch
from torch import Tensor


def options(owner: object, *names: str) -> str:
    """``name=value, ...`` of attributes; what is None is not in use, and left out."""
    values = {name: getattr(owner, name) for name in names}
    return ", ".join(
        f"{name}={brief(value)}" for name, value in values.items() if value is not None
    )


def brief(value: object) -> str:
    """A value in one line; of a tensor that is no scalar its type and shape."""
    if isinstance(value, Tensor):
        if value.ndim or value.device.type == "meta":
            return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        value = value.item()
    if isinstance(value, torch.Generator):
        return f"Generator(seed={value.initial_seed()})"
    return f"{value:g}" if isinstance(value, float) else repr(value)

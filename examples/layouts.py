"""Layers that oneDNN, which convolves for PyTorch on x86 CPUs, gets wrong when channels come last.

Where a 1 x 1 convolution with a stride takes fewer channels than a vector register holds numbers
(8 with AVX2, 16 with AVX-512), the gradient of its weights is written beyond the end of a buffer:
the process dies, hangs, or goes on with wrong numbers
(https://github.com/uxlfoundation/oneDNN/issues/6035; torch 2.14). ``torch.compile`` puts the
channels last by itself. On GPUs, and in PyTorch's usual layout, the same layers are right.
"""

from torch import nn

VECTOR = 16  # numbers in the widest register


def overrunning(network: nn.Module) -> list[str]:
    """Names of the network's layers that are so."""
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
        and max(layer.kernel_size) == 1
        and max(layer.stride) > 1
        and 1 < layer.in_channels // layer.groups < VECTOR  # of one channel, both layouts are one
    ]


def check_layout(network: nn.Module, device: str, options: dict[str, bool]) -> None:
    """Refuse ``options`` that put the channels last, where the network has such a layer."""
    given = [name for name, value in options.items() if value]
    if device == "cpu" and given and (layers := overrunning(network)):
        raise ValueError(
            f"{' and '.join(given)} must be false on a CPU for this network: oneDNN overruns its "
            f"memory in the backward pass of {', '.join(layers)}, a 1 x 1 convolution with a "
            f"stride and fewer than {VECTOR} channels. Train on a GPU, or without"
        )

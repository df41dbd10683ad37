"""The network: shapes for both stems, the width of 1025, and what it says to bad input."""

from importlib import import_module

import pytest
import torch

pytest.importorskip("torchvision", reason="the examples' network is torchvision's ResNet50")

network = import_module("network")

NOISE = (0.040, 0.016, 0.026, 0.041, 0.161)


@pytest.mark.parametrize(("stem", "last"), [("torchvision", 1), ("paper", 4)])
def test_logits_and_width(stem: str, last: int) -> None:
    model = network.PhotozResNet50(180, NOISE, stem=stem, bin_factor=2).eval()
    maps, inputs = [], []
    model.body.layer4.register_forward_hook(lambda *call: maps.append(call[2]))
    model.head.register_forward_hook(lambda *call: inputs.append(call[1][0]))
    ebv = torch.tensor([0.02, 0.3])
    with torch.no_grad():
        logits = model(torch.randn(2, 5, 64, 64), ebv)
    assert logits.shape == (2, 180)
    assert maps[0].shape == (2, 2048, last, last)
    assert inputs[0].shape == (2, 1025)
    assert torch.equal(inputs[0][:, -1], ebv)


def test_extinction_reaches_the_logits() -> None:
    model = network.PhotozResNet50(180, NOISE, bin_factor=2, zero_init=False).eval()
    image = torch.randn(1, 5, 64, 64).expand(2, -1, -1, -1)
    logits = model(image, torch.tensor([0.0, 1.0]))
    change = logits[1] - logits[0]
    torch.testing.assert_close(change, model.head.weight[:, -1], rtol=1e-3, atol=1e-4)


def test_binning_keeps_the_flux() -> None:
    model = network.PhotozResNet50(10, NOISE, bin_factor=4)
    seen = []
    model.stretch.register_forward_hook(lambda *call: seen.append(call[1][0]))
    image = torch.rand(2, 5, 32, 32)
    model(image, torch.zeros(2))
    assert seen[0].shape == (2, 5, 8, 8)
    torch.testing.assert_close(seen[0].sum((2, 3)), image.sum((2, 3)))
    torch.testing.assert_close(model.stretch.scale.flatten(), 40 * torch.tensor(NOISE))


def test_stretch() -> None:
    image = torch.tensor([-1.0, 0.0, 2.0, 800.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(network.AsinhStretch([0.5])(image).sinh() * 0.5, image)


def test_weights_are_he_normal() -> None:
    model = network.PhotozResNet50(180, NOISE, zero_init=False)
    for layer, fan in ((model.head, 1025), (model.body.fc, 2048), (model.body.conv1, 245)):
        assert layer.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.03)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match='stem must be "torchvision" or "paper", got \'hayat\''):
        network.PhotozResNet50(180, NOISE, stem="hayat")
    model = network.PhotozResNet50(180, NOISE, bin_factor=2)
    with pytest.raises(ValueError, match=r"image must be \[N, 5, H, W\], got \[2, 3, 64, 64\]"):
        model(torch.zeros(2, 3, 64, 64), torch.zeros(2))
    with pytest.raises(ValueError, match=r"bin_factor=2, got \[2, 5, 51, 51\]"):
        model(torch.zeros(2, 5, 51, 51), torch.zeros(2))
    with pytest.raises(ValueError, match=r"ebv must be \[N\] = \[2\], got \[2, 1\]"):
        model(torch.zeros(2, 5, 64, 64), torch.zeros(2, 1))


def test_zero_init_starts_from_flat_densities() -> None:
    model = network.PhotozResNet50(180, NOISE, bin_factor=2)
    assert not model(torch.randn(2, 5, 64, 64), torch.zeros(2)).any()
    assert all(not block.bn3.weight.any() for block in model.body.layer3)
    assert network.PhotozResNet50(180, NOISE, zero_init=False).body.layer3[0].bn3.weight.all()

"""Models on views of a batch: against forwards one by one, closed forms and turned images."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_cuda import needs_fake_cuda
from rendered import profile
from torch import nn
from torch._subclasses import FakeTensorMode
from torchvision.models.resnet import BasicBlock, ResNet

from photoz_losses import (
    InvarianceLoss,
    RedshiftBins,
    RedshiftCrossEntropy,
    RotationDerivativeLoss,
    TotalLoss,
    Views,
    average_views,
    rotation_derivative,
    rotation_derivative_loss,
    two_views,
)
from photoz_losses.transforms import (
    RandomDihedral,
    ResampleBackground,
    dihedral,
    tangent_image,
)

BANDS, SIDE, C = 3, 12, 5
both_ways = pytest.mark.parametrize("detach", [False, True])
both_modes = pytest.mark.parametrize("training", [False, True])


class Network(nn.Module):
    """Convolutions with BatchNorm, and one more number a galaxy before the last layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(BANDS, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.Softplus(), nn.Flatten()),
        )
        self.head = nn.Linear(6 * 16 + 1, C)

    def forward(self, images, ebv=None, scale=1.0):
        features = self.body(images)
        ebv = features.new_zeros(len(features)) if ebv is None else ebv
        return self.head(torch.cat([features, ebv[:, None].to(features.dtype)], 1)) * scale


def network(training=False, dtype=torch.float64):
    torch.manual_seed(0)
    return Network().to(dtype).train(training)


def batch(n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n)
    images = torch.randn(n, BANDS, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.rand(n, generator=generator, dtype=torch.float64).to(dtype)


def flipped(images):
    return images.flip(-1)


# Two views ---------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.01])
def test_each_view_gets_the_logits_of_a_forward_of_its_own(detach, fraction):
    model, (images, ebv) = network(), batch()
    views = two_views(model, images, flipped, ebv, 2.0, fraction=fraction, detach=detach)
    assert isinstance(views, Views)
    rows = torch.arange(6) if views.rows is None else views.rows
    assert (views.rows is None) == (fraction == 1)
    assert len(rows) == max(1, round(6 * fraction))
    assert len(set(rows.tolist())) == len(rows)
    torch.testing.assert_close(views.logits, model(images, ebv, 2.0))
    expected = model(flipped(images[rows]), ebv[rows], 2.0)
    torch.testing.assert_close(views.logits_transformed, expected)
    assert views.logits.requires_grad
    assert views.logits_transformed.requires_grad != detach


@both_ways
def test_what_the_view_takes_besides_goes_along_with_its_galaxy(detach):
    images, _ = batch()
    masks = torch.arange(6.0, dtype=images.dtype).view(6, 1, 1, 1)

    def view(x, mask, factor, name):
        assert (factor, name) == (2.0, "sky")
        return x * 0 + mask * factor

    inputs = [masks, 2.0, "sky"]
    views = two_views(
        lambda x: x.flatten(1), images, view, view_inputs=inputs, fraction=0.5, detach=detach
    )
    expected = 2 * views.rows.double()
    assert (views.logits_transformed == expected[:, None]).all()


def test_rows_are_drawn_anew_and_from_the_generator():
    model, (images, _) = network(), batch(40)

    def draw(generator):
        return two_views(model, images, flipped, fraction=0.25, generator=generator).rows

    one, two = (torch.Generator().manual_seed(3) for _ in range(2))
    first, second = draw(one), draw(one)
    assert torch.equal(first, draw(two))
    assert not torch.equal(first.sort().values, second.sort().values)
    counts = torch.stack([draw(one) for _ in range(400)]).flatten().bincount(minlength=40)
    # 100 each on average, with a binomial deviation of 8.7
    assert 60 < counts.min() < counts.max() < 140


@both_ways
def test_a_total_loss_takes_what_comes_back(detach):
    bins = RedshiftBins.uniform(0.0, 0.4, C)
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "same": (0.5, InvarianceLoss())})
    model, (images, _) = network(training=True), batch()
    views = two_views(model, images, flipped, fraction=0.5, detach=detach)
    total, terms = loss(**views._asdict(), z_spec=torch.full((6,), 0.1))
    total.backward()
    assert terms["same"] > 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_detached_view_stands_still_for_the_gradient():
    images, _ = batch()
    model, twin = network(), network()
    InvarianceLoss()(*two_views(model, images, flipped, detach=True)).backward()
    other = twin(flipped(images)).detach()
    InvarianceLoss()(twin(images), other).backward()
    for got, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad)


def moments(*batches):
    """What BatchNorm learns from each of some batches, in turn: NumPy, momentum 0.1."""
    mean, var = np.zeros(BANDS), np.ones(BANDS)
    for images in batches:
        values = np.moveaxis(images.numpy(), 1, 0).reshape(BANDS, -1)
        mean = 0.9 * mean + 0.1 * values.mean(1)
        var = 0.9 * var + 0.1 * values.var(1, ddof=1)
    return mean, var


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_batchnorm_learns_once_from_both_views_or_from_the_images_when_detached(fraction):
    images, _ = batch()

    def brighter(x):
        return 2 * x + 3

    for detach in (False, True):
        norm = nn.BatchNorm2d(BANDS).double()
        views = two_views(norm, images, brighter, fraction=fraction, detach=detach)
        rows = slice(None) if views.rows is None else views.rows
        other = brighter(images[rows])
        mean, var = moments(images if detach else torch.cat([images, other]))
        np.testing.assert_allclose(norm.running_mean, mean)
        np.testing.assert_allclose(norm.running_var, var)
        assert norm.num_batches_tracked == 1
        assert norm.track_running_stats
        for logits in (views.logits, views.logits_transformed) if detach else ():
            torch.testing.assert_close(logits.mean((0, 2, 3)), torch.zeros(BANDS).double())
        if not detach:  # the two together have mean zero, each for itself does not
            together = torch.cat([views.logits, views.logits_transformed])
            torch.testing.assert_close(together.mean((0, 2, 3)), torch.zeros(BANDS).double())
            assert (views.logits.mean((0, 2, 3)) < -0.3).all()


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(BANDS),
        nn.BatchNorm2d(BANDS, momentum=None),
        nn.InstanceNorm2d(BANDS, track_running_stats=True),
        nn.BatchNorm2d(BANDS, track_running_stats=False),
    ],
    ids=repr,
)
def test_a_norm_learns_from_the_images_what_it_would_without_the_views(norm):
    images = batch()[0].float()
    alone, both = copy.deepcopy(norm), copy.deepcopy(norm)
    for factor in (1.0, 2.0):
        expected = alone(factor * images)
        views = two_views(both, factor * images, lambda x: 3 * x + 2, detach=True)
        torch.testing.assert_close(views.logits, expected)
    for name, value in alone.state_dict().items():
        assert torch.equal(both.state_dict()[name], value)
    assert both.momentum == norm.momentum
    assert both.track_running_stats == norm.track_running_stats


def test_the_norms_of_a_method_are_found():
    norm, (images, _) = nn.BatchNorm2d(BANDS).double(), batch()
    two_views(norm.forward, images, lambda x: 2 * x + 3, detach=True)
    np.testing.assert_allclose(norm.running_mean, moments(images)[0])


@pytest.mark.parametrize("fullgraph", [pytest.param(False, marks=pytest.mark.slow), True])
def test_compiled_norms_learn_from_the_images_as_well(fullgraph):
    norm, (images, _) = nn.BatchNorm2d(BANDS).double(), batch()

    def step(x):
        return two_views(norm, x, torch.neg, detach=True).logits

    step = torch.compile(step, fullgraph=fullgraph, backend="aot_eager")
    for count in (1, 2):
        step(images)
        np.testing.assert_allclose(norm.running_mean, moments(*count * [images])[0])
    assert norm.track_running_stats


def test_a_model_that_fails_on_the_views_learns_from_its_next_batch():
    images, _ = batch()
    model = nn.Sequential(nn.BatchNorm2d(BANDS), nn.Flatten(), nn.Linear(3, 2)).double()
    with pytest.raises(RuntimeError, match="shapes"):
        two_views(model, images, torch.flip, detach=True, view_inputs=[[2]])
    assert model[0].track_running_stats


def test_in_eval_mode_the_ways_agree_and_nothing_is_learnt():
    model, (images, ebv) = network(), batch()
    before = copy.deepcopy(model.state_dict())
    one, two = (two_views(model, images, flipped, ebv, detach=detach) for detach in (False, True))
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.logits_transformed, two.logits_transformed)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def torchvision_views():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    return [v2.RandomRotation(180), v2.GaussianBlur(3), v2.RandomHorizontalFlip(1.0)]


def kornia_views():
    kornia = pytest.importorskip("kornia.augmentation")
    return [
        kornia.RandomRotation(180.0, p=1.0),
        kornia.RandomGaussianBlur((3, 3), (0.5, 1.0), p=1.0),
        kornia.AugmentationSequential(kornia.RandomHorizontalFlip(p=1.0)),
    ]


def own_views():
    return [nn.Sequential(ResampleBackground(), RandomDihedral()), flipped]


@both_ways
@pytest.mark.parametrize("package", [torchvision_views, kornia_views, own_views])
def test_transforms_of_other_packages_are_views(package, detach):
    model, (images, ebv) = network(dtype=torch.float32), batch(dtype=torch.float32)
    for view in package():
        views = two_views(model, images, view, ebv, fraction=0.5, detach=detach)
        assert views.logits_transformed.shape == (3, C)
        assert not torch.equal(views.logits_transformed, views.logits[views.rows])
        assert average_views(model, images, [view], ebv).shape == (6, C)


@both_ways
def test_channels_last_is_kept(detach):
    def model(x):
        assert x.is_contiguous(memory_format=torch.channels_last)
        return x.flatten(1)

    images = batch()[0].contiguous(memory_format=torch.channels_last)
    two_views(model, images, lambda x: flipped(x).contiguous(), detach=detach)
    two_views(model, images, RandomDihedral(), fraction=0.5, detach=detach)
    rotation_derivative(model, images)
    average_views(model, images, None)


def test_a_view_of_another_size_goes_through_detached():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    views = two_views(model, batch()[0], lambda x: x[..., 2:-2, 2:-2], detach=True)
    assert views.logits_transformed.shape == (6, BANDS)


@both_ways
def test_autocast_reaches_both_views_and_the_derivative(detach):
    model, (images, _) = network(training=True, dtype=torch.float32), batch(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = two_views(model, images, flipped, detach=detach)
        _, derivative = rotation_derivative(model, images)
        value = InvarianceLoss()(*views) + RotationDerivativeLoss()(views.logits, derivative)
    assert {x.dtype for x in (views.logits, views.logits_transformed)} == {torch.bfloat16}
    assert value.dtype == torch.float32
    value.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    exact = rotation_derivative(network(training=True, dtype=torch.float32), images)[1]
    assert (derivative - exact).norm() < 0.1 * exact.norm()  # bfloat16 has two to three digits


@pytest.mark.parametrize(
    ("fraction", "detach"),
    [
        (0.5, False),
        pytest.param(1.0, True, marks=pytest.mark.slow),
        pytest.param(1.0, False, marks=pytest.mark.slow),
        pytest.param(0.5, True, marks=pytest.mark.slow),
    ],
)
def test_the_whole_call_compiles_without_a_break(detach, fraction):
    model, (images, ebv) = network(dtype=torch.float32), batch(dtype=torch.float32)

    def step(images, ebv):
        views = two_views(model, images, flipped, ebv, fraction=fraction, detach=detach)
        return InvarianceLoss()(*views), views

    value, views = torch.compile(step, fullgraph=True, backend="aot_eager")(images, ebv)
    value.backward()
    rows = slice(None) if views.rows is None else views.rows
    torch.testing.assert_close(views.logits, model(images, ebv))
    expected = model(flipped(images[rows]), ebv[rows])
    torch.testing.assert_close(views.logits_transformed, expected)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(two_views(compiled, images, flipped, ebv).logits, views.logits)
    averaged = average_views(compiled, images, None, ebv)
    torch.testing.assert_close(averaged, average_views(model, images, None, ebv))


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=needs_fake_cuda)])
@both_ways
def test_fake_cuda_tensors_and_meta_tensors_run(detach, device):
    with FakeTensorMode() if device == "cuda" else nullcontext():
        with torch.device(device):
            model = Network()
            images, ebv = torch.empty(6, BANDS, SIDE, SIDE), torch.empty(6)
        for fraction in (1.0, 0.5):
            views = two_views(model, images, flipped, ebv, fraction=fraction, detach=detach)
            value = InvarianceLoss()(*views)
            if device == "meta":  # a backward on CUDA asks for a real one
                value.backward()
        tangent = tangent_image(images)
        with torch.no_grad():
            probs = average_views(model.eval(), images, None, ebv)
    for result in (views.logits, views.logits_transformed, views.rows, value, tangent, probs):
        assert result.device.type == device
    if device == "meta":
        assert all(x.grad is not None for x in model.parameters())


# The average over views --------------------------------------------------------------------------


def test_the_average_is_the_mean_of_the_masses_of_each_orientation():
    model, (images, ebv) = network(), batch()
    expected = np.zeros((6, C))
    for turns in range(4):
        for mirrored in (images, images.mT):
            logits = model(mirrored.rot90(turns, (-2, -1)), ebv).detach().numpy()
            masses = np.exp(logits - logits.max(1, keepdims=True))
            expected += masses / masses.sum(1, keepdims=True) / 8
    with torch.no_grad():
        probs = average_views(model, images, None, ebv)
    np.testing.assert_allclose(probs, expected, rtol=1e-12)


def test_the_average_over_orientations_is_invariant_under_each():
    model, (images, ebv) = network(), batch()
    with torch.no_grad():
        probs = average_views(model, images, None, ebv)
        assert (model(images, ebv) - model(flipped(images), ebv)).abs().max() > 1e-3
        for element in range(8):
            turned = dihedral(images, torch.full((6,), element))
            got = average_views(model, turned, None, ebv)
            torch.testing.assert_close(got, probs, rtol=1e-12, atol=1e-15)


def test_an_invariant_model_is_its_own_average():
    def invariant(images):
        return images.amax((-2, -1))

    images, _ = batch()
    expected = invariant(images).softmax(-1)
    torch.testing.assert_close(average_views(invariant, images, None), expected)
    assert average_views(invariant, images.half(), [flipped] * 3).dtype == torch.float32
    assert average_views(invariant, images, (flipped for _ in range(3))).dtype == torch.float64


def test_one_view_is_in_memory_at_a_time():
    shapes = []

    def model(x):
        shapes.append(tuple(x.shape))
        return x.flatten(1)

    average_views(model, batch()[0], None)
    assert shapes == [(6, BANDS, SIDE, SIDE)] * 8


# The derivative of a model -----------------------------------------------------------------------


def galaxies_for(make, phi):
    """A batch that `make`'s network takes: what shrinks it 32 times needs more than a pixel."""
    return smooth(phi, 96 if make in (resnet, resnet_without_kinks) else 32)


def smooth(phi, side=32):
    """Three galaxies in three bands, rendered at an angle: no pixel is resampled."""
    size = side / 32
    galaxies = [
        [
            profile(phi, (6.0 + b) * size, 0.4 + 0.1 * g, (2.0 * g * size, 1.0 - b), side)
            for b in range(BANDS)
        ]
        for g in range(3)
    ]
    return torch.from_numpy(np.array(galaxies))


def layer_and_instance_norm(training):
    """Means over patches of a ConvNeXt, in little."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(BANDS, 4, 4, stride=4), nn.InstanceNorm2d(4, affine=True), nn.GELU())
    kept = nn.InstanceNorm2d(4, track_running_stats=True)  # in eval mode by what it has learnt
    kept.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.4]))
    kept.running_var.copy_(torch.tensor([0.5, 1.5, 2.0, 0.7]))
    more = (kept, nn.LayerNorm([4, 8, 8]), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(256, C))
    return nn.Sequential(*layers, *more).double().train(training)


def convolutions(training):
    torch.manual_seed(0)
    layers = (nn.Conv2d(BANDS, 8, 5, stride=2), nn.BatchNorm2d(8), nn.Softplus(), nn.AvgPool2d(2))
    more = (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.Flatten(), nn.Linear(200, C))
    return nn.Sequential(*layers, *more).double().train(training)


def resnet(training, blocks=2):
    torch.manual_seed(0)
    return ResNet(BasicBlock, [blocks] * 4, num_classes=C).double().train(training)


def resnet_without_kinks(training):
    """A second derivative does not exist where a ReLU or a maximum switches."""
    model = resnet(training, blocks=1)  # which has every kind of layer that two have
    model.maxpool = nn.AvgPool2d(3, 2, 1)
    for module in list(model.modules()):
        if hasattr(module, "relu"):
            module.relu = nn.Softplus()
    return model


@both_modes
@pytest.mark.parametrize("make", [convolutions, resnet])
def test_the_derivative_is_that_of_images_rendered_at_small_angles(make, training):
    model = make(training)
    logits, derivative = rotation_derivative(copy.deepcopy(model), galaxies_for(make, 0.0))
    torch.testing.assert_close(logits, copy.deepcopy(model)(galaxies_for(make, 0.0)))
    h = 1e-5
    with torch.no_grad():
        plus, minus = (copy.deepcopy(model)(galaxies_for(make, angle)) for angle in (h, -h))
    expected = (plus - minus) / (2 * h)
    # the tangent of these images is right to 1e-3; a network multiplies what is left of it
    assert (derivative - expected).norm() < 1e-2 * expected.norm()


@both_modes
@pytest.mark.parametrize("make", [convolutions, layer_and_instance_norm, resnet_without_kinks])
def test_the_derivative_is_the_directional_one_to_rounding(make, training):
    model, images = make(training), galaxies_for(make, 0.0)
    tangent = tangent_image(images)
    _, derivative = rotation_derivative(copy.deepcopy(model), images)
    h = 1e-6
    with torch.no_grad():
        plus, minus = (copy.deepcopy(model)(images + step * tangent) for step in (h, -h))
    torch.testing.assert_close(derivative, (plus - minus) / (2 * h), rtol=1e-5, atol=1e-6)


@both_modes
def test_buffers_move_once_as_in_a_plain_forward_and_keep_nothing_dual(training):
    images = galaxies_for(resnet, 0.0)
    model, twin = resnet(training), resnet(training)
    rotation_derivative(model, images)
    twin(images)
    for (name, got), expected in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14, msg=name)
        assert torch.autograd.forward_ad.unpack_dual(got, level=0).tangent is None
        assert not got.requires_grad
    copy.deepcopy(model)


@both_modes
@pytest.mark.parametrize("make", [convolutions, layer_and_instance_norm, resnet_without_kinks])
def test_a_loss_of_the_derivative_trains_the_weights(make, training):
    model, images = make(training), galaxies_for(make, 0.0)
    generator = torch.Generator().manual_seed(3)
    directions = [
        x.detach().abs().mean() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        for x in model.parameters()
    ]

    def loss(step=0.0):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), directions, strict=True):
                parameter.add_(step * direction)
        value = rotation_derivative_loss(*rotation_derivative(moved, images))
        return value, moved

    value, moved = loss()
    value.backward()
    got = [(x.grad * d).sum() for x, d in zip(moved.parameters(), directions, strict=True)]
    h = 1e-6
    expected = (loss(h)[0] - loss(-h)[0]) / (2 * h)
    assert abs(expected) > 1e-3 * value
    torch.testing.assert_close(sum(got), expected, rtol=1e-5, atol=0)


def test_extra_inputs_stand_still_and_an_earlier_forward_keeps_its_backward():
    model, (images, ebv) = network(training=True), batch()
    before = model(images, ebv)
    logits, derivative = rotation_derivative(model, images, ebv, 2.0)
    (before.sum() + derivative.square().sum()).backward()
    torch.testing.assert_close(logits, 2 * before)


def test_the_derivative_of_an_invariant_model_is_zero():
    def radial(images):  # what lies within circles about the centre, softly
        row, column = np.mgrid[:32, :32] - 15.5
        weight = torch.from_numpy(np.exp(-(row**2 + column**2) / 40))
        return (images * weight).sum((-2, -1))

    logits, derivative = rotation_derivative(radial, smooth(0.0))
    assert derivative.abs().max() < 1e-4 * logits.abs().max()


def test_the_model_may_be_compiled_for_the_derivative():
    model, (images, ebv) = network(dtype=torch.float32), batch(dtype=torch.float32)
    expected = rotation_derivative(model, images, ebv)
    compiled = torch.compile(model, backend="aot_eager")
    for got in (
        rotation_derivative(compiled, images, ebv),
        torch.compile(lambda x, e: rotation_derivative(model, x, e), backend="aot_eager")(
            images, ebv
        ),
    ):
        torch.testing.assert_close(got, expected)


def test_a_view_that_works_in_place_works_on_a_copy():
    model, (images, ebv) = network(), batch()
    before = images.clone()
    for detach in (False, True):
        views = two_views(model, images, lambda x: x.mul_(2), ebv, detach=detach)
        torch.testing.assert_close(views.logits, model(before, ebv))
        torch.testing.assert_close(views.logits_transformed, model(2 * before, ebv))
    with torch.no_grad():
        averaged = average_views(model, images, [lambda x: x.mul_(2)] * 2, ebv)
    torch.testing.assert_close(averaged, model(2 * before, ebv).softmax(-1))
    assert torch.equal(images, before)


def test_a_view_without_gradient_leaves_autocast_the_weights_gradients():
    """Before torch 2.10 the casts of the first, gradientless forward served the second one too."""
    model, (images, ebv) = network(training=True, dtype=torch.float32), batch(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        views = two_views(model, images, flipped, ebv, detach=True)
    InvarianceLoss()(*views).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in model.parameters())
    assert model.head.weight.grad.abs().sum() > 0


def test_extra_inputs_in_containers_go_along_with_their_images():
    model, (images, ebv) = network(), batch()

    def nested(images, extra):
        return model(images, extra["of each"][0])

    views = two_views(nested, images, flipped, {"of each": (ebv, "name")}, fraction=0.5)
    expected = two_views(model, images, flipped, ebv)
    torch.testing.assert_close(views.logits, expected.logits)
    torch.testing.assert_close(views.logits_transformed, expected.logits_transformed[views.rows])


def test_average_views_refuses_a_part_in_training_mode():
    model, (images, ebv) = network(), batch()
    model.body[1].train()
    for call in (model, model.forward):
        with pytest.raises(ValueError, match=r"training mode.*call model.eval\(\) first"):
            average_views(call, images, None, ebv)


@pytest.mark.parametrize("softmax", [nn.Softmax(-1), nn.LogSoftmax(-1)])
def test_a_softmax_within_the_model_can_be_trained_through(softmax):
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(BANDS * SIDE * SIDE, 6), softmax, nn.Linear(6, C))
    model, (images, _) = nn.Sequential(*layers).double(), batch()
    weight = model[1].weight

    def loss():
        return rotation_derivative_loss(*rotation_derivative(model, images))

    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-5 * torch.randn_like(weight)
    with torch.no_grad():
        weight += step
        up = loss()
        weight -= 2 * step
        down = loss()
    assert ((up - down) / 2).item() == pytest.approx((gradient * step).sum().item(), rel=1e-4)


def test_a_model_may_name_the_input_of_its_norms_and_softmax():
    torch.manual_seed(0)
    weight = torch.randn(BANDS * SIDE * SIDE, C, dtype=torch.float64, requires_grad=True)
    images, shape = batch()[0], (BANDS, SIDE, SIDE)

    def placed(x):
        return F.softmax(F.layer_norm(x, shape).flatten(1) @ weight, -1)

    def named(x):
        normal = F.layer_norm(input=x, normalized_shape=shape)
        return F.softmax(input=normal.flatten(1) @ weight, dim=-1)

    got, expected = (rotation_derivative(model, images) for model in (named, placed))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    slopes = (torch.autograd.grad(d.square().sum(), weight)[0] for _, d in (got, expected))
    torch.testing.assert_close(*slopes, rtol=0, atol=0)


def test_inference_mode_is_named():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"use torch.no_grad\(\)"):
        rotation_derivative(network(), torch.zeros(1, BANDS, SIDE, SIDE, dtype=torch.float64))

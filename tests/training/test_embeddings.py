import numpy as np
import pytest
import torch
from torch.nn import functional as F

from robustfl.training import embeddings, resnet
from robustfl.training.augment import Images


@pytest.fixture(scope="module")
def setting():
    images = Images.of(
        np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8),
        (0.5,) * 3,
        (0.25,) * 3,
    )
    return resnet.build("resnet8", 3, 10, seed=3), images, torch.arange(12) % 10


def test_closed_form_is_autograd(setting):
    """Row i is the gradient of point i's own cross entropy by its own penultimate features."""
    model, images, labels = setting
    ours = embeddings.points(model, images, labels, "gradient")
    model.eval()
    for i in range(len(images)):
        features = model.features(images.plain(i, i + 1)).detach().requires_grad_()
        (theirs,) = torch.autograd.grad(
            F.cross_entropy(model.fc(features), labels[i : i + 1]), features
        )
        torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-4, atol=1e-6)


def test_other_spaces(setting):
    model, images, labels = setting
    feature, logit = (embeddings.points(model, images, labels, s) for s in ("feature", "logit"))
    assert feature.shape == (12, 64) and logit.shape == (12, 10)
    with torch.no_grad():
        residual = F.softmax(model.fc(feature), 1) - F.one_hot(labels, 10)
    torch.testing.assert_close(logit, residual)
    with pytest.raises(ValueError, match="space must be one of"):
        embeddings.points(model, images, labels, "weights")


def test_mode_and_batch_statistics_are_left_alone(setting):
    model, images, labels = setting
    model.train()
    before = model.bn.running_mean.clone()
    embeddings.points(model, images, labels, "gradient")
    assert model.training and torch.equal(model.bn.running_mean, before)


def test_bf16_is_near_fp32(setting):
    model, images, labels = setting
    exact, rough = (
        embeddings.points(model, images, labels, "gradient", p) for p in ("fp32", "bf16")
    )
    assert rough.dtype == torch.float32
    assert (exact - rough).norm() < 0.05 * exact.norm()

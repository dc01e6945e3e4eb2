import pytest
import torch

from robustfl.training import resnet


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet20", 0.27), ("resnet32", 0.46), ("resnet56", 0.85)]
)
def test_parameter_counts_of_the_paper(name, millions):
    """He et al. 2016, table 6."""
    count = sum(p.numel() for p in resnet.build(name, 3, 10, seed=0).parameters())
    assert round(count / 1e6, 2) == millions


def test_a_strided_stem_has_the_same_parameters_and_maps_of_a_quarter():
    plain, strided = (resnet.build(name, 3, 10, seed=0) for name in ("resnet8", "resnet8_stride2"))
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), strided.parameters(), strict=True)
    )
    sizes = []
    for model in (plain, strided):
        model.bn.register_forward_hook(
            lambda module, inputs, output: sizes.append(tuple(output.shape[2:]))
        )
        model.features(torch.zeros(2, 3, 32, 32))
    assert sizes == [(32, 32), (16, 16)]


def test_shapes_and_the_logits_are_the_linear_layer_of_the_features():
    model = resnet.build("resnet8", 1, 10, seed=0).eval()
    x = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert model.features(x).shape == (4, 64)
    torch.testing.assert_close(model(x), model.features(x) @ model.fc.weight.T + model.fc.bias)


def test_seed_decides_the_weights_and_the_global_state_stays():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, two, other = (resnet.build("resnet8", 3, 10, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["conv.weight"], other["conv.weight"])


def test_bad_names():
    with pytest.raises(ValueError, match="model must be one of resnet8"):
        resnet.build("vgg", 3, 10, seed=0)
    with pytest.raises(ValueError, match="depth must be 6n"):
        resnet.ResNet(18, 3, 10)

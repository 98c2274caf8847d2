import pytest
import timm
import torch

from skgad.deep._backbones import find_backbone, resolve_name, stages

# Input size and widths of the nine levels of EfficientNet, from the architecture's paper (width coefficients).
EFFICIENTNETS = {
    "tf_efficientnet_b0": (224, [32, 16, 24, 40, 80, 112, 192, 320, 1280]),
    "tf_efficientnet_b1": (240, [32, 16, 24, 40, 80, 112, 192, 320, 1280]),
    "tf_efficientnet_b2": (260, [32, 16, 24, 48, 88, 120, 208, 352, 1408]),
    "tf_efficientnet_b3": (300, [40, 24, 32, 48, 96, 136, 232, 384, 1536]),
    "tf_efficientnet_b4": (380, [48, 24, 32, 56, 112, 160, 272, 448, 1792]),
    "tf_efficientnet_b5": (456, [48, 24, 40, 64, 128, 176, 304, 512, 2048]),
    "tf_efficientnet_b6": (528, [56, 32, 40, 72, 144, 200, 344, 576, 2304]),
    "tf_efficientnet_b7": (600, [64, 32, 48, 80, 160, 224, 384, 640, 2560]),
}


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_efficientnet_has_the_papers_levels(name):
    backbone = find_backbone(name)
    image_size, widths = EFFICIENTNETS[name]
    assert backbone.image_size == image_size
    assert [level.channels for level in backbone.levels] == widths
    assert [level.number for level in backbone.levels] == list(range(1, 10))
    assert [level.reduction for level in backbone.levels] == [2, 2, 4, 8, 16, 16, 32, 32, 32]


@pytest.mark.parametrize(
    ("name", "widths"), [("resnet18", [64, 64, 128, 256, 512]), ("resnet50", [64, 256, 512, 1024, 2048])]
)
def test_resnet_has_five_levels(name, widths):
    levels = find_backbone(name).levels
    assert [level.channels for level in levels] == widths
    assert [level.module for level in levels] == ["maxpool", "layer1", "layer2", "layer3", "layer4"]
    assert [level.reduction for level in levels] == [4, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("name", "resolved"),
    [
        ("tf_efficientnet_b4", "tf_efficientnet_b4.aa_in1k"),
        ("tf_efficientnet_b0", "tf_efficientnet_b0.aa_in1k"),
        ("resnet18", "resnet18.tv_in1k"),
        ("resnet50", "resnet50.tv_in1k"),
        ("tf_efficientnet_lite1", "tf_efficientnet_lite1.in1k"),
        ("tf_efficientnet_b4.ns_jft_in1k", "tf_efficientnet_b4.ns_jft_in1k"),
    ],
)
def test_an_untagged_name_means_the_papers_training(name, resolved):
    assert resolve_name(name) == resolved


@pytest.mark.parametrize(("size", "name"), [(224, "lite0"), (240, "lite1"), (260, "lite2")])
def test_lite_wants_its_own_normalisation(size, name):
    backbone = find_backbone(f"tf_efficientnet_{name}")
    assert backbone.image_size == size
    assert backbone.mean == (127 / 255,) * 3
    assert backbone.std == (128 / 255,) * 3


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0", "resnet18"])
def test_levels_are_where_the_papers_have_them(name):
    model = timm.create_model(name).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if name == "resnet18":
            expected = [model.maxpool(model.act1(model.bn1(model.conv1(x))))]
            for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
                expected.append(layer(expected[-1]))
            assert all((level >= 0).all() for level in expected)  # all after a ReLU
        else:
            expected = [model.bn1(model.conv_stem(x))]
            for block in model.blocks:
                expected.append(block(expected[-1]))
            expected.append(model.bn2(model.conv_head(expected[-1])))
            assert all((level >= -0.3).all() for level in (expected[0], expected[-1]))  # ReLU6 >= 0, Swish >= -0.28
            assert name != "tf_efficientnet_lite0" or all((level < 0).any() for level in expected[1:-1])  # linear
        got = x
        for (_, stage), level in zip(stages(name, model), expected, strict=True):
            got = stage(got)
            torch.testing.assert_close(got, level)


def test_unknown_backbone_names_close_ones():
    with pytest.raises(ValueError, match=r"Unknown backbone 'resnett18'.*'resnet18'.*tf_efficientnet_b0"):
        find_backbone("resnett18")
    with pytest.raises(ValueError, match="Did you mean 'tf_efficientnet_lite0'"):
        find_backbone("efficientnet-lite0")


def test_unknown_training_names_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown training 'foo'.*tf_efficientnet_b4\.aa_in1k"):
        find_backbone("tf_efficientnet_b4.foo")


def test_backbone_without_known_levels_is_refused():
    with pytest.raises(ValueError, match=r"levels of backbone 'vgg11.* are not known"):
        find_backbone("vgg11")


def test_a_bare_module_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="copied by clone"):
        find_backbone(object())
    with pytest.raises(ValueError, match="timm name"):
        find_backbone(["resnet18"])

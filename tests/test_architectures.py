import pytest
import timm
import torch

from skgad.deep import level_table
from skgad.deep._architecture import Level
from skgad.deep._forward import pool_locations, run_levels
from skgad.deep._timm import create_model
from skgad.deep._timm_source import TimmSource, find_architecture, resolve_name
from skgad.exceptions import BackboneError

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
    backbone = find_architecture(name)
    image_size, widths = EFFICIENTNETS[name]
    assert backbone.image_size == image_size
    assert [level.channels for level in backbone.levels] == widths
    assert [level.number for level in backbone.levels] == list(range(1, 10))
    assert [level.reduction for level in backbone.levels] == [2, 2, 4, 8, 16, 16, 32, 32, 32]


@pytest.mark.parametrize(
    ("name", "widths"), [("resnet18", [64, 64, 128, 256, 512]), ("resnet50", [64, 256, 512, 1024, 2048])]
)
def test_resnet_has_five_levels(name, widths):
    levels = find_architecture(name).levels
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
        ("wide_resnet50_2", "wide_resnet50_2.tv_in1k"),
        ("tf_efficientnet_lite1", "tf_efficientnet_lite1.in1k"),
        ("tf_efficientnet_b4.ns_jft_in1k", "tf_efficientnet_b4.ns_jft_in1k"),
    ],
)
def test_an_untagged_name_means_the_papers_training(name, resolved):
    assert resolve_name(name) == resolved


@pytest.mark.parametrize(("size", "name"), [(224, "lite0"), (240, "lite1"), (260, "lite2")])
def test_lite_wants_its_own_normalisation(size, name):
    backbone = find_architecture(f"tf_efficientnet_{name}")
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
        found = run_levels(model, x, find_architecture(name).levels, lambda level, output: output.clone())
    for got, level in zip(found, expected, strict=True):
        torch.testing.assert_close(got, level)


# Levels from timm's feature table: the number of them, and channels and reduction of the last.
OTHERS = {
    "deit_small_patch16_224": (12, 384, 16),
    "deit_small_distilled_patch16_224": (12, 384, 16),
    "vit_small_patch14_dinov2": (12, 384, 14),
    "vit_small_patch16_dinov3": (12, 384, 16),
    "swin_tiny_patch4_window7_224": (4, 768, 32),
    "convnext_tiny": (4, 768, 32),
    "densenet121": (5, 1024, 32),
    "mobilenetv3_large_100": (5, 960, 32),
    "efficientformer_l1": (4, 448, 32),
    "vgg11": (6, 512, 32),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_have_the_levels_of_timms_table(name):
    levels = find_architecture(name).levels
    assert (len(levels), levels[-1].channels, levels[-1].reduction) == OTHERS[name]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deit_tiny_patch16_224", 224),
        ("deit_tiny_patch16_224", 160),
        ("deit_tiny_distilled_patch16_224", 224),
        ("vit_small_patch14_dinov2", 154),
        ("vit_small_patch16_dinov3", 128),
        ("swin_tiny_patch4_window7_224", 224),
        ("convnext_atto", 160),
        ("mobilenetv3_small_050", 160),
    ],
)
def test_levels_are_what_timm_calls_the_intermediates(name, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name).eval()
        x = torch.randn(2, 3, size, size)
    levels = find_architecture(name).levels
    with torch.inference_mode():
        got = run_levels(model, x, levels, lambda level, output: pool_locations(output, level, "mean"))
        maps = model.forward_intermediates(x, norm=False, intermediates_only=True, output_fmt="NCHW")
    assert len(got) == len(maps)
    for level, found, expected in zip(levels, got, maps, strict=True):
        assert found.shape == (2, level.channels)
        torch.testing.assert_close(found, expected.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_prefix_tokens_are_left_out():
    tokens = torch.arange(2 * 6 * 3.0).reshape(2, 6, 3)
    level = Level(1, "", 3, 1, "NLC", 2)
    torch.testing.assert_close(pool_locations(tokens, level, "mean"), tokens[:, 2:].mean(dim=1))
    torch.testing.assert_close(pool_locations(tokens, level, "max"), tokens[:, 2:].amax(dim=1))
    assert [level.n_prefix_tokens for level in find_architecture("vit_small_patch16_dinov3").levels] == [5] * 12
    assert [level.n_prefix_tokens for level in find_architecture("cait_xxs24_224").levels] == [0] * 24


def test_image_sizes_that_a_network_does_not_take_are_refused():
    TimmSource("deit_tiny_patch16_224").check_size(160, 160)
    for name, size in (("deit_tiny_patch16_224", 161), ("beit_base_patch16_224", 160)):
        with pytest.raises(ValueError, match=f"image_size={size}: {name}.* Its own is 224; .*multiples"):
            TimmSource(name).check_size(size, size)


def test_the_level_table_is_public():
    table = level_table("tf_efficientnet_b4")
    assert table.loc[7].tolist() == ["blocks.5", 272, 32]
    assert table.index.tolist() == list(range(1, 10))


def test_unknown_backbone_names_close_ones():
    with pytest.raises(ValueError, match=r"Unknown backbone 'resnett18' in timm .*'resnet18'"):
        find_architecture("resnett18")
    with pytest.raises(ValueError, match="Did you mean 'tf_efficientnet_lite0'"):
        find_architecture("efficientnet-lite0")


def test_unknown_training_names_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown training 'foo'.*tf_efficientnet_b4\.aa_in1k"):
        find_architecture("tf_efficientnet_b4.foo")


def test_backbone_without_known_levels_is_refused():
    with pytest.raises(BackboneError, match=r"levels of backbone 'tnt_s_patch16_224.* are not known: .*neither maps"):
        find_architecture("tnt_s_patch16_224")


def test_a_bare_module_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="copied by clone"):
        find_architecture(object())
    with pytest.raises(ValueError, match="timm name"):
        find_architecture(["resnet18"])

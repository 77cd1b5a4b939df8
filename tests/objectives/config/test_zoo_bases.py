"""Bases of the model zoo whose heads, weights, losses and sizes are not those of a plain encoder and decoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mmtuna.objectives.config import BaseConfig, load_base
from mmtuna.objectives.config.base import _zoo
from mmtuna.objectives.config.classes import lost_weights, set_classes, with_one_more_class
from mmtuna.objectives.config.inheritance import load_plain
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from tests.objectives.configs import SEGFORMER, TRAIN, at, build, kinds

CGNET = "cgnet_fcn_4xb8-60k_cityscapes-512x1024"
KNET = "knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512"
SAN = "san-vit-b16_coco-stuff164k-640x640"
STDC = "stdc1_4xb12-80k_cityscapes-512x1024"
BISENET1 = "bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024"
BISENET2 = "bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024"
OCRNET = "ocrnet_hr18s_4xb2-40k_cityscapes-512x1024"
PIDNET = "pidnet-s_2xb6-120k_1024x1024-cityscapes"
DDRNET = "ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024"
BEIT = "beit-base_upernet_8xb2-160k_ade20k-640x640"
MAE = "mae-base_upernet_8xb2-amp-160k_ade20k-512x512"
AMP = "fcn_r101-d8_4xb2-amp-80k_cityscapes-512x1024"
FCN = "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"
VAL = "val_dataloader.dataset.pipeline"


def of(name: str, dataset: Dataset, settings: Mapping[str, Value] | None = None) -> dict[str, Any]:
    return build(dataset, {"iterations": 10, **(settings or {})}, load_base(name), weights=None)


def changed(name: str, path: str, value: Any) -> BaseConfig:
    """The zoo's config with another value at a dotted path."""
    base = load_base(name)
    cfg = copy.deepcopy(base.cfg)
    *parents, last = path.split(".")
    at(cfg, ".".join(parents))[last] = value
    return replace(base, cfg=cfg)


def test_weights_of_the_bases_own_classes_do_not_stay(phantom: Dataset) -> None:
    base = load_base(CGNET)
    assert len(base.cfg["model"]["decode_head"]["loss_decode"]["class_weight"]) == 19
    loss = of(CGNET, phantom)["model"]["decode_head"]["loss_decode"]
    assert loss == {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
    assert lost_weights(base.cfg["model"], 2) == (
        "class_weight is for the base's 19 classes and is left out: the data have 2"
    )
    assert lost_weights(base.cfg["model"], 19) is None  # as many classes: the base may be the person's own
    assert lost_weights(load_base(SEGFORMER).cfg["model"], 2) is None


def test_the_number_of_classes_stands_where_a_cascade_reads_it(phantom: Dataset) -> None:
    head = of(KNET, phantom)["model"]["decode_head"]
    assert "num_classes" not in head
    assert head["kernel_generate_head"]["num_classes"] == 2
    assert [stage["num_classes"] for stage in head["kernel_update_head"]] == [2, 2, 2]
    assert {stage["out_channels"] for stage in head["kernel_update_head"]} == {512}  # of features, not of classes
    assert [head["num_classes"] for head in of(OCRNET, phantom)["model"]["decode_head"]] == [2, 2]


def test_a_net_that_reads_class_names_gets_ours(phantom: Dataset) -> None:
    model = of(SAN, phantom)["model"]
    assert model["text_encoder"]["vocabulary"] == ["background", "fluid"]
    assert model["text_encoder"]["dataset_name"] is None
    weights = model["decode_head"]["loss_decode"][0]["class_weight"]
    assert weights == [1.0, 1.0, 0.1]  # each class, and "no object"
    assert model["data_preprocessor"]["size_divisor"] == 640  # batches are padded as the base pads them


def test_a_boundary_head_keeps_its_two_classes(phantom: Dataset) -> None:
    three = replace(phantom, classes=("background", "fluid", "cyst"))
    model = of(STDC, three, {"loss": "ce_lovasz"})["model"]
    assert model["decode_head"]["num_classes"] == 3
    assert [head["num_classes"] for head in model["auxiliary_head"]] == [3, 3, 2]
    assert model["auxiliary_head"][2]["loss_decode"] == load_base(STDC).cfg["model"]["auxiliary_head"][2]["loss_decode"]
    assert len(model["auxiliary_head"][0]["loss_decode"]) == 2


def test_the_model_of_one_more_class_differs_in_the_classes_alone(phantom: Dataset) -> None:
    model = of(KNET, phantom)["model"]
    more = with_one_more_class(model)
    assert more["decode_head"]["kernel_update_head"][2].pop("num_classes") == 3
    assert model["decode_head"]["kernel_update_head"][2].pop("num_classes") == 2
    assert more["backbone"] == model["backbone"]


def test_a_base_without_a_number_of_classes_is_refused(phantom: Dataset) -> None:
    base = changed(FCN, "model.decode_head", {"type": "MyHead"})
    with pytest.raises(InputError, match=r"base config fcn_r50.*: its decode_head names no num_classes, so it cannot"):
        build(phantom, {"iterations": 10}, base)


@pytest.mark.parametrize("name", [BISENET1, STDC, SAN, KNET, BEIT])
def test_no_part_of_a_model_fetches_weights_by_itself(phantom: Dataset, name: str) -> None:
    text = str(of(name, phantom)["model"])
    assert "Pretrained" not in text
    assert "http" not in text
    assert "open-mmlab://" not in text


def test_of_a_list_of_initialisations_the_others_stay(phantom: Dataset) -> None:
    kaiming = {"type": "Kaiming", "layer": "Conv2d"}
    both = [kaiming, {"type": "Pretrained", "checkpoint": "https://host/r50.pth"}]
    cfg = build(phantom, {"iterations": 10}, changed(FCN, "model.backbone.init_cfg", both))
    assert cfg["model"]["backbone"]["init_cfg"] == [kaiming]


@pytest.mark.parametrize(("name", "head"), [(PIDNET, "PIDHead"), (DDRNET, "DDRHead"), (SAN, "SideAdapterCLIPHead")])
def test_losses_that_a_head_tells_apart_itself_cannot_be_others(phantom: Dataset, name: str, head: str) -> None:
    with pytest.raises(InputError, match=f"loss: the head {head} of base config .* losses of its own; drop loss"):
        of(name, phantom, {"loss": "dice"})


@pytest.mark.parametrize("loss", ["dice", "focal", "ce_dice"])
def test_losses_that_no_sampler_can_weigh_are_refused(phantom: Dataset, loss: str) -> None:
    with pytest.raises(InputError, match=f"loss: {loss} cannot be weighed by pixel, and a head of base config stdc1"):
        of(STDC, phantom, {"loss": loss})


def test_counts_of_classes_within_a_head_follow(phantom: Dataset) -> None:
    (path,) = _zoo().glob("*/mask2former_r50_8xb2-90k_cityscapes-512x1024.py")
    cfg = load_plain(path, _zoo())  # not load_base, which misses mmdet
    set_classes(cfg, phantom, path.stem)
    head = cfg["model"]["decode_head"]
    assert head["num_classes"] == 2
    assert head["loss_cls"]["class_weight"] == [1.0, 1.0, 0.1]  # each class, and "no object"


def weights_of(model: dict[str, Any], place: str) -> list[float]:
    found = model[place] if isinstance(model[place], list) else [model[place]]
    return [head["loss_decode"]["loss_weight"] for head in found]


@pytest.mark.parametrize("name", [OCRNET, BISENET2, FCN, KNET])
@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "focal"])
def test_another_loss_weighs_what_the_heads_own_did(phantom: Dataset, name: str, loss: str) -> None:
    before, after = (of(name, phantom, given)["model"] for given in ({}, {"loss": loss}))
    for model in (before, after):
        if name == KNET:
            model["decode_head"] = model["decode_head"]["kernel_generate_head"]
    for place in ("decode_head", "auxiliary_head"):
        if place in before:
            assert weights_of(after, place) == weights_of(before, place)


def test_weights_of_known_heads(phantom: Dataset) -> None:
    assert weights_of(of(OCRNET, phantom, {"loss": "cross_entropy"})["model"], "decode_head") == [0.4, 1.0]
    assert weights_of(of(BISENET2, phantom, {"loss": "cross_entropy"})["model"], "auxiliary_head") == [1.0] * 4


def test_a_sigmoid_stays_a_sigmoid(phantom: Dataset) -> None:
    own = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0}
    base = changed(FCN, "model.decode_head.loss_decode", own)
    terms = build(phantom, {"iterations": 10, "loss": "ce_dice"}, base)["model"]["decode_head"]["loss_decode"]
    assert [(term["type"], term["use_sigmoid"]) for term in terms] == [("CrossEntropyLoss", True), ("DiceLoss", True)]
    with pytest.raises(InputError, match=r"loss: lovasz is for a softmax, and base config fcn_r50.* with a sigmoid"):
        build(phantom, {"iterations": 10, "loss": "lovasz"}, base)


@pytest.mark.parametrize("name", [BEIT, MAE])
def test_a_crop_reaches_a_net_of_one_image_size(phantom: Dataset, name: str) -> None:
    model = of(name, phantom, {"crop": 224})["model"]
    assert model["backbone"]["img_size"] == (224, 224)
    assert model["test_cfg"] == {"mode": "slide", "crop_size": (224, 224), "stride": (149, 149)}
    assert model["data_preprocessor"]["size"] == (224, 224)
    assert model["data_preprocessor"]["test_cfg"] == {"size": (224, 224)}  # smaller images are padded to the window


def test_mixed_precision_of_a_base_can_be_turned_off(phantom: Dataset) -> None:
    assert of(AMP, phantom)["optim_wrapper"]["type"] == "AmpOptimWrapper"
    wrapper = of(AMP, phantom, {"precision": "fp32"})["optim_wrapper"]
    assert wrapper["type"] == "OptimWrapper"
    assert "loss_scale" not in wrapper


def test_a_base_keeps_its_optimizers_values_where_the_spec_names_no_others(phantom: Dataset) -> None:
    own = load_base(SEGFORMER).cfg["optim_wrapper"]["optimizer"]
    assert of(SEGFORMER, phantom, {"optimizer": "AdamW"})["optim_wrapper"]["optimizer"] == own
    assert (own["lr"], own["weight_decay"]) == (6e-5, 0.01)
    decayed = of(SEGFORMER, phantom, {"optimizer": "AdamW", "weight_decay": 0.1})["optim_wrapper"]["optimizer"]
    assert decayed == {**own, "weight_decay": 0.1}


def test_another_optimizer_than_the_bases_needs_a_rate(phantom: Dataset) -> None:
    with pytest.raises(
        InputError,
        match=r"optimizer = 'SGD': base config segformer.* AdamW, whose rate 6e-05 is not for it; set lr_sgd",
    ):
        of(SEGFORMER, phantom, {"optimizer": "SGD"})
    sgd = of(SEGFORMER, phantom, {"optimizer": "SGD", "lr_sgd": 0.02, "lr_adam": 1e-4})["optim_wrapper"]["optimizer"]
    assert sgd == {"type": "SGD", "momentum": 0.9, "weight_decay": 0.01, "lr": 0.02}


@pytest.mark.parametrize("key", ["lr", "weight_decay"])
def test_a_dotted_value_of_the_optimizer_beside_a_sampled_optimizer_is_refused(phantom: Dataset, key: str) -> None:
    with pytest.raises(InputError, match=rf"optim_wrapper.optimizer.{key}: is what .* sets; use .* in its place"):
        of(SEGFORMER, phantom, {"optimizer": "AdamW", f"optim_wrapper.optimizer.{key}": 0.001})


def test_images_mixed_from_several_are_refused(phantom: Dataset) -> None:
    inner = load_base(FCN).cfg["train_dataloader"]["dataset"]
    mixed = {"type": "MultiImageMixDataset", "dataset": inner, "pipeline": [{"type": "RandomMosaic", "prob": 1.0}]}
    with pytest.raises(InputError, match=r"base config fcn_r50.*: its training images are mixed from several"):
        build(phantom, {"iterations": 10}, changed(FCN, "train_dataloader.dataset", mixed))


def test_validation_images_are_resized_before_their_masks_are_loaded(phantom: Dataset) -> None:
    plain = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    after = [*plain[:2], {"type": "Resize", "scale": (2048, 1024), "keep_ratio": True}, plain[2]]
    for steps in (plain, after):
        cfg = build(phantom, {"iterations": 10, "input_size": 128}, changed(FCN, f"{VAL}", steps))
        assert kinds(at(cfg, VAL)) == ["LoadImageFromFile", "Resize", "LoadAnnotations", "PackSegInputs"]
        assert at(cfg, VAL)[1]["scale"] == (128, 128)


@pytest.mark.parametrize(
    ("name", "span"), [(SEGFORMER, (0.5, 2.0)), (SAN, (0.5, 1.5)), (BEIT, (0.5, 2.0)), (FCN, (0.5, 2.0))]
)
def test_input_size_keeps_the_bases_random_scale(phantom: Dataset, name: str, span: tuple[float, float]) -> None:
    resize = next(step for step in at(of(name, phantom, {"input_size": 128}), TRAIN) if "Resize" in step["type"])
    assert (resize["type"], resize["scale"], resize["keep_ratio"]) == ("RandomResize", (128, 128), True)
    assert resize["ratio_range"] == pytest.approx(span)


def test_images_without_a_crop_are_padded_to_the_largest_of_their_batch(phantom: Dataset) -> None:
    preprocessor = of(FCN, phantom, {"input_size": 128, "crop": "none"})["model"]["data_preprocessor"]
    assert "size" not in preprocessor
    assert preprocessor["size_divisor"] == 32
    assert of(FCN, phantom, {"input_size": 128})["model"]["data_preprocessor"]["size"] == (512, 1024)  # its own crop


def test_nothing_that_a_base_draws_leaves_the_machine(phantom: Dataset) -> None:
    backends = [{"type": "LocalVisBackend"}, {"type": "WandbVisBackend", "init_kwargs": {"project": "p"}}]
    visualizer = {"type": "SegLocalVisualizer", "name": "visualizer", "vis_backends": backends}
    base = load_base(FCN)
    cfg = build(phantom, {"iterations": 10}, replace(base, cfg={**base.cfg, "visualizer": visualizer}))
    assert cfg["visualizer"] == {**visualizer, "vis_backends": [{"type": "LocalVisBackend"}]}


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512", "onedl-mmpretrain"),
        ("fpn_poolformer_s12_8xb4-40k_ade20k-512x512", "onedl-mmpretrain"),
        ("mask2former_r50_8xb2-160k_ade20k-512x512", "onedl-mmdetection"),
    ],
)
def test_a_config_of_the_zoo_that_needs_another_package_names_it(name: str, package: str) -> None:
    with pytest.raises(
        InputError, match=rf"{name}.py: .* needs the package {package}, which is not installed; pip install {package}"
    ):
        load_base(name)

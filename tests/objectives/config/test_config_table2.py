"""Every row of Table 2 is the notebooks' config, key by key."""

from __future__ import annotations

from typing import Any

import pytest

from mmtuna.objectives.data.dataset import Dataset
from mmtuna.spaces.table2 import TABLE2, Row
from tests.objectives.configs import BASES, CE, DICE, build

# facts.md, "Training (every row of Table 2)", and the rows themselves as the paper prints them.
NORM = {"type": "BN", "requires_grad": True}
# number: (iterations, crop, flip, loss of the decode head, of the auxiliary head, optimizer)
SGD = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
CE_PAIR = ({**CE, "loss_weight": 1.0}, {**CE, "loss_weight": 0.4})
DICE_PAIR = ({**DICE, "loss_weight": 1.0},) * 2
FOCAL_PAIR = ({"type": "FocalLoss", "loss_weight": 1.0},) * 2
PAPER: dict[int, tuple[int, int | None, bool, tuple[Any, Any], dict[str, Any]]] = {
    1: (200, None, False, CE_PAIR, SGD),
    2: (400, None, False, CE_PAIR, SGD),
    3: (400, None, True, CE_PAIR, SGD),
    4: (400, 192, False, CE_PAIR, SGD),
    5: (400, 224, False, CE_PAIR, SGD),
    6: (400, 320, False, CE_PAIR, SGD),
    7: (400, 320, False, DICE_PAIR, SGD),
    8: (400, 320, False, FOCAL_PAIR, SGD),
    9: (400, 320, False, CE_PAIR, {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}),
    10: (400, 320, False, CE_PAIR, {**SGD, "weight_decay": 1e-4}),
    11: (400, 320, False, CE_PAIR, {**SGD, "weight_decay": 1e-3}),
}


def paper_config(number: int, dataset: Dataset) -> dict[str, Any]:
    """A row's whole config, written out from the notebooks' facts and the base config's text."""
    iterations, crop, flip, losses, optimizer = PAPER[number]
    resize = {"type": "Resize", "scale": (512, 512), "keep_ratio": True}
    crops = [{"type": "RandomCrop", "crop_size": (crop, crop), "cat_max_ratio": 0.75}] if crop else []
    flips = [{"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"}] if flip else []
    load, labels, pack = ({"type": t} for t in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs"))
    side = crop or 256
    test = [load, resize, labels, pack]

    def loader(names: str, pipeline: list[Any], batch: int, sampler: dict[str, Any]) -> dict[str, Any]:
        data = {
            "type": "BaseSegDataset",
            "data_root": str(dataset.root),
            "data_prefix": {"img_path": "images", "seg_map_path": "masks"},
            "ann_file": names,
            "img_suffix": ".png",
            "seg_map_suffix": ".png",
            "metainfo": {"classes": ["background", "fluid"], "palette": [[0, 0, 0], [230, 159, 0]]},
            "reduce_zero_label": False,
            "pipeline": pipeline,
        }
        return {"batch_size": batch, "num_workers": 0, "persistent_workers": False, "sampler": sampler, "dataset": data}

    validation = loader("/lists/val.txt", test, 1, {"type": "DefaultSampler", "shuffle": False})
    head = {"num_classes": 2, "dropout_ratio": 0.1, "norm_cfg": NORM, "align_corners": False}
    psp = {"type": "PSPHead", "in_channels": 64, "in_index": 4, "channels": 16, "pool_scales": (1, 2, 3, 6)}
    fcn = {"type": "FCNHead", "in_channels": 128, "in_index": 3, "channels": 64, "num_convs": 1, "concat_input": False}
    return {
        "model": {
            "type": "EncoderDecoder",
            "pretrained": None,
            "data_preprocessor": {
                "type": "SegDataPreProcessor",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "bgr_to_rgb": True,
                "pad_val": 0,
                "seg_pad_val": 255,
                "size": (side, side),
            },
            "backbone": {
                "type": "UNet",
                "in_channels": 3,
                "base_channels": 64,
                "num_stages": 5,
                "strides": (1, 1, 1, 1, 1),
                "enc_num_convs": (2, 2, 2, 2, 2),
                "dec_num_convs": (2, 2, 2, 2),
                "downsamples": (True, True, True, True),
                "enc_dilations": (1, 1, 1, 1, 1),
                "dec_dilations": (1, 1, 1, 1),
                "with_cp": False,
                "conv_cfg": None,
                "norm_cfg": NORM,
                "act_cfg": {"type": "ReLU"},
                "upsample_cfg": {"type": "InterpConv"},
                "norm_eval": False,
            },
            "decode_head": {**psp, **head, "loss_decode": losses[0]},
            "auxiliary_head": {**fcn, **head, "loss_decode": losses[1]},
            "train_cfg": {},
            "test_cfg": {"mode": "slide", "crop_size": (256, 256), "stride": (170, 170)},
        },
        "train_dataloader": loader(
            "/lists/train.txt",
            [load, labels, resize, *crops, *flips, pack],
            2,
            {"type": "InfiniteSampler", "shuffle": True},
        ),
        "val_dataloader": validation,
        "test_dataloader": validation,
        "test_pipeline": test,
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU", "mDice"]},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU", "mDice"]},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": iterations // 5},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": None},
        "param_scheduler": [
            {"type": "PolyLR", "power": 0.9, "eta_min": 1e-4, "begin": 0, "end": 40_000, "by_epoch": False}
        ],
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 50, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {
                "type": "CheckpointHook",
                "by_epoch": False,
                "interval": iterations // 5,
                "max_keep_ckpts": 1,
                "save_best": "mIoU",
                "rule": "greater",
            },
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "visualization": {"type": "SegVisualizationHook"},
        },
        "env_cfg": {
            "cudnn_benchmark": True,
            "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
            "dist_cfg": {"backend": "nccl"},
        },
        "log_processor": {"by_epoch": False},
        "log_level": "INFO",
        "visualizer": {
            "type": "SegLocalVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
            "name": "visualizer",
        },
        "default_scope": "mmseg",
        "load_from": "/weights/w.pth",
        "resume": False,
        "randomness": {"seed": 0},
    }


@pytest.mark.parametrize("row", TABLE2, ids=lambda row: f"row{row.number}")
def test_every_row_of_table_2_is_the_notebooks_config_key_by_key(phantom: Dataset, row: Row) -> None:
    cfg, wanted = build(phantom, row.settings), paper_config(row.number, phantom)
    assert cfg.keys() == wanted.keys()
    for key, value in wanted.items():
        if key == "param_scheduler":
            assert cfg[key][0].pop("eta_min") == pytest.approx(1e-4, rel=1e-12)
            value[0].pop("eta_min")
        assert cfg[key] == value, key


def test_the_rows_of_the_paper_are_all_there() -> None:
    assert [row.number for row in TABLE2] == sorted(PAPER)
    assert BASES["pspnet"].name == "unet-s5-d16_pspnet_4xb4-40k_hrf-256x256"

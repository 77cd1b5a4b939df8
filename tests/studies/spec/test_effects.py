"""Settings that change no training: refused where a person fixed them, under a condition where they are sampled."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

from mmtuna.spaces.effects import NEEDS, without_idle
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.presets import extended
from mmtuna.spaces.settings import SETTINGS
from mmtuna.studies.attributes import SAID
from mmtuna.studies.begun import space_of
from mmtuna.studies.results import rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import FINGERPRINTS, create_or_open

Make = Callable[..., StudySpec]
BOTH = '[space.params.optimizer]\nchoices = ["SGD", "Adam", "AdamW"]\n'
ADAM_RATE = "[space.params.lr_adam]\nlow = 1e-5\nhigh = 1e-2\nlog = true\n"
BATCH = "[space.params.batch_size]\nchoices = [2, 4]\n"
WINDOWS = "[space.params.window]\nchoices = "
OWN_BASE = '[model]\nbase = "segformer_mit-b0_8xb2-160k_ade20k-512x512"'


@pytest.mark.parametrize(
    ("space", "train", "message"),
    [
        (
            BATCH,
            "lr_adam = 0.0004",
            "[train] lr_adam = 0.0004 changes no trial: it needs optimizer = Adam | AdamW, and optimizer is SGD",
        ),
        (BATCH, 'lr_sgd = 0.1\noptimizer = "AdamW"', "it needs optimizer = SGD, and optimizer is AdamW"),
        (BATCH, 'momentum = 0.9\noptimizer = "AdamW"', "[train] momentum = 0.9 changes no trial"),
        (BATCH, "mix_weight = 2.0", "it needs loss = ce_dice | ce_tversky | ce_lovasz, and loss is cross_entropy"),
        (BATCH, 'foreground_weight = 2.0\nloss = "dice"', "[train] foreground_weight = 2.0 changes no trial"),
        (BATCH, 'window = 64\ninference = "whole"', "it needs inference = slide, and inference is whole"),
        (BATCH, 'stride = 64\ninference = "whole"', "[train] stride = 64 changes no trial"),
        (
            BATCH,
            "cat_max_ratio = 0.5",
            "it needs crop other than none, and crop is none",
        ),
        (BATCH, "scale_jitter = 0.5", "it needs crop other than none, and crop is none"),
        (BATCH, "warmup = 0.1\n" + OWN_BASE, "it needs schedule = poly_40k | poly | cosine, and the base config keeps"),
        ('[space.params.loss]\nchoices = ["dice", "focal"]', "mix_weight = 2.0", "and loss is dice | focal"),
        (BATCH, "size_scale = 0.5\n" + OWN_BASE, "it scales input_size | crop | window | stride, which the base"),
        (BATCH, "iteration_scale = 0.5\n" + OWN_BASE, "goes on without it), or set iterations too"),
        (
            BATCH,
            "window = 64\n" + OWN_BASE,
            "and the base config keeps its own; remove it",
        ),
        (BATCH, "mix_weight = 2.0\n" + OWN_BASE, "and the base config keeps its own;"),
        (ADAM_RATE, "", "[space.params.lr_adam] changes no trial: it needs optimizer = Adam | AdamW, and optimizer is"),
        (ADAM_RATE, 'optimizer = "SGD"', "and optimizer is SGD; remove it (a study that has begun"),
        (
            WINDOWS + "[64, 128, 256]",
            "input_size = 64",
            "[space.params.window] changes no trial: window = 64 covers the whole input of 64 pixels; remove it (a",
        ),
        (
            "[space.params.stride]\nchoices = [32, 64]",
            "input_size = 256",
            "[space.params.stride] changes no trial: win",
        ),
        (
            WINDOWS + "[96, 128]\n[space.params.input_size]\nchoices = [64, 96]",
            "",
            "covers the whole input of 96 pixels",
        ),
        (WINDOWS + "[64, 128]", "input_size = 64\nsize_scale = 0.5", "window = 64 covers the whole input of 64 pixels"),
        (
            BOTH + ADAM_RATE + 'when = { optimizer = ["SGD"] }',
            "",
            "[space.params.lr_adam] changes no trial: it needs optimizer = Adam | AdamW, and stands when",
        ),
        (
            'start = [{ optimizer = "SGD", lr_adam = 1e-3 }]\n' + BOTH + ADAM_RATE,
            "",
            "[space] start: lr_adam = 0.001 changes nothing beside optimizer = 'SGD'; remove it, or take opt",
        ),
    ],
)
def test_what_changes_no_trial_is_refused(spec_of: Make, space: str, train: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        spec_of(space=space, train=train)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "train"),
    [
        (BOTH, "lr_adam = 0.0004\nlr_sgd = 0.01\nmomentum = 0.8"),  # each is of use in some trials
        (BATCH, 'lr_adam = 0.0004\noptimizer = "Adam"'),
        ('[space.params.crop]\nchoices = ["none", 64]', "cat_max_ratio = 0.5"),
        (BATCH, "size_scale = 0.5\niteration_scale = 0.5"),  # the UNet family has the paper's sizes
        (BATCH, "size_scale = 0.5\ninput_size = 256\n" + OWN_BASE),
        (BATCH, "lr_adam = 0.0004\n" + OWN_BASE),  # the base's own optimizer may be an Adam
        (BATCH, "warmup = 0.1\nema = 0.1\nclip_norm = 1.0\ngamma = 0.5\ndropout = 0.2"),
        (BATCH, "window = 64\ninput_size = 64"),  # the whole image, said so
        (WINDOWS + "[32, 64]\n[space.params.stride]\nchoices = [16, 32]", "input_size = 64"),
        (WINDOWS + "[64, 128]\n[space.params.input_size]\nchoices = [64, 96]", ""),
        (WINDOWS + "[64, 128]", 'inference = "slide"\n' + OWN_BASE),  # an input of its own
        (BATCH, "precision = 'fp32'\n" + OWN_BASE),  # true of the training, whatever the base says
        ('preset = "extended"', ""),
    ],
)
def test_what_changes_some_trial_is_accepted(spec_of: Make, space: str, train: str) -> None:
    assert len(spec_of(space=space, train=train).search_space().names) >= 1


def test_a_sampled_setting_exists_only_where_it_is_of_use(spec_of: Make) -> None:
    space = spec_of(space=BOTH + ADAM_RATE + "[space.params.momentum]\nchoices = [0.5, 0.9]").search_space()
    assert space.parameter("lr_adam").when == {"optimizer": ("Adam", "AdamW")}
    assert space.parameter("momentum").when == {"optimizer": ("SGD",)}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        params = space.suggest(study.ask())
        assert ("lr_adam" in params) == (params["optimizer"] != "SGD")
        assert without_idle(params) == params


def test_a_setting_that_is_always_of_use_gets_no_condition(spec_of: Make) -> None:
    crops = "[space.params.crop]\nlow = 64\nhigh = 128\n[space.params.cat_max_ratio]\nlow = 0.5\nhigh = 1.0"
    assert spec_of(space=crops).search_space().parameter("cat_max_ratio").when == {}


def test_the_presets_conditions_are_those_of_use(spec_of: Make) -> None:
    assert spec_of(space='preset = "extended"').search_space().fingerprint() == extended().fingerprint()
    assert set(NEEDS) <= set(SETTINGS)
    assert {need.parent for need in NEEDS.values()} <= set(SETTINGS)


def kept_by_an_earlier_version(spec: StudySpec, **changes: dict[str, Any]) -> None:
    """Begins the study of `spec`, with what a version that accepted idle settings would have kept of it."""
    study = create_or_open(spec, {})
    kept = study.user_attrs[FINGERPRINTS]
    study.set_user_attr(FINGERPRINTS, {**kept, **{table: {**kept[table], **lines} for table, lines in changes.items()}})


def test_a_line_that_changed_nothing_can_go_from_a_study_that_has_begun(spec_of: Make) -> None:
    kept_by_an_earlier_version(spec_of(space=BATCH, train="evaluations = 4"), train={"lr_adam": 0.0004})
    assert create_or_open(spec_of(space=BATCH, train="evaluations = 4"), {}).study_name == "s"
    with pytest.raises(InputError, match=r"train\.evaluations was 4 and is absent"):
        create_or_open(spec_of(space=BATCH), {})


def test_a_line_that_changed_something_cannot_go(spec_of: Make) -> None:
    for space in (BATCH, BOTH):
        kept_by_an_earlier_version(spec_of('folder = "' + str(len(space)) + '"', space=space), train={"lr_sgd": 0.1})
        with pytest.raises(InputError, match=r"train\.lr_sgd was 0\.1 and is absent"):
            create_or_open(spec_of('folder = "' + str(len(space)) + '"', space=space), {})


def test_a_study_whose_parameter_had_no_condition_goes_on_with_it(spec_of: Make) -> None:
    rate = {"distribution": distribution_to_json(FloatDistribution(1e-5, 1e-2, log=True)), "when": {}}
    spec = spec_of(space=BOTH + ADAM_RATE)
    kept_by_an_earlier_version(spec, space={"lr_adam": rate})
    assert create_or_open(spec, {}).study_name == "s"
    narrower = spec_of(space=BOTH + ADAM_RATE + 'when = { optimizer = ["AdamW"] }')
    with pytest.raises(InputError, match=r"space\.lr_adam\.when"):
        create_or_open(narrower, {})


def test_a_parameter_that_no_trial_felt_can_go_from_a_study_that_has_begun(spec_of: Make) -> None:
    rate = {"distribution": distribution_to_json(FloatDistribution(1e-5, 1e-2, log=True)), "when": {}}
    kept_by_an_earlier_version(spec_of(space=BATCH), space={"lr_adam": rate})
    assert create_or_open(spec_of(space=BATCH), {}).study_name == "s"
    assert "lr_adam" not in json.dumps(spec_of(space=BATCH).describe())


def test_windows_that_covered_the_whole_input_can_go_from_a_study_that_has_begun(spec_of: Make) -> None:
    windows = {"distribution": distribution_to_json(CategoricalDistribution([64, 128])), "when": {}}
    whole, larger = spec_of(space=BATCH, train="input_size = 64"), spec_of('folder = "x"', space=BATCH)
    for spec in (whole, larger):
        kept_by_an_earlier_version(spec, space={"window": windows})
        create_or_open(spec, {}).set_user_attr(SAID, {"params": "with windows"})
    assert create_or_open(whole, {}).study_name == "s"
    assert space_of(create_or_open(whole, {}), whole).names == ("batch_size",)
    with pytest.raises(InputError, match=r"space\.window was"):
        create_or_open(larger, {})


def test_what_is_printed_of_an_older_trial_is_what_reached_its_training(spec_of: Make) -> None:
    """A study of before there were conditions for it has trials with a rate that another optimizer had."""
    spec = spec_of(space='preset = "paper"', train="momentum = 0.8")
    study = create_or_open(spec, {})
    rates = {"lr_adam": FloatDistribution(1e-5, 1e-2), "lr_sgd": FloatDistribution(1e-3, 0.1)}
    optimizers = CategoricalDistribution(["SGD", "Adam"])
    for optimizer in ("SGD", "Adam"):
        study.add_trial(
            optuna.create_trial(
                params={"optimizer": optimizer, "lr_adam": 0.0004, "lr_sgd": 0.01},
                distributions={"optimizer": optimizers, **rates},
                value=0.5,
            )
        )
    assert [entry.params for entry in rows(study)] == [
        {"optimizer": "SGD", "lr_sgd": 0.01},
        {"optimizer": "Adam", "lr_adam": 0.0004},
    ]

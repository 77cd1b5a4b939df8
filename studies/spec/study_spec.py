"""StudySpec: what a person wrote in study.toml, checked, with every default filled in."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.metrics import HD95, NSD, PER_SUBJECT, maximised
from mmtuna.spaces.prior import Prior
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.studies.spec.errors import one_line
from mmtuna.studies.spec.space import assemble, priors
from mmtuna.studies.spec.tables import (
    DataTable,
    LimitsTable,
    ModelTable,
    ReplayTable,
    ResourcesTable,
    SpaceTable,
    StudyTable,
    Table,
    check_train,
    defaults,
)

STORAGE_VARIABLE = "MMTUNA_STORAGE"
_STEPS = 50
"""Evaluations of a trial of several folds: their steps are whole percents of all folds, which must differ."""


class StudySpec(Table):
    """A study as its spec describes it: one attribute a table of the file, paths absolute.

    From a file with `StudySpec.load(path)`; in code from the same tables, `StudySpec(study={"name": "mine"},
    data={"root": "eyes"}, space={"preset": "paper"})`, whose relative paths start in the current folder. Either way
    `MMTUNA_STORAGE` in the environment takes the place of `[study] storage`, and what is wrong raises InputError in one
    line.
    """

    study: StudyTable
    data: DataTable
    model: ModelTable = Field(default_factory=ModelTable)
    space: SpaceTable = Field(default_factory=SpaceTable)
    train: Annotated[dict[str, Any], AfterValidator(check_train)] = Field(default_factory=dict)
    """Settings and dotted config keys that are the same in every trial."""
    resources: ResourcesTable = Field(default_factory=ResourcesTable)
    limits: LimitsTable = Field(default_factory=LimitsTable)
    replay: ReplayTable | None = None
    """Only for `mmtuna replay`."""

    def __init__(self, **tables: Any) -> None:
        study = tables.get("study")
        storage = os.environ.get(STORAGE_VARIABLE)
        if storage and isinstance(study, Mapping):
            tables = {**tables, "study": {**study, "storage": storage}}
        self._fill(tables, {})

    def _filled_anew(self, fields: Mapping[str, Any]) -> Self:
        return type(self)(**fields)

    def _fill(self, tables: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        try:
            self.__pydantic_validator__.validate_python(dict(tables), self_instance=self, context=dict(context))
        except ValidationError as error:
            raise InputError(one_line(error, type(self))) from None

    @model_validator(mode="after")
    def _check_across_tables(self) -> Self:
        self._check_metric()
        self._check_split()
        self._check_pruner()
        self.priors()
        self._check_folds()
        return self

    def _check_metric(self) -> None:
        name, metrics = self.study.metric, maximised(self.data.classes)
        said = f'[study] metric = "{name}"'
        if name == HD95:
            raise InputError(f"{said}: less of it is better, and a study maximises; take {NSD}, and see it beside")
        if name not in metrics:
            lacks = {NSD: self.study.nsd_tolerance is None}
            lacks |= dict.fromkeys(PER_SUBJECT, self.data.subjects is None)
            raise InputError(f"{said} is unknown; use {', '.join(one for one in metrics if not lacks.get(one))}")
        if name == NSD and self.study.nsd_tolerance is None:
            raise InputError(f"{said} needs a tolerance; give [study] nsd_tolerance, in pixels, such as 2.0")
        if name in PER_SUBJECT and self.data.subjects is None:
            raise InputError(f"{said} needs to know whose the images are; give [data] subjects, a file")

    def _check_split(self) -> None:
        """Refuses what a person says of another split than the one that is taken."""
        data, said = self.data, f'[data] split = "{self.data.split}"'
        if data.split not in ("lists", "folders"):
            for name in _set_of(data, ("train", "val")):
                raise InputError(f'{said} reads no list, and [data] {name} names one; take split = "lists"')
        if data.split != "subject-kfold" and _set_of(data, ("folds",)):
            raise InputError(f'{said} has no folds, and [data] folds = {data.folds}; take split = "subject-kfold"')
        if data.split not in ("random", "subject") and _set_of(data, ("val_share",)):
            raise InputError(f'{said} takes no share, and [data] val_share = {data.val_share}; take split = "random"')
        if data.split in ("lists", "folders") and not isinstance(data.test, float) and _set_of(data, ("split_seed",)):
            raise InputError(f'{said} draws nothing, and [data] split_seed = {data.split_seed}; take split = "random"')

    def _check_pruner(self) -> None:
        idle = {"none": ("pruner_startup", "pruner_warmup"), "wilcoxon": ("pruner_warmup",)}
        for name in _set_of(self.study, idle.get(self.study.pruner, ())):
            said = f"[study] {name} = {getattr(self.study, name)}"
            raise InputError(f'{said} changes nothing by pruner = "{self.study.pruner}"; remove it')

    @property
    def folds(self) -> int:
        """How many folds each trial has; 1 where it is one training."""
        return self.data.folds if self.data.split == "subject-kfold" else 1

    def _check_folds(self) -> None:
        evaluations = self._evaluations()  # InputError where [space] and [train] do not agree
        if self.folds == 1:
            if self.study.pruner == "wilcoxon":
                raise InputError(
                    '[study] pruner = "wilcoxon": it compares trials fold by fold, and only split = "subject-kfold" '
                    "has folds; take best-third, with which a study that has begun goes on too"
                )
            return
        said = '[data] split = "subject-kfold"'
        if self.data.subjects is None:
            raise InputError(f"{said} needs to know whose the images are; give [data] subjects, a file")
        if self.study.value == "best":
            raise InputError(f'{said} counts the last evaluation of every fold; take [study] value = "last"')
        if self.study.nsd_tolerance is not None:
            raise InputError(f"{said} adds up what folds counted, and distances do not add up; leave nsd_tolerance out")
        if self.study.artifacts is not None:
            raise InputError(f"{said} keeps folds in the study's folder alone; remove [study] artifacts")
        if self.folds * max(evaluations) > _STEPS:
            raise InputError(
                f"{said}: {self.folds} folds of {max(evaluations)} evaluations are more than the {_STEPS} of a trial "
                f"that can be told apart; set evaluations to {_STEPS // self.folds} or less"
            )

    def _measured(self) -> dict[str, Any]:
        # Only what was said: studies that were begun before there were means over images go on.
        fields: dict[str, Any] = {"both_empty": self.study.both_empty, "nsd_tolerance": self.study.nsd_tolerance}
        return {name: value for name, value in fields.items() if value not in (None, "left_out")}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The spec in the TOML file `path`; its relative paths start at the file's folder.

        `MMTUNA_STORAGE` in the environment takes the place of `[study] storage`. Raises InputError, in one line, for a
        missing file, wrong TOML, an unknown key or a wrong value.
        """
        path = Path(path)
        return cls.parse(read_text(path), path, os.environ.get(STORAGE_VARIABLE))

    @classmethod
    def of(cls, given: Self | str | Path) -> Self:
        """The spec that a person gives, or the one in the file at that path: a copy, its `train` and `params` too.

        Who changes theirs afterwards changes nothing of what is searched by this one.
        """
        if isinstance(given, cls):
            return given.model_copy(deep=True)
        if not isinstance(given, str | Path):
            raise InputError(f"spec: give a StudySpec, or the path of a study.toml, not {given!r}")
        return cls.load(given)

    @classmethod
    def parse(cls, text: str, path: Path, storage: str | None = None) -> Self:
        """The spec in `text`, which stood in the file `path`; `storage` takes the place of its `[study] storage`."""
        try:
            tables: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path.name}: not TOML: {error}") from None
        if storage and isinstance(tables.get("study"), dict):
            tables["study"]["storage"] = storage
        spec = cls.__new__(cls)
        try:
            spec._fill(tables, {"folder": path.resolve().parent})
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        return spec

    def search_space(self) -> SearchSpace:
        """The parameters that this study samples; InputError where `[space]` and `[train]` do not agree."""
        return assemble(self.space, self.train, self.model.base)

    def priors(self) -> dict[str, Prior]:
        """What a person believes of parameters of `search_space()`; InputError where that cannot be."""
        return priors(self.space, self.search_space())

    def _rules(self) -> dict[str, Any]:
        # Only what was said: studies that were begun before there were rules go on.
        data = self.data
        rule: dict[str, Any] = {"channels": data.channels, "range": data.range, "ignored": data.ignored}
        found: dict[str, Any] = {
            name: value if isinstance(value, str) else list(value) for name, value in rule.items() if value
        }
        if data.reduce_zero_label:
            found["reduce_zero_label"] = data.reduce_zero_label
        if data.values is not None:
            found["values"] = [list(codes) for codes in data.values]
        return found

    def _evaluations(self) -> list[int]:
        """How often a training is evaluated, each number that is possible."""
        if "evaluations" in (space := self.search_space()):
            return [int(value) for value in space.parameter("evaluations").values() or ()]
        return [int(self.train.get("evaluations", DEFAULTS["evaluations"]))]

    def describe(self) -> dict[str, Any]:
        """What must not change within a study, as plain JSON data; free of machine paths and of passwords."""
        split: dict[str, Any] = {"kind": self.data.split}
        if self.data.split in ("lists", "folders"):
            split |= {"train": self.data.train, "val": self.data.val}
        elif self.folds > 1:
            split |= {"folds": self.folds, "seed": self.data.split_seed}
        else:
            split |= {"val_share": self.data.val_share, "seed": self.data.split_seed}
        if self.data.test is not None:  # studies that were begun before there were test sets go on
            split["held_out"] = self.data.test
            if isinstance(self.data.test, float):
                split["seed"] = self.data.split_seed
        given = self.limits.limits().given()
        # Only where there are any: studies that were begun before there were limits go on.
        limits = {"limits": {f"max_{name}": limit for name, limit in given.items()}} if given else {}
        return {
            **limits,
            "metric": {"name": self.study.metric, "value": self.study.value, **self._measured()},
            "space": self.search_space().describe(),
            "train": dict(sorted(self.train.items())),
            "model": {"base": _last_part(self.model.base), "pretrained": _last_part(self.model.pretrained)},
            "data": {"classes": list(self.data.classes), "ignore_index": self.data.ignore_index, **self._rules()},
            "split": split,
            "average": AVERAGE,
        }


AVERAGE = "of the iterations so far, statistics too"
"""What `ema` averages; before, over a share of all iterations, with the last weights' statistics."""


def _set_of(table: Table, names: Sequence[str]) -> list[str]:
    """Those of the fields that a person has given another value than their own."""
    return [name for name, usual in defaults(type(table), *names).items() if getattr(table, name) != usual]


def _last_part(location: str) -> str:
    # The same file lies elsewhere on another machine, and a URL may carry a token.
    path = urlsplit(location).path if "://" in location else location
    return PurePosixPath(path.replace("\\", "/")).name


def read_text(path: Path) -> str:
    """The text of a spec; InputError where there is none."""
    try:
        return path.read_bytes().decode("utf-8-sig")  # editors of Windows write the mark
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `mmtuna init DIR --data ROOT` writes one") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of a study.toml") from None

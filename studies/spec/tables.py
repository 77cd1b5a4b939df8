"""The tables of a study.toml, field by field: the one place where the defaults of a study live."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.limits import Limits
from mmtuna.spaces.settings import UNET, check_settings
from mmtuna.studies.spec.errors import one_line
from mmtuna.studies.spec.s3_location import parse_location

SQLITE = "sqlite:///"
"""How the URL of a SQLite file begins."""
HIDDEN = "***"
"""What `model_dump` has in place of a storage's URL that may hold a password."""
# A password that was mistyped may stand anywhere; none does where there is nothing but USER@HOST:PORT/NAME.
_OPEN_URL = re.compile(r"[a-z0-9+]+://([\w.-]+@)?[\w.-]*(:[0-9]{1,5})?(/[\w.-]*)?", re.ASCII)
LONGEST_NAME = 100
"""Letters of a study's name at most."""


def resolve(path: Path, info: ValidationInfo) -> Path:
    """`path` as an absolute one; a relative path starts at the spec file's folder, or where there is none, here."""
    folder: Path = (info.context or {}).get("folder", Path())
    try:
        return (folder / path.expanduser()).resolve()
    except RuntimeError:  # ~NAME
        raise InputError(f"there is no user {path.parts[0].removeprefix('~')} here; give the whole path") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise InputError(f"it can be no path ({getattr(error, 'strerror', None) or error})") from None


# Strict mode would refuse a string where a path or a tuple stands, and TOML has neither.
ResolvedPath = Annotated[Path, Field(strict=False), AfterValidator(resolve)]
Strings = Annotated[tuple[str, ...], Field(strict=False)]


def _resolve_if_path(text: str, info: ValidationInfo) -> str:
    looks_like_path = "/" in text or text.endswith((".py", ".yaml", ".yml", ".json", ".pth", ".pt"))
    return str(resolve(Path(text), info)) if looks_like_path and "://" not in text else text


NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(_resolve_if_path)]


class Table(BaseModel):
    """A table of the spec: frozen, no unknown keys, no conversion of types.

    Its fields' docstrings are what `mmtuna init` says of them. Pydantic would read them when this module is imported,
    and every command took a tenth of a second longer to start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy in which the fields of `update` have other values; relative paths in it start in the current folder.

        InputError, in one line, for what a file could not hold either: Pydantic's own takes anything.
        """
        copied = super().model_copy(deep=deep)
        return copied._filled_anew({**dict(copied), **update}) if update else copied

    def _filled_anew(self, fields: Mapping[str, Any]) -> Self:
        """Another one with these fields, which are checked as when a file is read."""
        try:
            return self.model_validate(fields)
        except ValidationError as error:
            name = type(self).__name__.removesuffix("Table").lower()
            raise InputError(one_line(error, type(self), (name,))) from None


def defaults(table: type[Table], *names: str) -> dict[str, Any]:
    """What these fields of `table` hold where nobody sets them."""
    return {name: table.model_fields[name].default for name in names}


class StudyTable(Table):
    """`[study]`: what is searched for, how, and where it is remembered."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)
    """Name of the study: letters, digits, dot, hyphen, underscore."""
    folder: ResolvedPath = Field(default_factory=lambda data: Path("runs") / data.get("name", "study"))
    """Folder of everything the study writes; runs/NAME where not given."""
    storage: str = Field(
        default_factory=lambda data: f"{SQLITE}{data.get('folder', Path('runs')) / 'study.db'}",
        repr=False,
    )
    """Database URL, sqlite:///FILE or postgresql+psycopg://...; study.db in the folder where not given."""
    artifacts: str | None = None
    """s3://BUCKET/PREFIX for the trials' files, so that machines need not share the folder; none where not given."""
    metric: str = "mIoU"
    """What is maximised: mIoU, mDice, IoU.CLASS, Dice.CLASS, or a mean over images or subjects (IoU_per_image)."""
    both_empty: Literal["left_out", "1", "0"] = "left_out"
    """What an image without foreground in truth and prediction counts in means over images: left_out, 1 or 0."""
    nsd_tolerance: float | None = Field(default=None, ge=0)
    """Pixels: tolerance of NSD_per_image, which is then measured, and HD95_per_image with it; not measured without."""
    value: Literal["last", "best"] = "last"
    """Which evaluation of a trial counts: the last one, as the paper publishes, or the best one."""
    trials: int = Field(default=50, ge=1)
    """Finished trials (complete or pruned) that the study shall hold."""
    hours: float | None = Field(default=None, gt=0)
    """Hours that the study may be worked on; it ends by then, also with fewer trials; no limit where not given."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the sampler and of the first replicate of every training."""
    sampler: Literal["auto", "tpe", "random", "gp", "grid"] = "auto"
    """Who proposes: tpe, random, gp or grid; auto takes grid where the whole grid fits into trials, else tpe."""
    pruner: Literal["best-third", "median", "wilcoxon", "none"] = "best-third"
    """Who stops hopeless trials early: best-third (of all), median (of complete ones), none, or with folds wilcoxon."""
    pruner_startup: int = Field(default=4, ge=0)
    """Number of first trials that are never pruned."""
    pruner_warmup: float = Field(default=0.2, ge=0, le=1)
    """Share of each training, 0 to 1, in which nothing is pruned."""
    duplicates: Literal["replicate", "redraw"] = "replicate"
    """Params proposed again: replicate trains them with the next seed, redraw proposes others."""
    enqueue: Annotated[tuple[Literal["table2"], ...], Field(strict=False)] = ()
    """Trials to begin with: ["table2"] is the eleven rows of the paper's Table 2."""
    confirm: float | Literal["auto"] = "auto"
    """Share of trials, or hours, that trains the three best configs once more; auto: a tenth of 30 trials or more."""
    stop: Literal["off", "auto"] = "off"
    """auto: the search ends where nothing better is to be expected of the trials that are left."""
    portfolio: bool = True
    """Whether tpe and gp begin with what was found on other data sets, as far as it fits into [space]."""
    warm: Annotated[tuple[ResolvedPath, ...], Field(strict=False)] = ()
    """Earlier studies of your own that tpe begins with: their folders, specs, or files of `run --record`."""

    @field_validator("confirm", mode="plain")
    @classmethod
    def _check_confirm(cls, share: object) -> object:
        is_share = isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 0.5
        if share != "auto" and not is_share:
            raise InputError('give a share from 0 to 0.5, or "auto"')
        return share

    @field_validator("artifacts")
    @classmethod
    def _check_artifacts(cls, text: str | None) -> str | None:
        return None if text is None else str(parse_location(text))

    @field_serializer("storage")
    def _without_password(self, url: str) -> str:
        return url if url.startswith(SQLITE) or _OPEN_URL.fullmatch(url) else HIDDEN

    @field_validator("storage")
    @classmethod
    def _resolve_sqlite(cls, url: str, info: ValidationInfo) -> str:
        if url == HIDDEN:
            raise InputError("its URL may hold a password and was not written down; give it in MMTUNA_STORAGE")
        file = url.removeprefix(SQLITE)
        if file == url or file in ("", ":memory:"):
            return url
        return SQLITE + str(resolve(Path(file), info))


class DataTable(Table):
    """`[data]`: images, masks, classes and the split. Every path but `root` is relative to `root`."""

    root: ResolvedPath
    """Folder of the data set."""
    images: str = "images"
    """Folder of the images, within root."""
    masks: str = "masks"
    """Folder of the masks, within root; a mask's pixels are class numbers."""
    image_suffix: str | None = None
    """Suffix of the images, such as ".png"; found by itself where not given."""
    mask_suffix: str | None = None
    """Suffix of the masks, such as ".png"; found by itself where not given."""
    classes: Strings = Field(default=("background", "fluid"), min_length=2, max_length=255)
    """Names of the mask values 0, 1, ...; the background first."""
    palette: tuple[tuple[int, int, int], ...] | None = None
    """A colour [red, green, blue] a class, for pictures; colours that are easily told apart where not given."""
    ignore_index: int = Field(default=255, ge=0, le=255)
    """Mask value that counts neither in training nor in evaluation."""
    reduce_zero_label: bool = False
    """Whether 0 in the masks counts nowhere and the classes are 1, 2, ..., as in MMSegmentation."""
    values: tuple[tuple[int | str, ...], ...] | None = None
    """What masks hold for each class where that is not 0, 1, ...: a value, a colour such as "#ff0000", or a list."""
    ignored: tuple[int | str, ...] = ()
    """Values or colours beside ignore_index that count nowhere, where values is given."""
    channels: tuple[int, ...] | None = None
    """Which channels of the images are taken, one or three, from 0; needed where they have neither 1 nor 3."""
    range: tuple[float, float] | str | None = None
    """Raw values that become 0 and 255, or percentiles of the training images; needed for more than 8 bits."""
    subjects: str | None = None
    """File within root that says which subject each image shows; needed for split = "subject" and "subject-kfold"."""
    split: Literal["lists", "folders", "random", "subject", "subject-kfold"] = "lists"
    """lists, folders: as train and val name; random: by image; subject, subject-kfold: none on both sides."""
    train: str = "splits/train.txt"
    """File within root that lists the training images, for split = "lists"; for "folders" their folder in images."""
    val: str = "splits/val.txt"
    """File within root that lists the validation images, for split = "lists"; for "folders" their folder in images."""
    val_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of images or subjects that validate, 0 to 1, for split = "random" or "subject"."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split, for split = "random", "subject" or "subject-kfold", and of a test that is a share."""
    folds: int = Field(default=5, ge=2, le=25)
    """Folds of each trial, for split = "subject-kfold": each subject validates in one of them."""
    test: str | tuple[str, ...] | float | None = None
    """Images that no trial sees, for `mmtuna test`: a file or folder as train, subjects ["3", "8"], or a share."""

    @field_validator("train", "val")
    @classmethod
    def _plain_folder(cls, place: str, info: ValidationInfo) -> str:
        return plain_folder(place) if info.data.get("split") == "folders" else place

    @field_validator("channels", mode="before")
    @classmethod
    def _check_channels(cls, channels: object) -> object:
        if channels is None:
            return None
        right = isinstance(channels, list | tuple) and len(channels) in (1, 3) and all(map(_is_channel, channels))
        if not right:
            raise InputError("give the one or three channels to take, from 0, such as [0, 1, 2]")
        return tuple(channels)  # type: ignore[arg-type]

    @field_validator("range", mode="plain")
    @classmethod
    def _check_range(cls, span: object) -> object:
        if span is None:
            return None
        if isinstance(span, str) and _is_percentiles(span):
            return span
        two = isinstance(span, list | tuple) and len(span) == 2 and all(map(_is_number, span))
        if not two or not span[0] < span[1]:  # type: ignore[index]
            raise InputError(
                "give the raw values that become 0 and 255, such as [0, 4095], or percentiles of the training images, "
                'such as "p0.5-p99.5"'
            )
        return tuple(span)  # type: ignore[arg-type]

    @field_validator("palette", mode="before")
    @classmethod
    def _check_palette(cls, palette: object, info: ValidationInfo) -> object:
        if palette is None:
            return None
        classes = info.data.get("classes", ())
        listed = palette if isinstance(palette, list | tuple) else ()
        if not listed or not all(_is_colour(colour) for colour in listed):
            raise InputError("give a colour a class, each [red, green, blue] of 0 to 255")
        if len(listed) != len(classes):
            raise InputError(f"it holds {len(listed)} colours, and there are {len(classes)} classes; give one a class")
        return tuple(tuple(colour) for colour in listed)

    @field_validator("values", mode="before")
    @classmethod
    def _check_values(cls, values: object, info: ValidationInfo) -> object:
        if values is None:
            return None
        if info.data.get("reduce_zero_label"):
            raise InputError("it and reduce_zero_label both say what the masks hold; give one of them")
        classes = info.data.get("classes", ())
        listed = values if isinstance(values, list | tuple) else ()
        codes = tuple(tuple(entry) if isinstance(entry, list | tuple) else (entry,) for entry in listed)
        if len(codes) != len(classes) or not all(codes):
            raise InputError(
                f"it names {len(codes)} and there are {len(classes)} classes; give a value, a colour or a list a class"
            )
        found = tuple(_codes(entry) for entry in codes)
        _check_meanings([code for entry in found for code in entry])
        index = info.data.get("ignore_index", 255)
        for name, entry in zip(classes, found, strict=True):
            if index != 255 and index in entry:  # 255 is what stands there where nobody says anything
                raise InputError(f"{index} is class {name} and ignore_index too; take it out of one of them")
        return found

    @field_validator("ignored", mode="before")
    @classmethod
    def _check_ignored(cls, ignored: object, info: ValidationInfo) -> object:
        found = _codes(ignored)
        values = info.data.get("values")
        if values is None:
            if found:
                raise InputError("it needs values beside it; without these, ignore_index alone counts nowhere")
            return ()
        _check_meanings([code for entry in (*values, found) for code in entry])
        return found

    @field_validator("reduce_zero_label")
    @classmethod
    def _check_reduce_zero_label(cls, reduced: bool, info: ValidationInfo) -> bool:
        if reduced and info.data.get("ignore_index", 255) != 255:
            raise InputError("it writes 255 for what counts nowhere; take ignore_index = 255 with it")
        return reduced

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes) or not all(classes):
            raise InputError("each class needs a name of its own")
        return classes

    @field_validator("ignore_index")
    @classmethod
    def _check_ignore_index(cls, index: int, info: ValidationInfo) -> int:
        classes = info.data.get("classes", ())
        if index < len(classes):
            raise InputError(f"it is the mask value of class {classes[index]}; use {len(classes)} to 255")
        return index

    @field_validator("test", mode="plain")
    @classmethod
    def _check_test(cls, test: object, info: ValidationInfo) -> object:
        if isinstance(test, str) and test:
            return plain_folder(test) if info.data.get("split") == "folders" else test
        if test is None:
            return test
        if isinstance(test, float) and 0 < test < 1:
            return test
        listed = test if isinstance(test, list | tuple) else ()
        if listed and all(isinstance(entry, str | int) and not isinstance(entry, bool) for entry in listed):
            if info.data.get("subjects") is None:
                raise InputError("it names subjects; give [data] subjects, a file that says which image shows whom")
            return tuple(str(entry) for entry in listed)
        raise InputError(
            'give a file that lists images, such as "splits/test.txt", subjects, such as ["3", "8"], or a share '
            "between 0 and 1, of subjects where they are known, else of images"
        )


class ModelTable(Table):
    """`[model]`: the network and the weights it starts from."""

    base: NameOrPath = UNET
    """unet, the path of an MMSegmentation config, or the name of one in its model zoo."""
    pretrained: NameOrPath = "auto"
    """auto (published for the base), backbone (its own start), none, a path or URL; {decoder} is the decoder's name."""
    trust_code: bool = False
    """Whether a base config of your own may run Python code: true only for files you trust."""

    @field_validator("base")
    @classmethod
    def _check_base(cls, name: str) -> str:
        is_file = name.endswith(".py") or "/" in name
        if name != UNET and not is_file and difflib.get_close_matches(name.lower(), [UNET]):
            raise InputError("did you mean unet?")
        return name


class SpaceTable(Table):
    """`[space]`: what may be tried."""

    preset: Literal["paper", "extended"] | None = None
    """paper: the grid behind the paper's Table 2; extended: all of it and what the paper never touched."""
    drop: Strings = ()
    """Parameters of the preset that are not searched."""
    start: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    """Params to begin with, such as a config tuned by hand: [{ decoder = "fcn" }]; what is left out is sampled."""
    params: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """`[space.params.NAME]`: choices, or low, high, step and log; overrides the preset's parameter or adds one."""


class ResourcesTable(Table):
    """`[resources]`: on what the trials run. May be changed at any time."""

    devices: Strings | Literal["auto"] = "auto"
    """auto (all GPUs, else the CPU) or a list such as ["cuda:0", "cuda:1"] or ["cpu"]."""
    trials_per_device: int | Literal["auto"] = 1
    """Trials that share one device at a time; auto measures how many are worth it."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of each trial; shared out evenly where not given."""
    deadline: float | None = Field(default=None, gt=0)
    """Seconds after which a trial is ended as failed; no limit where not given."""
    hung: float = Field(default=600.0, gt=0)
    """Seconds without a sign of life from a trial's process after which it is killed and fails."""
    keep_checkpoints: int = Field(default=5, ge=1)
    """Checkpoints kept: those of the best so many trials."""
    lease: float = Field(default=60.0, gt=0)
    """Seconds without a sign of life from its worker after which a trial is trained again by another."""
    retries: int = Field(default=3, ge=0)
    """How often a trial is trained again after its worker was lost, before it counts as failed."""

    @field_validator("hung")
    @classmethod
    def _check_hung(cls, seconds: float) -> float:
        if seconds < 1:
            raise InputError(
                "a trial gives signs of life half a second apart, and none while its net is built; give 1 or more, and "
                "more than an iteration takes"
            )
        return seconds

    @field_validator("trials_per_device", mode="plain")
    @classmethod
    def _check_trials_per_device(cls, trials: object) -> object:
        whole = isinstance(trials, int) and not isinstance(trials, bool)
        if trials != "auto" and not (whole and trials >= 1):  # type: ignore[operator]
            raise InputError('give a whole number from 1, or "auto"')
        return trials

    @field_validator("devices", mode="plain")
    @classmethod
    def _check_devices(cls, devices: object) -> object:
        if devices == "auto":
            return devices
        if not isinstance(devices, list | tuple) or not devices or not all(_is_device(name) for name in devices):
            raise InputError('give "auto" or a list such as ["cuda:0"] or ["cpu"]')
        if len(set(devices)) < len(devices):
            raise InputError("a device stands twice; use trials_per_device to share one")
        return tuple(devices)


class LimitsTable(Table):
    """`[limits]`: what a net may ask where it is deployed. One that asks for more is not trained."""

    max_parameters: int | None = Field(default=None, ge=1)
    """Parameters of the net that is deployed; no limit where not given."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds from an image's pixels to its mask, on the devices of trials; no limit where not given."""
    max_memory_mib: float | None = Field(default=None, gt=0)
    """MiB of its weights and of what an image takes at most, on these devices; no limit where not given."""

    def limits(self) -> Limits:
        """As the objective takes them."""
        return Limits(**dict(self))


class ReplayTable(Table):
    """`[replay]`: learning curves in place of training, for `mmtuna replay`."""

    curves: NameOrPath = "generated"
    """generated (by a formula from the params), or the path of trials that `mmtuna status SPEC --json` printed."""
    pause: float = Field(default=0.0, ge=0)
    """Seconds before every evaluation."""


def plain_folder(folder: str) -> str:
    """A folder within another as names begin with it: `train/` and `./train` are `train`."""
    return PurePosixPath(folder).as_posix()


def _is_channel(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 256


def _is_colour(colour: object) -> bool:
    return isinstance(colour, list | tuple) and len(colour) == 3 and all(map(_is_channel, colour))


def _codes(entries: object) -> tuple[int | str, ...]:
    """Mask values and colours as they are written, colours in small letters; InputError for anything else."""
    if not isinstance(entries, list | tuple):
        raise InputError('give a list of values 0 to 255, or of colours such as "#ff0000"')
    for code in entries:
        if not _is_channel(code) and not (isinstance(code, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", code)):
            raise InputError(f'{code!r} is no value 0 to 255 and no colour such as "#ff0000"')
    return tuple(code.lower() if isinstance(code, str) else code for code in entries)


def _check_meanings(codes: list[int | str]) -> None:
    """InputError for numbers beside colours, and for what stands twice."""
    if len({isinstance(code, str) for code in codes}) > 1:
        raise InputError("there are numbers beside colours; give one kind")
    twice = next((code for code in codes if codes.count(code) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} stands twice; what a mask holds has one meaning")


def _is_number(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) <= 2**16


def _is_percentiles(text: str) -> bool:
    low, dash, high = text.removeprefix("p").partition("-p")
    try:
        return bool(dash) and text.startswith("p") and 0 <= float(low) < float(high) <= 100
    except ValueError:
        return False


def _is_device(name: object) -> bool:
    if not isinstance(name, str):
        return False
    kind, colon, number = name.partition(":")
    return kind in ("cpu", "cuda") and (not colon or (kind == "cuda" and number.isdecimal()))


def check_train(train: dict[str, Any]) -> dict[str, Any]:
    """Checks `[train]`: names and values of settings; InputError where one is wrong."""
    for name, value in train.items():
        if isinstance(value, dict) and "." not in name:
            raise InputError(f'[train] {name} is a table; write a dotted config key in quotes: "{name}.KEY" = VALUE')
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise InputError(f"[train] {name} is {value}; use text, a finite number, true, false or a list") from None
    check_settings(train, "[train]")
    return train

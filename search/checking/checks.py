"""Single checks of a preparation: each raises InputError with everything it found wrong, in one line."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from mmtuna.objectives.config import BaseConfig
from mmtuna.objectives.config.dotted import get_key
from mmtuna.objectives.config.effective import effective
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.trial.open_files import most_open_files
from mmtuna.objectives.trial.process import call_in_child
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.quiet import quiet_optuna
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, defaults_of
from mmtuna.studies.files.bucket import prove
from mmtuna.studies.spec.s3_location import parse_location
from mmtuna.studies.spec.tables import SQLITE, StudyTable
from mmtuna.studies.storage.opening import open_storage, sqlite_file

_DRAWS = 16
_LOADERS = "loader_workers"
_OPEN_FILES = 256
_SEED = 0


@quiet_optuna()
def covering(space: SearchSpace) -> list[Params]:
    """Params that together hold every choice and both ends of every range, each once at least where it can exist."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=_SEED))
    found = [space.suggest(study.ask()) for _ in range(_DRAWS)]
    for parameter in space:
        for value in ends(parameter):
            wanted = {parameter.name: value}
            for parent, allowed in parameter.when.items():
                wanted[parent] = allowed[0]
            study.enqueue_trial(wanted)
            found.append(space.suggest(study.ask()))
    return found


def ends(parameter: Parameter) -> list[Value]:
    """Every choice of a parameter, or both ends of its range."""
    if isinstance(parameter, Categorical):
        return list(parameter.choices)
    assert isinstance(parameter, Int | Float)
    return [parameter.low, parameter.high]


def _sides(space: SearchSpace, name: str, fixed: Mapping[str, Any]) -> list[Value]:
    if name not in space:
        return [fixed[name]]
    return ends(space.parameter(name))


def check_whole_numbers(
    space: SearchSpace, tables: Mapping[str, Mapping[str, Any]], bases: Iterable[BaseConfig]
) -> None:
    """InputError for a dotted key with whole ends where a base has a real number: between them nothing would be tried.

    `tables` are the spec's `[space.params.NAME]`; who writes `type` there has said what is meant.
    """
    bases = list(bases)
    for parameter in space:
        if "." not in parameter.name or not isinstance(parameter, Int) or "type" in tables.get(parameter.name, {}):
            continue
        for base in bases:
            try:
                own = get_key(base.cfg, parameter.name, base.name)
            except InputError:  # another decoder's key, or what the configs' check tells
                continue
            if isinstance(own, float):
                raise InputError(
                    f'[space.params."{parameter.name}"]: base config {base.name} has {own} there, a real number; write '
                    f'low = {float(parameter.low)}, high = {float(parameter.high)}, or add type = "int" to try whole '
                    "ones alone"
                )


def check_evaluations(space: SearchSpace, fixed: Mapping[str, Any], base: str) -> list[str]:
    """InputError for more evaluations, where their number was said, than iterations. Returns notes: of numbers that
    iterations do not divide into."""
    values = {**defaults_of(base), **fixed}
    if "iterations" not in space and "iterations" not in values:
        return []  # as many as the base config says
    said = "evaluations" in space or "evaluations" in fixed
    values.setdefault("evaluations", DEFAULTS["evaluations"])
    sides = (_sides(space, name, values) for name in ("iterations", "evaluations"))
    scale = {"iteration_scale": fixed.get("iteration_scale", 1.0)}
    for written, asked in itertools.product(*(map(int, values) for values in sides)):
        iterations = int(effective({**scale, "iterations": written})["iterations"])
        training, interval = f"evaluations = {asked}: a training of {iterations} iterations", -(-iterations // asked)
        if said and asked > iterations:
            raise InputError(
                f"{training} is evaluated {iterations} times at most; set evaluations to {iterations} or less"
            )
        made = -(-iterations // interval)
        if made != asked:
            return [f"{training} is evaluated {made} times, at every {interval} iterations and at its end"]
    return []


def check_storage(url: str, folder: Path) -> None:
    """Whether the study's folder and storage can be written; creates neither."""
    _require_room(folder, "folder")
    if url.startswith(SQLITE):
        _require_room(sqlite_file(url).parent, "storage")
        if not sqlite_file(url).exists():
            return
    storage = open_storage(url)
    storage.remove_session()
    storage.engine.dispose()


def _require_room(place: Path, field: str) -> None:
    parent = next(path for path in (place, *place.parents) if path.exists())
    if not parent.is_dir():
        raise InputError(f"{parent}: is a file and should be a folder; set [study] {field} to another place")
    try:  # permissions do not tell of file systems that nothing can be written to
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise InputError(
            f"{parent}: cannot be written ({error.strerror}); make it writable, or set [study] {field} to another place"
        ) from None


def check_artifacts(table: StudyTable) -> None:
    """Whether the place in S3 that the spec names can be written, read, listed and cleared; leaves nothing there."""
    if table.artifacts is not None:
        prove(parse_location(table.artifacts), table.name)


def check_open_files(space: SearchSpace, train: Mapping[str, Any]) -> None:
    """Whether a trial may open what it needs where processes load its images: each image comes by a file of its own.

    torch says of too few only some of the time; else the batch that was on its way is waited for until the trial is
    taken for hung.
    """
    sampled = [int(value) for value in ends(space.parameter(_LOADERS))] if _LOADERS in space else []
    loaders = max(sampled, default=int(train.get(_LOADERS, DEFAULTS[_LOADERS])))
    most = most_open_files()
    if loaders and most < _OPEN_FILES:
        raise InputError(
            f"loader_workers = {loaders}: processes that load images need some {_OPEN_FILES} open files, and "
            f"{most:.0f} are allowed; raise the limit (ulimit -Hn), or set loader_workers = 0"
        )


def check_mixed_precision(cfgs: Iterable[Mapping[str, Any]], devices: Sequence[str], said_by: str) -> None:
    """Whether no config asks for mixed precision on the CPU; `said_by` is what a person wrote to ask for it."""
    if "cpu" in devices and any(cfg["optim_wrapper"].get("type") == "AmpOptimWrapper" for cfg in cfgs):
        raise InputError(
            f"{said_by}: mixed precision needs a GPU and trials would train on the CPU; set [train] precision = "
            '"fp32", or [resources] devices to GPUs'
        )


def check_apart(folder: Path, dataset: Dataset) -> None:
    """InputError for a study that would lie among the images or masks, of which what it writes would be more.

    One that was begun there goes on as far as its data stay the same: its lists may say what counts.
    """
    study = StudyFolder(folder)
    among = study.lies_among(dataset.root, {"images": dataset.images, "masks": dataset.masks})
    if among is not None and not study.manifest.exists():
        key, top = among
        raise InputError(
            f"[study] folder {folder} lies in {top}, where [data] {key} are, and what trials write would count as "
            f"data; set [study] folder elsewhere, such as {top.parent / 'runs' / folder.name}"
        )


def check_disk(folder: Path, model_bytes: int, keep: int, slots: int, copies: int = 0) -> None:
    """Room for `copies` bytes, the checkpoints kept (weights) and those being written.

    A slot writes the best weights, and twice what it can go on from: weights, averaged weights, two of the optimizer.
    """
    wanted = model_bytes * (keep + slots * (1 + 4 + 4)) + copies + (64 << 20)
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise InputError(
            f"{place}: {free / 2**30:.1f} GiB free and about {wanted / 2**30:.1f} GiB needed for checkpoints; free "
            "some, lower [resources] keep_checkpoints, or set [study] folder to another disk"
        )


def look_with_torch(
    models: Sequence[Mapping[str, Any]],
    starts: Mapping[str, Mapping[str, Mapping[str, Any]]],
    weights: Mapping[str, str],
    devices: tuple[str, ...] | str,
    backbones: Mapping[str, str],
) -> dict[str, Any]:
    """Builds every model in a child process and holds those that start from weights against these.

    `starts` are the models, by decoder and by what tells them apart in words, that start from the decoder's `weights`
    or from the base's own `backbones`.

    Returns bytes (of the largest model's weights), devices (names as torch knows them), replaced (per decoder, the
    layers that start anew) and taken (of each of the base's own files, by its name in the config, how many tensors a
    model starts with at least and how many there are). InputError for weights that do not fit, a device that is not
    there, a model that does not build, or libraries that do not load.
    """
    found: dict[str, Any] = call_in_child(
        _look, list(models), dict(starts), dict(weights), devices, dict(backbones), visible=None
    )
    return found


def _look(
    models: list[dict[str, Any]],
    starts: dict[str, dict[str, dict[str, Any]]],
    weights: dict[str, str],
    devices: tuple[str, ...] | str,
    backbones: dict[str, str],
) -> dict[str, Any]:
    # In the child: objectives has torch there.
    from mmtuna.objectives.weights import compare_with_models, count_taken, model_bytes, present_devices

    files = {name: Path(path) for name, path in backbones.items()}
    starting = [cfg for several in starts.values() for cfg in several.values()]
    return {
        "bytes": max(map(model_bytes, models)),
        "devices": present_devices(devices),
        "replaced": {
            decoder: names
            for decoder, path in weights.items()
            if (names := compare_with_models(Path(path), starts.get(decoder, {})))
        },
        "taken": count_taken(starting, files) if files and starting else {},
    }

"""Where the files of a trial are on this machine: in the study's folder, fetched there first where they lie in S3."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import optuna

from mmtuna.objectives.trial_files import BEST, CONFIG, LAST, LISTS, MANIFEST
from mmtuna.spaces.errors import InputError
from mmtuna.studies.files.bucket import S3Error
from mmtuna.studies.files.trial_store import TrialFiles, trial_files
from mmtuna.studies.spec import StudySpec

CHECKPOINTS = (LAST, BEST)
"""In the order in which they are sent. A training writes the best before the last, which tells that an evaluation is
written: a set whose best is older than its last would be resumed with a best value that has no weights. Where the best
is the newer one the resumed training comes to its evaluation again, and writes it again."""
STUDY = "study"
"""The set of what trials share: the split's lists and the manifest."""
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def local_folder(spec: StudySpec, study: optuna.Study, name: str, *, checkpoints: bool = False) -> Path:
    """The folder `name` of an ended trial, relative to the study's, brought up to date from S3 where the spec names it.

    Its config names this machine's data and lists. Without `checkpoints` they need not be there.

    Raises S3Error where S3 cannot be reached and the folder is not on this machine, InputError for a folder elsewhere.
    """
    folder = spec.study.folder / name
    files = trial_files(spec.study, study)
    if files is None:
        return folder
    if not folder.resolve().is_relative_to(spec.study.folder.resolve()):
        raise InputError(f"{folder}: lies outside the study's folder; the study's database was changed from outside")
    try:
        _fetch_shared(files, spec)
        without = () if checkpoints else CHECKPOINTS
        files.fetch(name, folder, without=without, prepare=lambda part: relocate(part / CONFIG, spec))
    except S3Error:
        if not folder.is_dir():
            raise
    return folder


def folder_to_look(spec: StudySpec, study: optuna.Study, name: str) -> Path:
    """`local_folder` without checkpoints for what only shows it: also where S3 cannot be reached."""
    try:
        return local_folder(spec, study, name)
    except InputError:
        return spec.study.folder / name


def relocate(config: Path, spec: StudySpec) -> None:
    """Writes a config that another machine made anew, with this machine's folders of data and lists.

    InputError for one that holds more than plain values: what comes from elsewhere must not be run. A folder without
    config stays so.
    """
    from mmtuna.objectives.config import read_config, write_config

    if not config.is_file():
        return
    try:
        cfg = read_config(config)
    except (ValueError, SyntaxError):
        raise InputError(f"{CONFIG} in {spec.study.artifacts}: is no config of plain values; it is not used") from None
    for loader in _LOADERS:
        dataset = cfg.get(loader, {}).get("dataset", {})
        if "data_root" in dataset and "ann_file" in dataset:
            dataset["data_root"] = str(spec.data.root.resolve())
            listed = spec.study.folder / LISTS / Path(dataset["ann_file"]).name
            dataset["ann_file"] = str(listed.resolve())
    lines = config.read_text(encoding="utf-8").splitlines()
    header = [line.removeprefix("#").removeprefix(" ") for line in lines[: _first_code(lines)]]
    write_config(cfg, config, "\n".join(header))


def _first_code(lines: list[str]) -> int:
    return next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))


def push_shared(files: TrialFiles, spec: StudySpec, attempt: int) -> None:
    """Sends the split's lists and the manifest, unless a worker of the study did; each has an `attempt` of its own.

    A replayed study has neither.
    """
    if files.holds(STUDY):
        return
    with tempfile.TemporaryDirectory(prefix="mmtuna-") as scratch:
        part = Path(scratch) / STUDY
        for name in _shared():
            if (spec.study.folder / name).is_file():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(spec.study.folder / name, part / name)
        if part.is_dir():
            files.push(part, STUDY, attempt)


def _fetch_shared(files: TrialFiles, spec: StudySpec) -> None:
    if files.known(STUDY) and all((spec.study.folder / name).is_file() for name in _shared()):
        return
    spec.study.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".study-", dir=spec.study.folder) as scratch:
        part = Path(scratch) / STUDY
        if not files.fetch(STUDY, part):
            return
        for name in _shared():
            there = spec.study.folder / name
            # Lists may be of an earlier study with another split; a manifest tells of this machine's own files.
            if (part / name).is_file() and (name != MANIFEST or not there.is_file()):
                there.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part / name, there)


def _shared() -> tuple[str, ...]:
    return (MANIFEST, f"{LISTS}/train.txt", f"{LISTS}/val.txt")

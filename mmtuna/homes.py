"""What an Objective keeps for each study that calls it: a folder for its trials, and leases where others work on it."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from mmtuna.objectives.outcome import Outcome
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.pictures import Pictures
from mmtuna.search.trials.retention import Retention
from mmtuna.search.trials.showing import Showing
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params
from mmtuna.spaces.speed import Speed
from mmtuna.studies.begun import space_of
from mmtuna.studies.leases import Lease, Leases
from mmtuna.studies.leases.leases import keeps_leases
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.standing import standing_of
from mmtuna.studies.storage.optuna_insides import storage_of
from mmtuna.studies.storage.worker_storage import WorkerStorage
from mmtuna.studies.study import adopt, lies_in

FOLDER = "mmtuna:folder"
"""Study attribute: where its trials keep their files, relative to the spec's folder. The spec's own study has none."""
_OTHERS, _FIXED = "plain", "fixed"
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass
class Home:
    """The files and leases of one study's trials. `study` is None for a FixedTrial, which belongs to none."""

    spec: StudySpec
    study: optuna.Study | None
    folder: Path
    leases: Leases | None = None
    speeds: dict[str, Speed] = field(default_factory=dict)
    _told: list[Lease] = field(default_factory=list)
    _showing: Showing | None = None
    _files: StudyFiles | None = None

    def __post_init__(self) -> None:
        self._retention = Retention(self.spec.resources.keep_checkpoints)
        # A study of one's own was perhaps begun when the spec's preset held something else.
        self.space = self.spec.search_space() if self.study is None else space_of(self.study, self.spec)
        if self.leases is not None:
            self.leases.__enter__()
            weakref.finalize(self, self.leases.close)
        if self.study is not None:
            table, data, space = self.spec.study, self.spec.data, self.space
            self._files = StudyFiles(table, data.root, self.study)
            content = Content(study=self.study, table=table, data=data, space=space, files=self._files)
            # Calls of this process choose the images one after another; those of another one may choose for their own.
            self._showing = Showing(Pictures(self.study, threading.Lock(), data), content, _warn)

    def free_replicate(self, params: Params, number: int) -> tuple[int, int]:
        """The lowest replicate of `params` that no other trial of the study than trial `number` has, and the seed of
        replicate 0."""
        if self.study is None:
            return 0, self.spec.study.seed
        standing = standing_of(self.study)
        standing.look(anew=True)
        return standing.free_replicate(params, number), standing.first_seed(self.spec.study.seed)

    @contextmanager
    def holding(self, trial: optuna.Trial) -> Iterator[Callable[[], bool]]:
        """Within it other workers see that `trial` is trained here; yields whether it was lost to one of them.

        A trial that Ctrl-C ends waits to be gone on with. Without leases, in a storage that only Optuna knows, nobody
        else could take it.
        """
        if self.leases is None:
            yield lambda: False
            return
        leases = self.leases
        # Not when its training ends, but later: the trial counts as running until Optuna is told, after the call.
        leases.forget(self._told)
        self._told.clear()
        lease = leases.claim(trial, {}, None)
        leases.hold(lease)
        try:
            yield lambda: leases.lost(lease)
        except Exception:
            raise
        except BaseException as error:
            storage = storage_of(trial.study)
            if leases.put_back(lease) and isinstance(error, KeyboardInterrupt) and isinstance(storage, WorkerStorage):
                storage.note_put_back(lease.trial_id)
            raise
        finally:
            leases.drop(lease)
            self._told.append(lease)

    def show(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Draws the trial's pictures and attaches its files; one that cannot be drawn costs the search nothing."""
        if self._showing is not None and outcome.folder is not None:
            self._showing.show(trial.number, TrialFolder(outcome.folder))

    def retain(self) -> None:
        """Deletes the checkpoints of ended trials that are not among the best; the running one's stay."""
        if self.study is not None and self._files is not None:
            standing = standing_of(self.study)
            standing.look()
            self._retention.apply(standing, self._files)


def _warn(text: str) -> None:
    optuna.logging.get_logger("mmtuna").warning(text)


def find_home(
    homes: MutableMapping[object, Home],
    trial: optuna.Trial,
    spec: StudySpec,
    fingerprints: Mapping[str, Mapping[str, Any]],
) -> Home:
    """The home of the trial's study, from `homes` where it is known.

    InputError for a study that minimises, has several objectives, or was begun on other data, space or settings.
    """
    study: optuna.Study | None = getattr(trial, "study", None)
    if study not in homes:
        homes[study] = _fixed(spec) if study is None else _new(study, spec, fingerprints)
    return homes[study]


def _fixed(spec: StudySpec) -> Home:
    return Home(spec, None, spec.study.folder / _FIXED)


def _new(study: optuna.Study, spec: StudySpec, fingerprints: Mapping[str, Mapping[str, Any]]) -> Home:
    if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
        raise InputError(
            f"study {study.study_name}: {spec.study.metric} is to be maximised; make the study with "
            'direction="maximize"'
        )
    adopt(study, spec, fingerprints)
    leases = None
    if keeps_leases(study):
        resources = spec.resources
        leases = Leases(study=study, folder=spec.study.folder, seconds=resources.lease, retries=resources.retries)
    own = study.study_name == spec.study.name and lies_in(study, spec.study.storage)
    return Home(spec, study, spec.study.folder if own else _folder_of(study, spec.study.folder), leases)


def _folder_of(study: optuna.Study, top: Path) -> Path:
    """The folder that the study was given; a new one where it has none, so that no two studies share one."""
    known = study.user_attrs.get(FOLDER)
    if known is None:
        name, place = _ODD.sub("-", study.study_name).strip(".-")[:100] or "study", 1
        while True:
            known = f"{_OTHERS}/{name}" + (f"-{place}" if place > 1 else "")
            try:
                (top / known).mkdir(parents=True)
                break
            except FileExistsError:
                place += 1
        study.set_user_attr(FOLDER, known)
    folder = top / str(known)
    if not folder.resolve().is_relative_to(top.resolve()):
        raise InputError(f"study {study.study_name}: its folder {known} lies outside {top}; its storage was changed")
    return folder

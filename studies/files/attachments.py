"""Files kept with trials for the dashboard: whole or not at all, of a few safe kinds, each attached once."""

from __future__ import annotations

import functools
import io
import json
import re
import uuid
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.artifacts import ArtifactMeta
from optuna.trial import FrozenTrial

from mmtuna.spaces.errors import InputError
from mmtuna.studies.files.artifact_folder import LARGEST, ArtifactFiles, artifact_store
from mmtuna.studies.files.s3_artifacts import S3ArtifactStore
from mmtuna.studies.spec.s3_location import parse_location
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.optuna_insides import (
    ARTIFACT_OF_ENDED_TRIAL,
    ARTIFACT_OF_TRIAL,
    artifact_address,
    artifact_of_ended_trial,
    set_study_system_attr,
    set_trial_system_attr,
    study_system_attrs,
    trial_id,
)

PNG, TEXT, JSON = "image/png", "text/plain", "application/json"
SUFFIXES = {PNG: (".png",), TEXT: (".txt", ".log", ".py"), JSON: (".json",)}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"  # PNG specification, 5.2
_NAMESPACE = uuid.UUID("6f1d7a52-0c0e-4d5f-9c55-3a8f0f3a5d10")


def artifact_files(table: StudyTable) -> ArtifactFiles:
    """Where the artifacts of a study lie: in S3 where `[study] artifacts` says so, otherwise in the study's folder."""
    if table.artifacts is None:
        return artifact_store(table.folder)
    return _in_s3(table.artifacts, table.name)


@functools.cache
def _in_s3(location: str, name: str) -> ArtifactFiles:
    # One for the whole process: it remembers what it has seen.
    return S3ArtifactStore(parse_location(location), name)


class Attachments:
    """What is attached to the trials of a study, read once; attach with this where there is more than one file.

    Optuna's `upload_artifact` stores the metadata before the bytes, so that a dashboard shows what is not there yet,
    or never will be; and it fails on an ended trial. Here the bytes are complete before the metadata exists.
    """

    def __init__(
        self, study: optuna.Study, store: ArtifactFiles, trials: Collection[FrozenTrial], names: Collection[str] = ()
    ) -> None:
        """Of `trials` alone; of one trial where `names` says which of its files are meant."""
        self._study, self._store = study, store
        self._trials = {trial.number: trial for trial in trials}
        self._known: dict[int, dict[str, str]] = {}
        keys = [
            ARTIFACT_OF_ENDED_TRIAL.format(trial_id=trial_id(trial)) + self._id(trial.number, name)
            for trial in (trials if names else ())
            for name in names
        ]
        for key, value in study_system_attrs(study, keys or None).items():
            if found := artifact_of_ended_trial(key):
                self._known.setdefault(found[0], {})[found[1]] = value

    def _metas(self, trial: FrozenTrial) -> dict[str, str]:
        """Metadata by artifact id, as JSON text."""
        own = {
            key.removeprefix(ARTIFACT_OF_TRIAL): value
            for key, value in trial.system_attrs.items()
            if key.startswith(ARTIFACT_OF_TRIAL)
        }
        return own | self._known.get(trial_id(trial), {})

    def has(self, number: int, name: str) -> bool:
        """Whether the trial has a file of this name; also where a person deleted it in the dashboard."""
        artifact_id = self._id(number, name)
        meta = self._metas(self._trials[number]).get(artifact_id)
        # The dashboard deletes by writing null. Without its bytes a file counts as not attached.
        return meta is not None and (json.loads(meta) is None or self._store.holds(artifact_id))

    def pictures(self, number: int) -> dict[str, str]:
        """The trial's PNG files that were attached here: names, sorted, and their addresses in the dashboard."""
        trial = self._trials[number]
        found = {}
        for artifact_id, text in self._metas(trial).items():
            meta = json.loads(text) or {}
            name = meta.get("filename", "")
            if meta.get("mimetype") == PNG and artifact_id == self._id(number, name) and self._store.holds(artifact_id):
                found[name] = artifact_address(self._study, trial, artifact_id)
        return dict(sorted(found.items()))

    def attach(self, number: int, content: Path | bytes, *, name: str, mimetype: str) -> bool:
        """Attaches a file to a trial unless it has one of that name; whether it did.

        Raises InputError for a name, kind or size that the dashboard shall not serve, and for an unreadable file.
        """
        if self.has(number, name):
            return False
        data = _checked(content, name, mimetype)
        trial, artifact_id = self._trials[number], self._id(number, name)
        self._store.write(artifact_id, io.BytesIO(data))
        meta = json.dumps(asdict(ArtifactMeta(artifact_id, name, mimetype, None)))
        if not trial.state.is_finished():
            try:
                set_trial_system_attr(self._study, trial, ARTIFACT_OF_TRIAL + artifact_id, meta)
                return True
            except optuna.exceptions.UpdateFinishedTrialError:
                pass  # it ended meanwhile
        key = ARTIFACT_OF_ENDED_TRIAL.format(trial_id=trial_id(trial)) + artifact_id
        set_study_system_attr(self._study, key, meta)
        self._known.setdefault(trial_id(trial), {})[artifact_id] = meta
        return True

    def _id(self, number: int, name: str) -> str:
        # The same in every process: two that attach the same file at once write the same entry.
        return str(uuid.uuid5(_NAMESPACE, f"{self._study.study_name}\n{number}\n{name}"))


def attach(
    study: optuna.Study, store: ArtifactFiles, number: int, content: Path | bytes, *, name: str, mimetype: str
) -> bool:
    """Attaches one file (or its bytes) to trial `number`, running or ended; see `Attachments.attach`."""
    return Attachments(study, store, study.get_trials(deepcopy=False)).attach(
        number, content, name=name, mimetype=mimetype
    )


def _checked(content: Path | bytes, name: str, mimetype: str) -> bytes:
    if mimetype not in SUFFIXES:
        raise InputError(f"artifact {name}: {mimetype} is not served; use {', '.join(SUFFIXES)}")
    if not _NAME.fullmatch(name) or not name.endswith(SUFFIXES[mimetype]):
        ends = ", ".join(SUFFIXES[mimetype])
        raise InputError(f"artifact {name!r}: a plain file name ending in {ends} is needed for {mimetype}")
    data = _read(content) if isinstance(content, Path) else content
    if len(data) > LARGEST:
        raise InputError(f"artifact {name}: larger than {LARGEST >> 20} MiB; attach less")
    if mimetype == PNG and not data.startswith(_PNG_MAGIC):
        raise InputError(f"artifact {name}: not a PNG file; attach one that is")
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); attach a file that can") from None

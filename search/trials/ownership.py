"""Whose a study's folder is: its owner's id is written in it, and no other study trains there."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna

from mmtuna.objectives.trial_files import StudyFolder, TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_json_whole
from mmtuna.spaces.traces import marked
from mmtuna.studies import results
from mmtuna.studies.identity import StudyGoneError, ancestors_of, id_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.study import lies_in

OWNER = ".study.json"
_MADE_FOR = re.compile(r"# trial (\d+), seed (\d+)")


@dataclass(frozen=True)
class Owner:
    """The study that a folder belongs to."""

    id: str
    name: str


def owner_of(folder: Path) -> Owner | None:
    """The folder's owner; None where nobody has worked in it since owners are noted."""
    try:
        found = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return Owner(str(found["id"]), str(found["name"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (IsADirectoryError, PermissionError, ValueError, TypeError, KeyError):
        raise InputError(
            f"{folder / OWNER}: cannot be read, and it says whose the folder is; put it back, or set [study] folder to "
            "another place"
        ) from None


def ids_of(study: optuna.Study) -> tuple[str, ...]:
    """The ids whose folders the study may use: its own, then those of what it is a copy of; none where it has none."""
    try:
        own = id_of(study)
    except ValueError:  # damaged attributes, of which a report shows what is left
        return ()
    return () if own is None else (own, *ancestors_of(study))


def is_own(study: optuna.Study, table: StudyTable) -> bool:
    """Whether `study` is the one that `[study]` names: it lies where the table says, or the folder bears its id."""
    if study.study_name != table.name:
        return False
    if lies_in(study, table.storage):
        return True
    owner = owner_of(table.folder)
    return owner is not None and owner.id in ids_of(study)[:1]


def refuse_foreign(folder: Path, name: str, ids: Collection[str]) -> None:
    """InputError where the folder belongs to another study than `name` with the `ids`."""
    owner = owner_of(folder)
    if owner is not None:
        _refuse(folder, owner, name, ids)


def _refuse(folder: Path, owner: Owner, name: str, ids: Collection[str]) -> None:
    if owner.id not in ids:
        whose = f"study {owner.name}" if owner.name != name else "another study of this name"
        storage = "" if owner.name != name else ", or [study] storage (or MMTUNA_STORAGE) to where that one lies"
        raise InputError(
            f"{folder}: belongs to {whose}, and the files of its trials would be lost; set [study] folder to another "
            f"place{storage}"
        )


def check_folder(folder: StudyFolder, name: str, study: optuna.Study | None) -> Owner | None:
    """The folder's owner; InputError where `study`, or the one of that name that is to be begun, may not work there.

    A folder without an owner is of a study from before there were any, if it holds trials: then those must be the
    study's own.
    """
    owner = owner_of(folder.path)
    if owner is None:
        _refuse_unfit(folder, name, [] if study is None else results.rows(study))
    else:
        _refuse(folder.path, owner, name, () if study is None else ids_of(study))
    return owner


def _refuse_unfit(folder: StudyFolder, name: str, entries: Sequence[TrialRow]) -> None:
    for path in sorted(folder.trial(0).path.parent.glob("*")):
        number = int(path.name) if path.name.isdecimal() else -1
        if number >= 0 and not (number < len(entries) and _fits(TrialFolder(path), entries[number])):
            raise InputError(
                f"{path}: is of no trial of study {name}, whose files would take its place; set [study] folder to "
                "another place, or move this one away"
            )


def _fits(folder: TrialFolder, entry: TrialRow) -> bool:
    """Whether the config in the folder, if there is one, was made for this trial: its seed and params stand on top."""
    try:
        lines = folder.config.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return True
    made_for = _MADE_FOR.fullmatch(lines[0] if lines else "")
    if made_for is None or entry.seed is None:
        return True
    params = {f"# {name} = {value!r}" for name, value in entry.params.items()}
    return int(made_for[2]) == entry.seed and params <= set(lines)


def claim_folder(folder: StudyFolder, study: optuna.Study) -> None:
    """Makes the folder the study's own; InputError where it is another's."""
    owner = check_folder(folder, study.study_name, study)
    own = id_of(study)
    if own is None:  # nobody has worked on it since there are ids, and this one only looks
        return
    note = Owner(own, study.study_name)
    if owner is None and not _write_new(folder.path / OWNER, note):
        claim_folder(folder, study)  # another process was first
    elif owner is not None and owner.id != own:  # that of the study that it is a copy of
        write_json_whole(folder.path / OWNER, asdict(note))


def _write_new(path: Path, note: Owner) -> bool:
    """Writes the file, whole, unless there is one; whether it did."""
    part = path.with_name(marked(f"{path.name}."))
    write_json_whole(part, asdict(note))
    try:
        os.link(part, path)  # which no other process can do as well
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def check_still_own(folder: Path, study_id: str | None) -> None:
    """StudyGoneError where the folder was moved, removed or taken over while a worker of the study worked in it."""
    owner = owner_of(folder)
    if owner is None:
        raise StudyGoneError(
            f"{folder}: the study's folder was moved or removed while this worker ran; put it back, or set [study] "
            "folder to where it is, and run again"
        )
    if owner.id != study_id:
        raise StudyGoneError(f"{folder}: belongs to study {owner.name} in another storage now; this worker stops")

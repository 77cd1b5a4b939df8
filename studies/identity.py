"""Which study this is, whatever its name and place: an id, given once, and whether it is still there for a worker."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.studies.attributes import COPIED_FROM, ID, WORKERS
from mmtuna.studies.spec.tables import SQLITE
from mmtuna.studies.storage.opening import hide_password, sqlite_file


class StudyGoneError(InputError):
    """What a worker works on is not what it joined any more: its database or its folder was replaced or moved."""


def give_id(study: optuna.Study) -> None:
    """Gives the study its id unless it has one. The caller holds the study's lock."""
    if ID not in study.user_attrs:
        study.set_user_attr(ID, secrets.token_hex(8))


def pass_on(source: optuna.Study, copy: optuna.Study) -> None:
    """Gives a copy an id of its own, and notes whose copy it is: what was the source's may then be the copy's."""
    copy.set_user_attr(ID, secrets.token_hex(8))
    known = (id_of(source), *ancestors_of(source))
    copy.set_user_attr(COPIED_FROM, [entry for entry in known if entry is not None])


def id_of(study: optuna.Study) -> str | None:
    """The study's id; None for one that no worker has joined since there are ids."""
    found = study.user_attrs.get(ID)
    return None if found is None else str(found)


def ancestors_of(study: optuna.Study) -> tuple[str, ...]:
    """The ids of the studies that it is a copy of, the nearest first."""
    found = study.user_attrs.get(COPIED_FROM)
    return tuple(map(str, found)) if isinstance(found, list) else ()


@dataclass
class Joined:
    """A study as a worker joined it, as the one of this `ordinal`, in the database at `url`."""

    study: optuna.Study
    url: str
    ordinal: int
    id: str | None = field(init=False)
    _file: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self.id, self._file = id_of(self.study), self._place()

    def check(self) -> None:
        """StudyGoneError where another database, another study or an earlier state has taken its place."""
        where = f"[study] storage {hide_password(self.url)}"
        if self._file is not None and self._place() != self._file:
            # Connections that are open go on with the old file, which nobody will find.
            raise StudyGoneError(f"{where} was replaced or moved while this worker ran; put it back, and run again")
        try:
            attrs = self.study.user_attrs
        except KeyError:
            raise StudyGoneError(f"{where} holds the study no more: it was deleted while this worker ran") from None
        if attrs.get(ID) != self.id:
            raise StudyGoneError(f"{where} holds another study {self.study.study_name} now; run again to work on that")
        if int(attrs.get(WORKERS, 0)) <= self.ordinal:
            raise StudyGoneError(f"{where} {PUT_BACK}")

    def _place(self) -> tuple[int, int] | None:
        """What tells the database's file from another one under its name; None on Postgres, (0, 0) where it is gone."""
        if not self.url.startswith(SQLITE):
            return None
        try:
            found = sqlite_file(self.url).stat()
        except OSError:
            return (0, 0)
        return found.st_dev, found.st_ino


PUT_BACK = "was put back to an earlier state while this worker ran; run again to go on from there"

"""The files of a trial in S3, as one set that appears whole or not at all.

    PREFIX/NAME/ID/trials/00007/FILES.json          the set: name, size, sha256 and object of every file
    PREFIX/NAME/ID/trials/00007/objects/2-SHA256    a file's bytes, as attempt 2 at the trial sent them

Objects are sent first and never changed. The one put of the list makes them the trial's files; what it no longer names
is deleted after that. What no list names may be another process's of the same attempt, which sends what an earlier
worker on its machine could not, and is about to list it: that is left to the next attempt. A list is only put over the
one that was read before (If-Match), and never over that of a later attempt: a worker that lost the trial and does not
know it yet is refused. A server that knows no conditional writes leaves a race: a later attempt's list may come between
reading and putting, and stays hidden until its next push.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import optuna

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder
from mmtuna.studies.attributes import FILES
from mmtuna.studies.files.bucket import Bucket, S3Error
from mmtuna.studies.files.file_list import FileList, Marks, StoredFile, is_safe
from mmtuna.studies.files.reading import Head, open_files, sha256_of
from mmtuna.studies.spec.s3_location import parse_location
from mmtuna.studies.spec.tables import StudyTable

LIST, OBJECTS = "FILES.json", "objects"
_LARGEST_LIST = 16 << 20
_SMALL = 8 << 20
_CHUNK = 1 << 20
_TRIES = 5


def begin(study: optuna.Study) -> None:
    """Gives the study the ID under which its trials' files lie. The caller holds the study's lock.

    A study that is begun anew under an old name must not find the files of the old one's trials.
    """
    if FILES not in study.user_attrs:
        study.set_user_attr(FILES, secrets.token_hex(6))


def trial_files(table: StudyTable, study: optuna.Study) -> TrialFiles | None:
    """The files of the study's trials in S3; None where they lie in its folder alone, or no worker has begun."""
    known = study.user_attrs.get(FILES) if table.artifacts is not None else None
    if table.artifacts is None or known is None:
        return None
    location = parse_location(table.artifacts)
    return TrialFiles(Bucket(location), location.key(table.name, str(known)), table.folder)


class TrialFiles:
    """The sets of files below `prefix`, each under a name such as "trials/00007"; safe to call from several threads.

    The last part of `prefix` is the study's ID. `folder` is the study's: there is noted which of its folders holds
    which set. All methods raise S3Error, and OSError for files of this machine.
    """

    def __init__(self, bucket: Bucket, prefix: str, folder: Path) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._marks = Marks(folder, prefix.rpartition("/")[2])
        self._mutex = threading.Lock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        # What spares reading and sending a file again: each file as it was last read, and what this process sent though
        # no list may name it yet. Each with the list that it was sent beside (its etag, "" for none), or None where it
        # is being sent or deleted: it is there while that list is; who puts another may delete what that does not name.
        self._read: dict[tuple[str, str], tuple[tuple[int, int, int], StoredFile]] = {}
        self._sent: dict[tuple[str, int], dict[str, str | None]] = defaultdict(dict)
        self._doomed: dict[str, set[str]] = defaultdict(set)  # objects that are to be deleted once S3 is back

    def push(
        self,
        folder: Path,
        name: str,
        attempt: int,
        *,
        hold_back: Collection[str] = (),
        first: Sequence[str] = (),
    ) -> bool:
        """Makes the files of `folder` the set; False, and nothing changed, where a later attempt has one already.

        Hidden names and links are left out. Files `hold_back` are not sent: the set keeps those that it has. Files
        `first` are opened at once before all others, and sent as they were then, however long the sending takes: to
        be given in the order opposite to that in which they are written, so that none is older than one before it.
        """
        with self._lock_of(name):
            self._marks.trained(name, attempt)
            named: set[StoredFile] = set()
            for _ in range(_TRIES):
                before = self._list(name)
                if before is not None and before.attempt > attempt:
                    return False
                named |= set(before.files) if before else set()
                files = {file.name: file for file in before.files if file.name in hold_back} if before else {}
                files |= {file.name: file for file in self._send_all(folder, name, attempt, before, hold_back, first)}
                now = FileList(attempt, tuple(files[key] for key in sorted(files)))
                if now != before and not self._put(name, now, before):
                    continue
                self._sweep(name, now, named)
                self._marks.sent(name, attempt)
                return True
        raise self._error(name, "its list is changed by others again and again; let one worker train a trial")

    def fetch(
        self,
        name: str,
        folder: Path,
        *,
        without: Collection[str] = (),
        prepare: Callable[[Path], None] = lambda _: None,
    ) -> bool:
        """Makes `folder` hold the set, but for the files `without`, unless it does; False where there is no set.

        The files come into a folder beside it, are compared with their sha256 and given to `prepare`; then that folder
        takes the place of `folder`, which on any error stays as it is. What was trained on this machine and is not
        older than the set stays too.
        """
        with self._lock_of(name):
            before = None
            while (found := self._list(name)) is not None:
                if self._marks.holds(name, folder, found, without):
                    return True
                try:
                    with whole_folder(folder, replace=True) as part:
                        self._fetch_all(name, found, part, without)
                        prepare(part)
                except _MissingError as error:
                    if found == before:
                        raise self._error(name, f"{error} is not there though the list names it") from None
                    before = found  # a newer set may have taken its place meanwhile
                    continue
                self._marks.fetched(name, found, without)
                return True
        return False

    def holds(self, name: str) -> bool:
        """Whether there is a set of this name."""
        return self._list(name) is not None

    def forget(self, name: str, files: Collection[str]) -> None:
        """Takes `files` out of the set and deletes them."""
        with self._lock_of(name):
            for _ in range(_TRIES):
                before = self._list(name)
                if before is None:
                    return
                now = FileList(before.attempt, tuple(file for file in before.files if file.name not in files))
                if now.files != before.files and not self._put(name, now, before):
                    continue
                self._doomed[name] |= {file.object for file in before.files}
                for gone in self._doomed[name] - {file.object for file in now.files}:
                    self._delete(name, gone)
                return

    def known(self, name: str) -> bool:
        """Whether what lies in the folder of this name was trained or fetched on this machine for this study."""
        return self._marks.known(name)

    def unsent(self) -> dict[str, int]:
        """The sets that were trained on this machine and never sent whole, with the attempt that they are of."""
        return self._marks.unsent()

    def _lock_of(self, name: str) -> threading.Lock:
        with self._mutex:
            return self._locks[name]

    def _key(self, name: str, *parts: str) -> str:
        if not is_safe(name):
            raise InputError(f"{name[:80]!r} is no folder of a study; give one such as trials/00007")
        return "/".join((self._prefix, name, *parts))

    def _error(self, name: str, what: str) -> S3Error:
        return S3Error(f"{name} in {self._bucket.location}: {what}")

    def _list(self, name: str) -> FileList | None:
        found = self._bucket.get(self._key(name, LIST), _LARGEST_LIST)
        try:
            return None if found is None else FileList.parse(*found)
        except InputError as error:
            raise self._error(name, f"{LIST} {error}; it was changed from outside") from None

    def _put(self, name: str, now: FileList, before: FileList | None) -> bool:
        return self._bucket.put_over(self._key(name, LIST), now.text(), before.etag if before else None)

    def _send_all(
        self,
        folder: Path,
        name: str,
        attempt: int,
        before: FileList | None,
        hold_back: Collection[str],
        first: Sequence[str],
    ) -> Iterator[StoredFile]:
        """Sends what is not there yet and yields every file. Whatever trains here meanwhile replaces files whole."""
        beside, own = before.etag if before else "", self._sent[name, attempt]
        there = {digest: attempt for digest, etag in own.items() if etag == beside}
        there |= {file.sha256: file.attempt for file in (before.files if before else ())}
        for relative, file in open_files(folder, first, hold_back):
            sent = self._send(file, name, relative, attempt, there)
            if sent.attempt == attempt and sent.sha256 in own:
                own[sent.sha256] = beside
            yield sent

    def _send(self, file: BinaryIO, name: str, relative: str, attempt: int, there: dict[str, int]) -> StoredFile:
        found = os.fstat(file.fileno())
        signature = (found.st_size, found.st_mtime_ns, found.st_ino)
        known = self._read.get((name, relative))
        if known is not None and known[0] == signature and known[1].sha256 in there:
            return replace(known[1], attempt=there[known[1].sha256])
        # A log may grow in place: a small file is sent from memory, of a large one only what was hashed.
        body = io.BytesIO(file.read(found.st_size)) if found.st_size <= _SMALL else file
        size, digest = sha256_of(body, found.st_size)
        sent = StoredFile(relative, size, digest, there.get(digest, attempt))
        if digest not in there:
            body.seek(0)
            head = body if isinstance(body, io.BytesIO) else cast(BinaryIO, Head(body, size))
            self._sent[name, attempt][digest] = None
            self._bucket.put(self._key(name, OBJECTS, sent.object), head)
            there[digest] = attempt
        self._read[name, relative] = (signature, sent)
        return sent

    def _sweep(self, name: str, now: FileList, named: Collection[StoredFile]) -> None:
        """Deletes objects that `now` does not name: all of earlier attempts, and of this one what is nobody else's.

        That is what was `named` by a list before it, and what this process sent.
        """
        kept, own = {file.object for file in now.files}, self._sent[name, now.attempt]
        idle = {*own, *(file.sha256 for file in named if file.attempt == now.attempt)}
        idle -= {file.sha256 for file in now.files if file.attempt == now.attempt}
        own |= dict.fromkeys(idle)  # so that the next push deletes what this one does not, where S3 goes away
        try:
            for key in self._bucket.keys(self._key(name, OBJECTS, "")):
                found = key.rpartition("/")[2]
                number, _, digest = found.partition("-")
                attempt = int(number) if number.isdecimal() else now.attempt + 1
                if found not in kept and (attempt < now.attempt or (attempt == now.attempt and digest in idle)):
                    self._delete(name, found)
        except S3Error as error:
            if not error.passing:
                raise
            # The set is there; the next push sweeps.

    def _delete(self, name: str, stored: str) -> None:
        attempt, _, digest = stored.partition("-")
        self._bucket.delete(self._key(name, OBJECTS, stored))
        self._sent[name, int(attempt)].pop(digest, None)

    def _fetch_all(self, name: str, found: FileList, part: Path, without: Collection[str]) -> None:
        for file in found.files:
            if file.name in without:
                continue
            path = part / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            pieces = self._bucket.chunks(self._key(name, OBJECTS, file.object), _CHUNK)
            if pieces is None:
                raise _MissingError(file.name)
            digest, size = hashlib.sha256(), 0
            with path.open("xb") as out:
                for piece in pieces:
                    size += len(piece)
                    if size > file.size:
                        break
                    digest.update(piece)
                    out.write(piece)
            if size != file.size or digest.hexdigest() != file.sha256:
                raise self._error(name, f"{file.name} is not what was stored (its sha256 differs); it is not used")


class _MissingError(Exception):
    """An object that the list names is not there; the message is the file's name."""

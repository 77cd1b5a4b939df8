"""The files of a study's trials: where each lies, which are on this machine, and how they come here from S3."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import optuna

from mmtuna.objectives.trial_files import CHECKPOINTS, CONFIG, StudyFolder, TrialFolder
from mmtuna.search.trials.ownership import claim_folder, ids_of, refuse_foreign
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import remove_unfinished
from mmtuna.spaces.traces import clear_dead, scratch_folder
from mmtuna.studies.files.bucket import S3Error
from mmtuna.studies.files.trial_store import TrialFiles, trial_files
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec.tables import StudyTable

SHARED = "study"
"""The set of what trials share: the split's lists and the manifest."""
_ABANDONED = 3600.0  # seconds
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


class StudyFiles:
    """The files of one study on this machine, and in S3 where `[study] artifacts` names a place there.

    Made once a command or worker; making one reads nothing. A trial's folder goes by its name relative to the study's,
    such as "trials/00007", as its row has it. That comes from the database, which others may write to: a name that
    leads out of the study's folder is refused with InputError.

    Args:
        data_root: root of the data set on this machine, which a config that comes from another one is to name.
    """

    def __init__(self, table: StudyTable, data_root: Path, study: optuna.Study) -> None:
        self.folder = StudyFolder(table.folder)
        self._table, self._data_root, self._study = table, data_root, study
        self._store: TrialFiles | None = None
        self._ids: tuple[str, ...] | None = None

    @property
    def store(self) -> TrialFiles | None:
        """The files in S3; None where the spec names none, or no worker has begun the study."""
        if self._store is None:
            self._store = trial_files(self._table, self._study)
        return self._store

    def trial(self, name: str) -> TrialFolder:
        """Where the folder lies on this machine, whether it is there or not; InputError where that is another's."""
        path = self.folder.path / name
        if not is_inside(path, self.folder.path):
            raise InputError(f"{path}: lies outside the study's folder; the study's database was changed from outside")
        if self._ids is None:
            self._ids = ids_of(self._study)
        if self._ids:  # none: nobody has worked on it since there are ids
            refuse_foreign(self.folder.path, self._study.study_name, self._ids)
        return TrialFolder(path)

    def here(self, name: str) -> TrialFolder | None:
        """The folder as it is on this machine; None where it is not here, or the study's folder is another's."""
        try:
            found = self.trial(name)
        except InputError:
            return None
        return found if found.path.is_dir() else None

    def fetched(self, name: str, *, checkpoints: bool = False) -> TrialFolder:
        """The folder of an ended trial, brought up to date from S3 where its files lie there.

        Its config then names this machine's data and lists. Without `checkpoints` they need not be there.

        Raises S3Error where S3 cannot be reached and the folder is not on this machine.
        """
        found = self.trial(name)
        if self.store is None:
            return found
        claim_folder(self.folder, self._study)
        try:
            self._fetch_shared(self.store)
            without = () if checkpoints else CHECKPOINTS
            self.store.fetch(name, found.path, without=without, prepare=self._relocate)
        except S3Error:
            if not found.path.is_dir():
                raise
        return found

    def to_look(self, name: str) -> TrialFolder:
        """`fetched` without checkpoints for what only shows it: also where S3 cannot be reached."""
        try:
            return self.fetched(name)
        except InputError:
            return self.trial(name)

    def trained(self, entry: TrialRow, *, checkpoints: bool = False) -> TrialFolder:
        """The folder of a trained trial, `fetched`; InputError for a replayed one and for one whose config is gone."""
        if entry.folder is None:
            raise InputError(f"trial {entry.number} was replayed, not trained: it has no weights; take a trained study")
        found = self.fetched(entry.folder, checkpoints=checkpoints)
        if not found.config.is_file():
            raise InputError(f"{found.config}: no such file; put the study's folder back, or take another trial")
        return found

    def weights(self, entry: TrialRow) -> Path:
        """The weights whose metrics are the trial's value, in its folder; InputError where retention deleted them."""
        folder = self.trained(entry, checkpoints=True)
        if folder.folds():
            raise InputError(
                f"trial {entry.number}: has a net for each of its {len(folder.folds())} folds, and not one; "
                "`mmtuna export --ensemble` takes them together, --retrain trains its params on the images of all"
            )
        found = folder.weights(self._table.value)
        if not found.is_file():
            raise InputError(
                f"trial {entry.number}: its weights are deleted, only the best [resources] keep_checkpoints trials "
                "keep theirs; export one of these, raise keep_checkpoints before you `mmtuna run SPEC` for more "
                "trials, or train it again with --retrain"
            )
        return found

    def fold_weights(self, entry: TrialRow) -> list[tuple[TrialFolder, Path]]:
        """The folds of a trial and their weights, none of one training; InputError where retention deleted them."""
        folds = self.trained(entry, checkpoints=True).folds()
        if not all(fold.last.is_file() for fold in folds):
            raise InputError(
                f"trial {entry.number}: the weights of its folds are deleted, only the best [resources] "
                "keep_checkpoints trials keep theirs; take one of these"
            )
        return [(fold, fold.last) for fold in folds]

    def clear_abandoned(self) -> None:
        """Removes what killed processes left half written in the study's folder, unless somebody may still write it."""
        trials = self.folder.trial(0).path.parent
        for path in (self.folder.path, trials):
            clear_dead(path)
        for path in trials.glob("[!.]*"):
            remove_unfinished(path, older_than=_ABANDONED)

    def push_shared(self, attempt: int) -> None:
        """Sends what trials share, unless a worker of the study did; each has an `attempt` of its own.

        A replayed study has nothing of it.
        """
        if self.store is None or self.store.holds(SHARED):
            return
        with scratch_folder() as scratch:
            part = StudyFolder(scratch / SHARED)
            for own, copy in zip(self.folder.shared(), part.shared(), strict=True):
                if own.is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(own, copy)
            if part.path.is_dir():
                self.store.push(part.path, SHARED, attempt)

    def _fetch_shared(self, store: TrialFiles) -> None:
        if store.known(SHARED) and all(path.is_file() for path in self.folder.shared()):
            return
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self.folder.path) as scratch:
            part = StudyFolder(scratch / SHARED)
            if not store.fetch(SHARED, part.path):
                return
            for own, copy in zip(self.folder.shared(), part.shared(), strict=True):
                # Lists may be of an earlier study with another split; a manifest tells of this machine's own files.
                if copy.is_file() and (own != self.folder.manifest or not own.is_file()):
                    own.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(copy, own)

    def _relocate(self, part: Path) -> None:
        """Writes the config that another machine made anew, with this machine's folders of data and lists.

        InputError for one that holds more than plain values: what comes from elsewhere must not be run. A folder
        without config stays so.
        """
        from mmtuna.objectives.config import read_config, write_config
        from mmtuna.objectives.data.dataset import IMAGE_SOURCE, MASK_SOURCE

        config = TrialFolder(part).config
        if not config.is_file():
            return
        try:
            cfg = read_config(config)
        except (ValueError, SyntaxError):
            place = self._table.artifacts
            raise InputError(f"{CONFIG} in {place}: is no config of plain values; it is not used") from None
        for loader in _LOADERS:
            dataset = cfg.get(loader, {}).get("dataset", {})
            if "data_root" in dataset and "ann_file" in dataset:
                dataset["data_root"] = str(self._data_root.resolve())
                listed = self.folder.lists[0].with_name(Path(dataset["ann_file"]).name)
                dataset["ann_file"] = str(listed.resolve())
                if IMAGE_SOURCE in cfg:
                    dataset["data_prefix"]["img_path"] = str(self.folder.copies.resolve())
                if MASK_SOURCE in cfg:
                    dataset["data_prefix"]["seg_map_path"] = str(self.folder.mask_copies.resolve())
        lines = config.read_text(encoding="utf-8").splitlines()
        header = [line.removeprefix("#").removeprefix(" ") for line in lines[: _first_code(lines)]]
        write_config(cfg, config, "\n".join(header))


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path`, links followed, lies in `folder`."""
    return path.resolve().is_relative_to(folder.resolve())


def _first_code(lines: list[str]) -> int:
    return next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))

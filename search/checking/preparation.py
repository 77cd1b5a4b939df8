"""What stands between a spec and its first trial: data, split, weights, bases, devices, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import BaseConfig
from mmtuna.objectives.data import duplicates
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, data_fingerprint, mask_file, shapes
from mmtuna.objectives.data.sides import side_pixels
from mmtuna.objectives.data.split import Split, fingerprint, subjects_fingerprint, validated, write_lists
from mmtuna.objectives.evaluation.metrics import Measures
from mmtuna.objectives.folds import FoldedObjective
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.prepared import configs_suffix, with_copies, write_copies
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.objectives.weights import file_sha256
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.metrics import BOTH_EMPTY, PER_SUBJECT
from mmtuna.spaces.portfolio import odds_of
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies.spec import StudySpec

PICTURED = 12
_PROBED = 8


@dataclass(kw_only=True)
class Preparation:
    """What stands between a spec and its first trial. `problems` is empty where a run may begin.

    `notes` are lines a person should read though nothing is wrong. `folds` are the splits that a trial trains by, of
    which `split` is the first, and mostly the only one.
    """

    spec: StudySpec
    space: SearchSpace
    own_params: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dataset: Dataset | None = None
    split: Split | None = None
    folds: tuple[Split, ...] = ()
    manifest: Manifest = field(default_factory=Manifest)
    nearest: dict[duplicates.Sides, list[duplicates.Pair]] = field(default_factory=dict)
    bases: dict[str, BaseConfig] = field(default_factory=dict)
    weights: dict[str, Path] = field(default_factory=dict)
    backbones: dict[str, Path] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    _sums: dict[tuple[Path, int, int], str] = field(default_factory=dict, repr=False)

    @property
    def odds(self) -> float:
        """How many training pixels of the background there are for one of all other classes; 1 where nothing is known.

        See `mmtuna.spaces.portfolio.odds_of`.
        """
        if self.dataset is None or self.split is None:
            return 1.0
        pixels = side_pixels(self.manifest, self.dataset, self.split.train)
        return odds_of([pixels.get(value, 0) for value in range(len(self.dataset.classes))])

    def objective(self) -> SegmentationObjective:
        """The objective of the study; the split's lists and the images' copies, if any, are written into its folder."""
        assert self.split is not None
        write_lists(self.split, StudyFolder(self.spec.study.folder).lists[0].parent)
        self.write_copies((*self.split.train, *self.split.val), StudyFolder(self.spec.study.folder).copies)
        return self.dry_objective()

    def whole(self, objective: SegmentationObjective) -> SegmentationObjective | FoldedObjective:
        """What trains a whole trial by this `objective` of the study, which trains the first fold: all of its folds.

        The lists that it needs are written into the study's folder.
        """
        if len(self.folds) < 2:
            return objective
        folder = StudyFolder(self.spec.study.folder)
        lists = [folder.fold_lists(number) for number in range(1, len(self.folds) + 1)]
        for split, (train, _) in zip(self.folds, lists, strict=True):
            write_lists(replace(split, test=()), train.parent)
        write_whole(folder.whole_list, "".join(f"{name}\n" for name in validated(self.folds)))
        return FoldedObjective(objective=objective, lists=tuple(lists), whole=folder.whole_list)

    def write_copies(self, names: Iterable[str], folder: Path) -> None:
        """Copies of these images into `folder`, and of their masks beside it, where the data set needs them
        (mmtuna.objectives.prepared)."""
        assert self.dataset is not None
        write_copies(self.dataset, names, self.manifest, folder)

    def dry_objective(self, copies: Path | None = None) -> SegmentationObjective:
        """The objective before anything of it is written: for configs that are built and not trained.

        `copies` is the folder of the images' copies where there are any, the study's by default.
        """
        assert self.dataset is not None
        folder = self.spec.study.folder
        return SegmentationObjective(
            base=self.spec.model.base,
            trust_code=self.spec.model.trust_code,
            dataset=with_copies(self.dataset, copies or StudyFolder(folder).copies),
            lists=StudyFolder(folder).lists,
            shapes=shapes(self.manifest, self.dataset),
            weights=self.weights,
            backbones=self.backbones,
            fixed=self.spec.train,
            metric=self.spec.study.metric,
            folder=folder,
            deadline=self.spec.resources.deadline,
            hung=self.spec.resources.hung,
            value=self.spec.study.value,
            pictured=self.pictured(),
            measures=self.measures(),
            limits=self.spec.limits.limits(),
        )

    def measures(self, names: Iterable[str] | None = None) -> Measures:
        """How images are measured one at a time, as `[study]` says, with the subjects of `names`, by default of those
        that validate."""
        assert self.split is not None
        assert self.dataset is not None
        table, subjects = self.spec.study, self.dataset.subjects
        known = [name for name in (validated(self.folds) if names is None else names) if name in subjects]
        return Measures(
            subjects=dict(zip(self.files_of(known), (subjects[name] for name in known), strict=True)),
            both_empty=BOTH_EMPTY[table.both_empty],
            tolerance=table.nsd_tolerance,
        )

    def files_of(self, names: Iterable[str]) -> list[str]:
        """The images `names` as trials' counts and masks call them: with the suffix that configs name."""
        assert self.dataset is not None
        suffix = configs_suffix(self.dataset)
        return [f"{name}{suffix}" for name in names]

    def pictured(self) -> tuple[str, ...]:
        """Up to 12 validation images, from those without foreground to the one with most of it, evenly spread."""
        if self.split is None or self.dataset is None:
            return ()
        suffix = configs_suffix(self.dataset)
        shares = []
        for name in validated(self.folds):
            record = self.manifest.records.get(mask_file(self.dataset, name))
            values = (record.values if record else None) or {}
            counted = {value: count for value, count in values.items() if 0 < value < len(self.dataset.classes)}
            shares.append((sum(counted.values()), f"{name}{suffix}"))
        shares.sort()
        places = min(PICTURED, len(shares))
        return tuple(shares[round(i * (len(shares) - 1) / max(1, places - 1))][1] for i in range(places))

    def show_near_duplicates(self) -> list[str]:
        """Lines on images that judge and are nearly one that was seen; they are drawn into the study's folder."""
        told = [duplicates.told(pairs, sides) for sides, pairs in self.nearest.items()]
        lines, picture = [line for line in told if line], StudyFolder(self.spec.study.folder).near_duplicates
        if not lines or self.dataset is None:
            return []
        try:
            duplicates.draw(self.dataset, self.nearest, picture)
        except OSError as error:
            return [f"{line}; no picture could be written to {picture} ({error.strerror or error})" for line in lines]
        return [f"{line}; pictures: {picture}" for line in lines]

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """What the study was begun on and must go on with."""
        assert self.split is not None
        assert self.dataset is not None
        sides = {"train": self.split.train, "val": self.split.val, "test": self.split.test}
        counts = {side: len(names) for side, names in sides.items() if names}
        data = {"sha256": data_fingerprint(self.manifest), "files": len(self.manifest.records)}
        if self.spec.study.metric in PER_SUBJECT:
            data["subjects.sha256"] = subjects_fingerprint(self.folds, self.dataset)
        return {
            "data": data,
            "split": {"sha256": fingerprint(self.folds), **counts},
            "base": {base.name: base.fingerprint() for base in self.bases.values()},
            "weights": self.weights_fingerprints(),
        }

    def weights_fingerprints(self) -> dict[str, str]:
        """File names and sha256 of the weights that trials start from; no path of this machine."""
        # Names alone do not tell: a training of one's own writes iter_400.pth again and again. One file may serve all.
        named = [(decoder or "base", path) for decoder, path in self.weights.items()]
        named += [(source.rpartition("/")[2], path) for source, path in self.backbones.items()]
        found: dict[str, str] = {}
        for name, path in named:
            found |= {name: path.name, f"{name}.sha256": self._sum_of(path)}
        return found

    def _sum_of(self, path: Path) -> str:
        # Asked for several times before trial 1, of files that may be large.
        status = path.stat()
        state = (path, status.st_size, status.st_mtime_ns)
        if state not in self._sums:
            self._sums[state] = file_sha256(path)
        return self._sums[state]

    def save(self) -> None:
        """Remembers what was read, so that the next run reads only what changed."""
        self.manifest.save(StudyFolder(self.spec.study.folder).manifest)


@contextmanager
def objective_for_now(ready: Preparation) -> Iterator[SegmentationObjective]:
    """Within it children can train by the objective, before anything of the study is written."""
    with scratch_folder() as folder:
        copies, split = StudyFolder(folder).copies, _few(ready)
        ready.write_copies((*split.train, *split.val), copies)
        yield replace(ready.dry_objective(copies=copies), lists=write_lists(split, folder))


def _few(ready: Preparation) -> Split:
    """The split that a probe loads from: of images that must be copied first, a few."""
    assert ready.dataset is not None
    assert ready.split is not None
    if not ready.dataset.rule and not ready.dataset.copies_masks:
        return ready.split
    return replace(ready.split, train=ready.split.train[:_PROBED], val=ready.split.val[:_PROBED])


def shapes_of(ready: Preparation) -> set[tuple[int, int]]:
    """The (height, width) that occur, empty where the data could not be opened."""
    return shapes(ready.manifest, ready.dataset) if ready.dataset else set()

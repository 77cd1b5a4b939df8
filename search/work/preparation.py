"""From a spec to everything a run needs, checked: data, split, weights, configs, disk, devices, storage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import BaseConfig, load_base
from mmtuna.objectives.config.allowed import sending
from mmtuna.objectives.config.classes import lost_weights
from mmtuna.objectives.config.initial import initial_files
from mmtuna.objectives.data import duplicates
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.data.manifest import Manifest, data_fingerprint, mask_file, shapes
from mmtuna.objectives.data.split import Split, fingerprint, validated, write_lists
from mmtuna.objectives.evaluation.metrics import Measures
from mmtuna.objectives.folds import FoldedObjective
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.prepared import configs_suffix, copies_bytes, with_copies, write_copies
from mmtuna.objectives.trial.devices import cores, may_have_gpu
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.objectives.weights import OnProgress, backbone_files, file_sha256, resolve_weights
from mmtuna.search.versions import newer_than_tested
from mmtuna.search.work import checks, memory, probing
from mmtuna.search.work.data import OnFile, read_data
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.metrics import BOTH_EMPTY
from mmtuna.spaces.parameter import Categorical
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DECODERS, DEFAULTS, FORMER, UNET
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies.beginning import check_beliefs
from mmtuna.studies.sampling import check_sampler
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import space_for

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
        sides = {"train": self.split.train, "val": self.split.val, "test": self.split.test}
        counts = {side: len(names) for side, names in sides.items() if names}
        return {
            "data": {"sha256": data_fingerprint(self.manifest), "files": len(self.manifest.records)},
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


def prepare(
    spec: StudySpec,
    *,
    slots: int = 1,
    own_params: bool = False,
    probe: bool = False,
    on_file: Callable[[int, int], None] | None = None,
    on_download: OnProgress | None = None,
) -> Preparation:
    """Checks everything that can be known to fail before trial 1; all problems are gathered, none is raised.

    `own_params`: what is trained comes from elsewhere than the spec's space, which may then hold nothing.

    Reads every image that the study's manifest does not know, fetches the weights, builds the model in a child
    process; with `probe` trains one iteration of each combination that matters, unless that is known to go well.
    Writes nothing but into the cache: downloads, what many files held, and what a probe came to.
    """
    space, moved = space_for(spec)
    ready = Preparation(spec=spec, space=space, own_params=own_params, notes=newer_than_tested())
    ready.notes += [moved] if moved is not None else []
    ready.notes += _former_names(spec, space)
    steps: list[Callable[[], None]] = [
        lambda: _require_parameters(ready),
        lambda: _read_data(ready, on_file),
        lambda: _load_bases(ready),
        lambda: _find_weights(ready, on_download),
        lambda: ready.notes.extend(checks.check_sizes(ready.space, spec.train, spec.model.base, shapes_of(ready))),
        lambda: checks.check_storage(spec.study.storage, spec.study.folder),
        lambda: checks.check_artifacts(spec.study),
        lambda: check_sampler(spec.study, ready.space),
        lambda: check_beliefs(spec, ready.space),
        lambda: checks.check_open_files(ready.space, spec.train),
    ]
    for step in steps:
        _gather(ready, step)
    if not ready.problems:
        _gather(ready, lambda: _check_models(ready, slots))
    if not ready.problems and spec.limits.limits():
        _gather(ready, lambda: _check_limits(ready))
    if probe and not ready.problems:
        try_combinations(ready)
    return ready


def try_combinations(ready: Preparation) -> None:
    """Trains one iteration of each combination that matters, unless that is known to go well; for a preparation that
    found no problem, which gets those that this finds."""
    assert ready.split is not None
    mark = probing.mark_of(ready.spec.describe(), ready.fingerprints(), ready.devices)
    found = probing.remembered(mark)
    if found is None:
        with objective_for_now(ready) as objective:
            found = probing.probe_all(objective, ready.space, ready.devices)
        ready.problems += found.problems
        if not found.problems:
            probing.remember(mark, found)
    if found.tried < found.planned:
        ready.notes.append(
            f"one iteration was tried of {found.tried} combinations out of {found.planned} that matter: that took "
            f"{probing.SECONDS:g} s"
        )


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


def reopen(spec: StudySpec) -> Preparation:
    """What `prepare` found, in another process that works on the same study: data, split, bases, weights.

    Reads only files that changed since; builds no model. InputError, in one line, where something is not as it was.
    """
    ready = Preparation(spec=spec, space=space_for(spec)[0])
    for step in (lambda: _read_data(ready, None), lambda: _load_bases(ready), lambda: _find_weights(ready, None)):
        _gather(ready, step)
    if ready.problems:
        raise InputError("; ".join(ready.problems))
    return ready


def _require_parameters(ready: Preparation) -> None:
    if not ready.space.names and not ready.own_params:
        raise InputError('[space] holds no parameter; give preset = "paper" or a table [space.params.NAME]')


def _gather(ready: Preparation, step: Callable[[], None]) -> None:
    try:
        step()
    except InputError as error:
        ready.problems.append(str(error))


def shapes_of(ready: Preparation) -> set[tuple[int, int]]:
    """The (height, width) that occur, empty where the data could not be opened."""
    return shapes(ready.manifest, ready.dataset) if ready.dataset else set()


def _read_data(ready: Preparation, on_file: OnFile | None) -> None:
    study = ready.spec.study
    found = read_data(ready.spec.data, metric=study.metric, known=StudyFolder(study.folder).manifest, on_file=on_file)
    ready.dataset, ready.split, ready.manifest = found.dataset, found.split, found.manifest
    ready.folds = found.folds
    ready.nearest = found.nearest
    ready.problems += found.problems
    ready.notes += found.notes


def _decoders(ready: Preparation) -> list[str]:
    """The decoders that the space or [train] can choose; one empty name for a base that is no UNet."""
    if ready.spec.model.base != UNET:
        return [""]
    if ready.own_params and "decoder" not in ready.spec.train:
        return list(DECODERS)
    if "decoder" in ready.space:
        return [str(value) for value in ready.space.parameter("decoder").values() or []]
    return [str(ready.spec.train.get("decoder", DEFAULTS["decoder"]))]


def _load_bases(ready: Preparation) -> None:
    model = ready.spec.model
    for decoder in _decoders(ready):
        ready.bases[decoder] = load_base(model.base, decoder=decoder, trust_code=model.trust_code)
    trusted = next(iter(ready.bases.values())).trusted
    if trusted is not None:
        imports = next(iter(ready.bases.values())).imports
        more = f", and imports {', '.join(imports)} in every trial" if imports else ""
        ready.notes.append(
            f"[model] trust_code: runs {trusted} and its bases as Python{more}; who may write there runs code here"
        )


def _note_what_is_left_out(ready: Preparation) -> None:
    assert ready.dataset is not None
    for base in ready.bases.values():
        sent = sending(base.cfg)
        if sent:
            ready.notes.append(f"base config {base.name}: {', '.join(sent)} is left out, nothing leaves the machine")
        lost = lost_weights(base.cfg["model"], len(ready.dataset.classes))
        if lost:
            ready.notes.append(f"base config {base.name}: {lost}")


def _find_weights(ready: Preparation, on_download: OnProgress | None) -> None:
    fixed: Mapping[str, Any] = ready.spec.train
    sampled = ready.space.parameter("initial_weights") if "initial_weights" in ready.space else None
    wanted = sampled.contains("pretrained") if sampled else fixed.get("initial_weights") != "none"
    if ready.spec.model.pretrained == "none":
        if isinstance(sampled, Categorical) and wanted:
            raise InputError(
                "[model] pretrained = 'none' and the space tries initial_weights = 'pretrained'; name weights, or add "
                'drop = ["initial_weights"] to [space]'
            )
        if not sampled and fixed.get("initial_weights") == "pretrained":
            raise InputError(
                "[train] initial_weights = 'pretrained' and [model] pretrained = 'none' contradict each other; name "
                "weights in [model] pretrained, or remove initial_weights"
            )
        return
    if not wanted and ready.spec.model.pretrained != "auto":
        raise InputError(
            f"[model] pretrained = {ready.spec.model.pretrained!r} starts no trial: initial_weights is 'none' in all; "
            "remove one of the two"
        )
    if wanted:
        for decoder, base in ready.bases.items():
            named = ready.spec.model.pretrained.replace("{decoder}", decoder)
            path = resolve_weights(named, base, on_progress=on_download)
            if path is None:
                ready.backbones |= backbone_files(base, on_progress=on_download)
            else:
                ready.weights[decoder] = path


def _check_models(ready: Preparation, slots: int) -> None:
    """Configs that can be written, and what needs torch: devices, models that build, weights that fit, room on disk."""
    _note_what_is_left_out(ready)
    objective = ready.dry_objective()
    cfgs = []
    first: dict[str, dict[str, Any]] = {}
    for params in checks.covering(ready.space):
        cfgs.append(objective.config(params, seed=0))
        first.setdefault(objective.settings(params).decoder, cfgs[-1])
    models = {decoder: _model_of(cfg) for decoder, cfg in first.items()}
    start = next((_model_of(cfg) for cfg in cfgs if initial_files(cfg["model"])), {})
    found = _look_with_torch(ready, models, start)
    ready.devices = tuple(found["devices"])
    checks.check_mixed_precision(cfgs, ready.devices, _precision_place(ready))
    for decoder, names in found["replaced"].items():
        file, layers = ready.weights[decoder].name, ", ".join(names)
        ready.notes.append(f"weights {file}: made for other classes, the last layers start anew ({layers})")
    ready.notes.append(_start(ready, found["taken"]))
    assert ready.dataset is not None
    copies = copies_bytes(ready.dataset, ready.manifest)
    checks.check_disk(ready.spec.study.folder, found["bytes"], ready.spec.resources.keep_checkpoints, slots, copies)


def _look_with_torch(ready: Preparation, models: Mapping[str, Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """What `checks.look_with_torch` finds, or found when all was the same: torch takes seconds to start."""
    weights = {decoder: str(path) for decoder, path in ready.weights.items()}
    backbones = {source: str(path) for source, path in ready.backbones.items()}
    devices = ready.spec.resources.devices

    def look() -> dict[str, Any]:
        return checks.look_with_torch(models, weights, devices, backbones, start)

    # GPUs come and go, and what a person's own modules do changes without the config.
    if (may_have_gpu() and tuple(devices) != ("cpu",)) or any("custom_imports" in model for model in models.values()):
        return look()
    return memory.once("models", [models, start, devices, ready.weights_fingerprints(), weights, backbones], look)


def _check_limits(ready: Preparation) -> None:
    """InputError where all of the smallest nets of the space are beyond a limit, or one cannot be measured."""
    objective, device = ready.dry_objective(), ready.devices[0]
    smallest = [entry.params for entry in probing.combinations(ready.space) if set(entry.apart) <= {"decoder"}]
    cfgs = [objective.config(params, seed=0) for params in smallest]
    threads = ready.spec.resources.threads or cores()

    def measured() -> dict[str, Any]:
        return {"demands": [objective.demand(cfg, device, threads) for cfg in cfgs]}

    try:
        # A GPU may be another one the next time.
        found = measured() if device != "cpu" else memory.once("limits", [cfgs, ready.spec.describe()], measured)
    except InputError as error:
        raise InputError(f"[limits]: what a net asks cannot be measured ({error})") from None
    limits = ready.spec.limits.limits()
    least, params = min(
        zip(found["demands"], smallest, strict=True), key=lambda pair: max(limits.excess(pair[0]).values())
    )
    over = limits.broken(least)
    if over is not None:
        what = ", ".join(f"{name} = {params[name]}" for name in ("decoder", *probing.SIZES) if name in params)
        raise InputError(
            f"[limits]: the smallest net of the space{f' ({what})' if what else ''} has {over}; allow more, or search "
            "smaller nets"
        )


def _model_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {key: cfg[key] for key in ("model", "custom_imports") if key in cfg}


def _start(ready: Preparation, taken: Mapping[str, tuple[int, int]]) -> str:
    """What the nets of this study start from, and what its base would start from that they do not, in words."""
    sampled = ready.space.parameter("initial_weights") if "initial_weights" in ready.space else None
    other = ", or from random ones where initial_weights is none" if sampled and sampled.contains("none") else ""
    bases = ready.bases.values()
    named = {name for base in bases for name in initial_files(base.cfg["model"]).values()} - set(ready.backbones)
    left = f"; the base's own, {', '.join(sorted(named))}, are left out: pretrained = 'backbone' takes them"
    said = "random weights" + (left if named else "")
    if ready.weights:
        said = f"weights {', '.join(sorted({path.name for path in ready.weights.values()}))}{other}"
    elif ready.backbones:
        counts = {path.name: taken[source] for source, path in ready.backbones.items()}
        files = [f"{name} ({ours} of its {all_} tensors)" for name, (ours, all_) in counts.items()]
        said = f"backbone weights {', '.join(files)} and random heads{other}"
    used = ready.spec.model.pretrained == "auto" and bool(ready.weights)
    loads = sorted({base.load_from for base in bases if base.load_from and not (used and base.weights_url is None)})
    return f"trials start from {said}" + (f"; the base's load_from, {', '.join(loads)}, is left out" if loads else "")


def _precision_place(ready: Preparation) -> str:
    """What a person wrote to ask for mixed precision, as the spec has it."""
    for name in ("precision", *FORMER):
        if name in ready.space:
            return f"[space.params.{name}]"
        value = ready.spec.train.get(name)
        if value not in (None, False, "fp32"):
            return f"[train] {name} = {str(value).lower() if isinstance(value, bool) else json.dumps(value)}"
    return "[model] base has the AmpOptimWrapper"


def _former_names(spec: StudySpec, space: SearchSpace) -> list[str]:
    """A note for each setting that the spec calls by a name of before; both stay a setting's name for its study."""
    notes = []
    for name, former in FORMER.items():
        if name in spec.train:
            notes.append(
                f"[train] {name}: is called {former.now} now; {former.now} = "
                f"{json.dumps(former.values[spec.train[name]])} says the same"
            )
        elif name in space:
            choices = json.dumps(list(former.values.values()))
            notes.append(
                f"[space.params.{name}]: is called {former.now} now; this study goes on as it is, and a new one "
                f"takes [space.params.{former.now}] choices = {choices}"
            )
    return notes

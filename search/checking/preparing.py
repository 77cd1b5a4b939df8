"""From a spec to everything a run needs, checked: data, split, weights, configs, disk, devices, storage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmtuna.objectives.config import load_base
from mmtuna.objectives.config.allowed import sending
from mmtuna.objectives.config.classes import lost_weights
from mmtuna.objectives.config.initial import initial_files
from mmtuna.objectives.demand import shaping
from mmtuna.objectives.devices import cores, may_have_gpu
from mmtuna.objectives.prepared import copies_bytes
from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.objectives.weights import OnProgress, backbone_files, resolve_weights
from mmtuna.search.checking import checks, memory, probing, sides
from mmtuna.search.checking.data import OnFile, read_data
from mmtuna.search.checking.preparation import Preparation, objective_for_now, shapes_of
from mmtuna.search.checking.smallest import Smallest, in_words
from mmtuna.search.versions import newer_than_tested
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DECODERS, DEFAULTS, FORMER, UNET
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.beginning import check_beliefs
from mmtuna.studies.strategy.sampling import check_sampler
from mmtuna.studies.study import space_for


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
        lambda: checks.check_whole_numbers(ready.space, spec.space.params, ready.bases.values()),
        lambda: _find_weights(ready, on_download),
        lambda: ready.notes.extend(sides.check_sizes(ready.space, spec.train, spec.model.base, shapes_of(ready))),
        lambda: sides.check_strides(ready.space, spec.train, spec.model.base),
        lambda: ready.notes.extend(checks.check_evaluations(ready.space, spec.train, spec.model.base)),
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


def _read_data(ready: Preparation, on_file: OnFile | None) -> None:
    study = ready.spec.study
    found = read_data(ready.spec.data, metric=study.metric, known=StudyFolder(study.folder).manifest, on_file=on_file)
    ready.dataset, ready.split, ready.manifest = found.dataset, found.split, found.manifest
    ready.folds = found.folds
    ready.nearest = found.nearest
    ready.problems += found.problems
    ready.notes += found.notes
    if found.dataset is not None:
        checks.check_apart(study.folder, found.dataset)


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
    cfgs, models, starts = _nets(ready)
    found = _look_with_torch(ready, models, starts)
    ready.devices = tuple(found["devices"])
    checks.check_mixed_precision(cfgs, ready.devices, _precision_place(ready))
    for decoder, names in found["replaced"].items():
        file, layers = ready.weights[decoder].name, ", ".join(names)
        ready.notes.append(f"weights {file}: made for other classes, the last layers start anew ({layers})")
    ready.notes.append(_start(ready, found["taken"]))
    assert ready.dataset is not None
    copies = copies_bytes(ready.dataset, ready.manifest)
    checks.check_disk(ready.spec.study.folder, found["bytes"], ready.spec.resources.keep_checkpoints, slots, copies)


def _nets(ready: Preparation) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Configs that hold every choice, one model of each shape, and those of them that start from weights, by decoder
    and by the settings that shape them, in words."""
    objective, cfgs = ready.dry_objective(), list[dict[str, Any]]()
    models: dict[str, dict[str, Any]] = {}
    starts: dict[str, dict[str, Any]] = {}
    known = set[str]()
    for params in checks.covering(ready.space):
        cfgs.append(objective.config(params, seed=0))
        model, shape = _model_of(cfgs[-1]), json.dumps(shaping(cfgs[-1]["model"]), sort_keys=True, default=str)
        models.setdefault(shape, model)
        if shape in known or not (cfgs[-1].get("load_from") or initial_files(model["model"])):
            continue
        known.add(shape)
        shaped = {name: value for name, value in params.items() if name == "base_channels" or name.startswith("model.")}
        words = ", ".join(f"{name} = {value}" for name, value in shaped.items())
        starts.setdefault(objective.settings(params).decoder, {})[words] = model
    return cfgs, list(models.values()), starts


def _look_with_torch(
    ready: Preparation, models: Sequence[Mapping[str, Any]], starts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What `checks.look_with_torch` finds, or found when all was the same: torch takes seconds to start."""
    weights = {decoder: str(path) for decoder, path in ready.weights.items()}
    backbones = {source: str(path) for source, path in ready.backbones.items()}
    devices = ready.spec.resources.devices

    def look() -> dict[str, Any]:
        return checks.look_with_torch(models, starts, weights, devices, backbones)

    # GPUs come and go, and what a person's own modules do changes without the config.
    if (may_have_gpu() and tuple(devices) != ("cpu",)) or any("custom_imports" in model for model in models):
        return look()
    return memory.once("models", [models, starts, devices, ready.weights_fingerprints(), weights, backbones], look)


def _check_limits(ready: Preparation) -> None:
    """InputError where the smallest net of the space is beyond a limit, or one cannot be measured."""
    objective, device = ready.dry_objective(), ready.devices[0]
    limits, threads = ready.spec.limits.limits(), ready.spec.resources.threads or cores()
    smallest = Smallest(
        space=ready.space,
        limits=limits,
        config=lambda params: objective.config(params, seed=0),
        demand=lambda cfg: objective.demand(cfg, device, threads),
    )

    def measured() -> dict[str, Any]:
        params, asked = smallest.find()
        return {"params": params, "demand": dict(asked), "whole": not smallest.over()}

    try:
        # A GPU may be another one the next time.
        question = [ready.spec.describe(), ready.fingerprints(), threads]
        found = measured() if device != "cpu" else memory.once("limits", question, measured)
    except InputError as error:
        raise InputError(f"[limits]: what a net asks cannot be measured ({error})") from None
    over = limits.broken(found["demand"])
    if over is not None:
        what = in_words(found["params"])
        said = f"net of the space{f' ({what})' if what else ''} has {over}"
        if found["whole"]:
            raise InputError(f"[limits]: the smallest {said}; allow more, or search smaller nets")
        ready.notes.append(f"[limits]: the smallest {said}, of those that there was time to look at")


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

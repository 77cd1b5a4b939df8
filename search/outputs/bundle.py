"""The bundle of one trial, of the best by default, or of its params trained on all images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from mmtuna.objectives.config import load_base
from mmtuna.objectives.deployment import build_bundle, build_ensemble, check_installed
from mmtuna.objectives.outcome import Ending, Evaluation, TrialOrder
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.errors import NotReadyError
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.versions import machine, versions
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import require_new_folder
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies import configs
from mmtuna.studies.attributes import FINGERPRINTS
from mmtuna.studies.looks import looks_of
from mmtuna.studies.results import TrialRow
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_to_read


@dataclasses.dataclass(frozen=True)
class Exported:
    """A bundle that was written and verified: its folder, the trial it is of, and what its bundle.json holds."""

    folder: Path
    trial: int
    document: dict[str, Any]


def export_trial(
    spec: StudySpec,
    out: Path,
    trial: int | None = None,
    *,
    retrain: bool = False,
    ensemble: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Writes the bundle of a complete trial to `out`, verified.

    Args:
        out: folder, new or empty.
        trial: number of the trial; None for the best.
        retrain: train its params on training and validation images together and export these weights. The metrics
            are then the trial's own, measured before, and are labelled so.
        ensemble: export the nets of a trial's folds together, each of which is held against its own fold's metrics.
        say: takes a line now and then while it trains.

    Raises InputError for a trial that does not exist, is not complete or has lost its weights, an `out` that is not
    empty or cannot be written, a package that is missing, and a verification that fails; then nothing is written.
    """
    if retrain and ensemble:
        raise InputError(
            "--ensemble exports the nets of the folds, --retrain one that is trained anew on all images; give one"
        )
    check_installed()
    require_new_folder(out)
    study = open_to_read(spec)
    entry = configs.complete(study, trial)
    facts = gather(spec, study, entry, retrained=retrain)
    if retrain:
        spec.study.folder.mkdir(parents=True, exist_ok=True)
        with scratch_folder(spec.study.folder) as folder:
            trained = _retrain(spec, entry, folder, say)
            found = build_bundle(trained, out, facts, trained.last, trusted_imports(spec))
    elif ensemble:
        found = _joined(spec, study, entry, out, facts)
    else:
        weights = StudyFiles(spec.study, spec.data.root, study).weights(entry)
        found = build_bundle(TrialFolder(weights.parent), out, facts, weights, trusted_imports(spec))
    return Exported(out, entry.number, found)


def _joined(spec: StudySpec, study: optuna.Study, entry: TrialRow, out: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The bundle of all nets of a trial's folds, each with facts of its own."""
    folds = StudyFiles(spec.study, spec.data.root, study).fold_weights(entry)
    if not folds:
        raise InputError(
            f'trial {entry.number}: is one training, not folds (split = "{spec.data.split}"); export it without '
            "--ensemble"
        )
    own = [
        {**facts, "fold": number, "metrics": dict(metrics), "value": metrics.get(spec.study.metric), "test": []}
        for number, metrics in enumerate(entry.folds, start=1)
    ]
    folders, weights = [fold for fold, _ in folds], [path for _, path in folds]
    return build_ensemble(folders, out, facts, own, weights, trusted_imports(spec))


def trusted_imports(spec: StudySpec) -> tuple[str, ...]:
    """The modules that the spec lets trials import; a trial's config that names others is refused."""
    return load_base(spec.model.base, trust_code=True).imports if spec.model.trust_code else ()


def gather(spec: StudySpec, study: optuna.Study, entry: TrialRow, *, retrained: bool) -> dict[str, Any]:
    """What bundle.json says of the trial, as plain data without this machine's paths."""
    last = spec.study.value == "last"
    return {
        "study": spec.study.name,
        "trial": entry.number,
        "seed": entry.seed,
        "params": dict(entry.params),
        "metric": spec.study.metric,
        "value": entry.value,
        "value_of": spec.study.value,
        "metrics": dict(entry.metrics if last else entry.best_metrics),
        "metrics_measured": "before retraining" if retrained else "on these weights",
        "fingerprints": study.user_attrs.get(FINGERPRINTS, {}),
        "versions": versions(),
        "machine": machine(),
        "retrained": retrained,
    } | _tested(spec, study, entry)


def _tested(spec: StudySpec, study: optuna.Study, entry: TrialRow) -> dict[str, Any]:
    """What was measured of the trial on images that no trial saw; nothing where the study sets none aside."""
    if spec.data.test is None:
        return {}
    looks = enumerate(looks_of(study.user_attrs), start=1)
    return {"test": [{"look": number, **look.plain()} for number, look in looks if look.trial == entry.number]}


def _retrain(spec: StudySpec, entry: TrialRow, folder: Path, say: Callable[[str], None]) -> TrialFolder:
    """Trains the trial's params and seed on all images and returns the folder of the training."""
    from mmtuna.objectives.devices import cores
    from mmtuna.objectives.trial.fork_server import SERVER
    from mmtuna.search.checking.preparing import prepare
    from mmtuna.spaces.files import write_whole
    from mmtuna.studies.study import check_opening

    SERVER.begin()  # imports torch while the data are read
    ready = prepare(spec)
    if ready.problems:
        raise NotReadyError(ready.problems)
    check_opening(spec, ready.fingerprints())
    objective = ready.objective()
    assert ready.split is not None
    # In the study's folder, not with the training: the bundle's config names it.
    both = objective.lists[1].with_name("train_and_val.txt")
    write_whole(both, "".join(f"{name}\n" for name in (*ready.split.train, *ready.split.val)))
    objective = dataclasses.replace(objective, lists=(both, objective.lists[1]), folder=folder)
    order = TrialOrder(
        number=entry.number,
        params=dict(entry.params),
        seed=entry.seed if entry.seed is not None else spec.study.seed,
        device=ready.devices[0],
        threads=spec.resources.threads or cores(),
    )
    outcome = objective.run(order, _ToTheEnd(say))
    if outcome.ending is not Ending.FINISHED:
        raise InputError(f"retraining trial {entry.number} failed, {outcome.cause}: {outcome.message}")
    return objective.trial_folder(entry.number)


class _ToTheEnd:
    """Watches a retraining: nothing stops it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def evaluated(self, evaluation: Evaluation) -> bool:
        """Says how far it is; its metrics are of images it trains on, so they are not shown."""
        self._say(f"retraining: {evaluation.step} % after {evaluation.seconds:.0f} s")
        return False

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Is told at every half second, which would be too many lines."""

    def interrupted(self) -> bool:
        """Ctrl-C ends the command itself."""
        return False

    def lost(self) -> bool:
        """Nobody else trains this."""
        return False

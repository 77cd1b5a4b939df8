"""A study is worked on: prepared, opened, and a worker on it until it is full. Nothing here needs the main thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from mmtuna.objectives.devices import cores
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Objective
from mmtuna.objectives.recorded import Recorded, RecordFile, digest, load_recorded
from mmtuna.objectives.replay import ReplayObjective
from mmtuna.objectives.trial.fork_server import SERVER
from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.errors import NotReadyError, StoppedError
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.trials.conclude import Scoring
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.files import StudyFiles
from mmtuna.search.trials.ownership import check_still_own
from mmtuna.search.trials.pictures import Pictures
from mmtuna.search.trials.recording import Recording
from mmtuna.search.trials.retention import Retention
from mmtuna.search.trials.showing import Showing
from mmtuna.search.trials.uploads import Uploads
from mmtuna.search.versions import machine, versions
from mmtuna.search.work.beginning import begin, checked, enqueue, foresee, lacking, open_to_work, slots_of
from mmtuna.search.work.forecast import Forecast
from mmtuna.search.work.hours import ending_lines, hours_of
from mmtuna.search.work.pace import at_speed, worth_measuring
from mmtuna.search.work.packing import said_slots
from mmtuna.search.work.progress import Board
from mmtuna.search.work.signals import on_signals
from mmtuna.search.work.study_queue import StudyQueue
from mmtuna.search.work.worker import Slot, Worker, make_slots
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies import study as study_room
from mmtuna.studies.asking import Hours
from mmtuna.studies.attributes import FINGERPRINTS
from mmtuna.studies.begun import space_of
from mmtuna.studies.configs import top_configs
from mmtuna.studies.files.trial_store import begin as begin_files
from mmtuna.studies.identity import Joined, id_of
from mmtuna.studies.leases import Leases
from mmtuna.studies.report.wording import count
from mmtuna.studies.results import sound_rows
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.opening import StudyLock, study_lock
from mmtuna.studies.storage.outages import through_outages
from mmtuna.studies.strategy import beginning, enqueuing
from mmtuna.studies.strategy.confirming import CONFIGS, plan_of
from mmtuna.studies.strategy.enqueuing import Replicates, Top
from mmtuna.studies.strategy.folding import fold_test
from mmtuna.studies.strategy.pruning import collapse_stops
from mmtuna.studies.strategy.sampling import check_sampler, sampler_name


@quiet_optuna()
def run_study(
    spec: StudySpec,
    console: Console,
    *,
    trials: int | None = None,
    slots: int | None = None,
    must_exist: bool = False,
    replicates: Replicates | None = None,
    top: Top | None = None,
    record: Path | None = None,
    heed_signals: bool = False,
) -> optuna.Study:
    """Prepares, opens the study and works on it until it holds `trials` finished trials (the spec's by default).

    Args:
        console: takes all that is said; `Console(quiet=True)` says nothing.
        slots: trials that train at the same time on this machine; from [resources] by default.
        must_exist: refuse to begin a new study.
        replicates: instead, train these, each to its end.
        top: afterwards, train the best configs with further seeds, each to its end, whatever [study] hours says.
        record: train every trial to its end, whatever the pruner, and append its whole curve to this file.
        heed_signals: stop in order on the signals that end a process; only a command's main thread may.

    Raises NotReadyError with all problems, InputError for a study that cannot be continued, StoppedError. However it
    ends, by KeyboardInterrupt too, running trials are put back.
    """
    if must_exist:
        study_room.open_existing(spec.study)
    spec = beginning.asked_for(spec, trials)
    ready, places, found = _ready(spec, console, trials, slots, must_exist=must_exist, replicates=replicates)
    study = begin(spec, ready, replicates)
    budget = trials or spec.study.trials if replicates is None else None
    kept = None if record is None else _record_file(record, spec, study, ready, console)
    expected = _tell_forecast(
        found,
        study_room.left(study, budget),
        console,
        asked=spec.study.trials,
        pruned=record is None and spec.study.pruner != "none",
    )
    objective = _sped_up(spec, study, ready, places, console, expected)
    assert ready.split is not None
    costs = None if found is None else found.costs
    hours = (
        hours_of(spec.study, study, objective, len(ready.split.val), costs, spec.folds) if replicates is None else None
    )
    whole = ready.whole(objective)
    work(spec, study, whole, places, console, budget, hours=hours, heed_signals=heed_signals, record=kept)
    if top is not None:
        replicates = _of_top(spec, study, top, console)
        through_outages(lambda: enqueue(spec, study, replicates))
        work(spec, study, whole, places, console, None, heed_signals=heed_signals, record=kept)
    if replicates is not None:
        _tell_failed_rows(spec, study, replicates)
    return study


def _sped_up(
    spec: StudySpec, study: optuna.Study, ready: Preparation, places: list[Slot], console: Console, expected: float
) -> SegmentationObjective:
    """The objective, as fast as the study's trials are to be, of which `expected` seconds are to come."""
    if spec.study.hours is not None:
        expected = min(expected, 3600 * spec.study.hours)
    return at_speed(
        ready.objective(),
        study,
        study_lock(spec.study.storage, spec.study.name),
        space_of(study, spec),
        places,
        lambda text: _tell(text, console),
        worth_measuring(expected),
    )


def _ready(
    spec: StudySpec,
    console: Console,
    trials: int | None,
    slots: int | None,
    *,
    must_exist: bool,
    replicates: Replicates | None,
) -> tuple[Preparation, list[Slot], Forecast | None]:
    """What a worker begins with, its notes told; NotReadyError with all problems."""
    SERVER.begin()  # imports torch while the data are read
    ready = checked(spec, console, slots or said_slots(spec.resources), probe=not must_exist, replicates=replicates)
    places = [] if ready.problems else slots_of(ready, slots)
    found, timed = None, spec.study.hours is not None
    if not ready.problems and replicates is None and (timed or (_heard(console, must_exist) and lacking(spec, trials))):
        found = foresee(ready, places, quick=not timed)
    if ready.problems:
        raise NotReadyError(ready.problems)
    for note in ready.notes:
        _tell(note, console)
    return ready, places, found


def _tell_forecast(found: Forecast | None, trials: int, console: Console, *, asked: int, pruned: bool) -> float:
    """Tells what `trials` trials will take; the seconds of these or of the `asked` ones, whichever are more, infinite
    where there is no forecast."""
    if found is None:
        return math.inf
    for line in found.lines(trials, pruned=pruned):
        _tell(line, console, "")
    return found.study(max(trials, asked))[0]


def _of_top(spec: StudySpec, study: optuna.Study, top: Top, console: Console) -> Replicates:
    """The study's best configs, with a line on what is trained of them."""
    best = top_configs(sound_rows(study), top.configs)
    found = Replicates(count=top.replicates, sets=tuple(config[0].params for config in best))
    lacks = len(enqueuing.missing_replicates(study, space_of(study, spec), found, spec.train))
    configs, seeds = count(len(best), "config"), count(top.replicates, "seed")
    _tell(f"the best {configs} with {seeds} each: {count(lacks, 'training')} to do", console)
    return found


def _tell(note: str, console: Console, kind: str = "note: ") -> None:
    console.print(f"{kind}{note}", highlight=False, markup=False, style="dim", soft_wrap=True)


def _heard(console: Console, must_exist: bool) -> bool:
    """Whether anybody hears a forecast; one more worker of a study tells none."""
    return not console.quiet and not must_exist


def _record_file(path: Path, spec: StudySpec, study: optuna.Study, ready: Preparation, console: Console) -> RecordFile:
    described, fingerprints = spec.describe(), ready.fingerprints()
    about = {name: described[name] for name in ("metric", "train", "model", "data", "split")}
    about["space"] = {"preset": spec.space.preset, "sha256": ready.space.fingerprint()}
    about["sampler"] = sampler_name(spec.study, ready.space)
    about |= {"fingerprints": {name: fingerprints[name] for name in ("data", "split")}}
    found = RecordFile(path, str(id_of(study)), about | {"machine": machine(), "versions": versions()})
    held, finished = found.begin(), study_room.finished(study)
    _tell(f"every trial is trained to its end and appended to {path}, which holds {held} of this study", console)
    if finished > held:
        _tell(f"{finished - held} trials of the study ended without --record, and are not in {path}", console)
    return found


def _tell_failed_rows(spec: StudySpec, study: optuna.Study, replicates: Replicates) -> None:
    space, causes = space_of(study, spec), "`mmtuna status SPEC` names the causes, the same command trains them again"
    if replicates.sets is not None:
        lacking = enqueuing.missing_replicates(study, space, replicates, spec.train)
        if lacking:
            asked = replicates.count * len(replicates.sets)
            raise StoppedError(f"study {spec.study.name}: {len(lacking)} of {asked} trainings failed; {causes}")
        return
    failed = enqueuing.missing_table2(study, space, replicates.count, spec.train)
    if failed:
        raise StoppedError(
            f"row {failed[0][0]} of Table 2 failed, {len(failed)} of {replicates.count * len(TABLE2)} trainings in "
            f"all; {causes}"
        )


@quiet_optuna()
def replay_study(
    spec: StudySpec,
    console: Console,
    *,
    trials: int | None = None,
    slots: int | None = None,
    heed_signals: bool = False,
) -> optuna.Study:
    """Works on a study of replayed curves: real storage, sampler and pruner, no training and no data."""
    spec = beginning.asked_for(spec, trials)
    if spec.replay is None:
        raise InputError('[replay] is missing; add it with curves = "generated" or the path of recorded trials')
    space, note = study_room.space_for(spec)
    check_sampler(spec.study, space)
    beginning.check_beliefs(spec, space)
    if note is not None:
        _tell(note, console)
    recorded = () if spec.replay.curves == "generated" else load_recorded(Path(spec.replay.curves))
    objective = ReplayObjective(metric=spec.study.metric, recorded=recorded, pause=spec.replay.pause)
    study = open_to_work(spec, {"replay": _curves(spec, Path(spec.replay.curves), recorded)})
    through_outages(lambda: enqueue(spec, study, None))
    places = make_slots(["cpu"], slots or 1, cores(), None, None)
    work(spec, study, objective, places, console, trials or spec.study.trials, heed_signals=heed_signals)
    return study


def _curves(spec: StudySpec, path: Path, recorded: Sequence[Recorded]) -> dict[str, Any]:
    """What is kept of the curves that a study plays: the file's name, and of what it held when the study was begun.

    `run --record` may have added to it since. InputError where what was there is not there any more. Of a study that
    was begun before this was kept nothing is known but the name.
    """
    named = {"curves": path.name}
    study = study_room.find_sound(spec.study)
    kept = {} if study is None else study.user_attrs.get(FINGERPRINTS, {}).get("replay", {})
    if not recorded or (kept and ("trials" not in kept or kept.get("curves") != path.name)):
        return named
    held = int(kept.get("trials", len(recorded)))
    found = digest(recorded[:held])
    if kept and kept.get("sha256") != found:
        raise InputError(
            f"[replay] curves: {path} no longer holds the {count(held, 'trial')} that study {spec.study.name} was "
            "begun with; take another [study] name, or the file as it was"
        )
    return {**named, "trials": held, "sha256": found}


def work(
    spec: StudySpec,
    study: optuna.Study,
    objective: Objective,
    slots: list[Slot],
    console: Console,
    trials: int | None,
    *,
    hours: Hours | None = None,
    heed_signals: bool = False,
    record: RecordFile | None = None,
) -> None:
    """Runs one worker until the study holds `trials` finished trials, or None: until its queue is empty.

    With `hours` it ends before, where what is left of them holds no further trial.
    """
    full = study_room.finished(study) + study_room.left(study, trials)
    board = Board(console, [slot.device for slot in slots], spec.study.metric, full)
    worker = make_worker(spec, study, objective, slots, board, record, hours)
    board.counted(*worker.queue.counted())
    signals = on_signals(worker.stop.set, board.say) if heed_signals else nullcontext()
    with board, signals:
        worker.work(trials)
    if trials is not None:
        for line in ending_lines(spec.study, worker.queue.space, study, worker.ended, trials, timed=hours is not None):
            board.say(line)


def make_worker(
    spec: StudySpec,
    study: optuna.Study,
    objective: Objective,
    slots: list[Slot],
    board: Board,
    record: RecordFile | None = None,
    hours: Hours | None = None,
) -> Worker:
    """A worker of the study that has joined it, with all that it needs: sampler and pruner are the study's from now.

    With `record` none is pruned, and each is appended there.
    """
    table = spec.study if record is None else spec.study.model_copy(update={"pruner": "none"})
    resources, space = spec.resources, space_of(study, spec)
    stop, lock = threading.Event(), study_lock(table.storage, table.name)
    joined = _joined(spec, study, table, lock, board.say)

    def still_there() -> None:
        check_still_own(table.folder, joined.id)
        joined.check()

    leases = Leases(
        study=study,
        folder=table.folder,
        seconds=resources.lease,
        retries=resources.retries,
        slots=len(slots),
        stop=stop,
        say=board.say,
        still_there=still_there,
    )
    plan = plan_of(table, space)
    queue = StudyQueue(study=study, space=space, seed=table.seed, lock=lock, leases=leases, hours=hours, plan=plan)
    files = StudyFiles(table, spec.data.root, study)
    retention = Retention(resources.keep_checkpoints, CONFIGS if plan.of(table.trials).confirm else 0)
    files.clear_abandoned()
    content = Content(study=study, table=table, data=spec.data, space=space, files=files)
    recording = Recording(
        study=study,
        leases=leases,
        scoring=Scoring.of(table),
        retention=retention,
        files=files,
        uploads=Uploads(files, retention, study, joined.ordinal, board.say, stop),
        showing=Showing(Pictures(study, lock, spec.data), content, board.say),
        record=record,
        fold_test=fold_test(table),
        collapse=collapse_stops(table.pruner),
    )
    return Worker(queue=queue, objective=objective, recording=recording, slots=slots, board=board, stop=stop)


def _joined(
    spec: StudySpec, study: optuna.Study, table: StudyTable, lock: StudyLock, say: Callable[[str], None]
) -> Joined:
    """The study, joined by one more worker, through an outage of its database too."""

    def join() -> Joined:
        with lock:
            if table.artifacts is not None:
                begin_files(study)
            return Joined(study, table.storage, beginning.join(study, table, space_of(study, spec), spec.priors()))

    return through_outages(join, say=say)

"""`run`, `worker`, `replay` and `table2 --replicates`: a prepared study, its slots, and a worker until it is full."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from mmtuna.objectives.outcome import Objective
from mmtuna.objectives.replay import ReplayObjective, load_recorded
from mmtuna.search.work.preparation import Preparation, prepare
from mmtuna.search.work.progress import Board
from mmtuna.search.work.worker import Slot, StoppedError, Worker, make_slots
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies import enqueuing, results
from mmtuna.studies import study as study_room
from mmtuna.studies.sampling import check_sampler, sampler_name
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.storage.outages import through_outages


class NotReadyError(InputError):
    """A preparation found problems; all of them stand in `problems`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@contextmanager
def watched_preparation(spec: StudySpec, console: Console, slots: int) -> Iterator[Preparation]:
    """`prepare` with progress bars for long reads and downloads."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    bytes_columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as files:
        reading = files.add_task("reading images and masks", total=None)
        with Progress(*bytes_columns, console=console, disable=quiet) as downloads:
            tasks: dict[str, Any] = {}

            def on_download(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = downloads.add_task(name, total=total or None)
                downloads.update(tasks[name], completed=done)

            ready = prepare(
                spec,
                slots=slots,
                on_file=lambda done, total: files.update(reading, completed=done, total=total),
                on_download=on_download,
            )
    yield ready


def run_study(
    spec: StudySpec,
    console: Console,
    *,
    trials: int | None = None,
    slots: int | None = None,
    must_exist: bool = False,
    replicates: int | None = None,
) -> optuna.Study:
    """Prepares, opens the study and works on it until it holds `trials` finished trials (the spec's by default).

    Args:
        slots: trials that train at the same time on this machine; from [resources] by default.
        must_exist: refuse to begin a new study.
        replicates: instead, train every row of Table 2 this many times.

    Raises NotReadyError with all problems, InputError for a study that cannot be continued, StoppedError.
    """
    if must_exist:
        study_room.open_existing(spec)
    resources = spec.resources
    count = slots or resources.trials_per_device
    with watched_preparation(spec, console, count) as ready:
        if ready.problems:
            raise NotReadyError(ready.problems)
    for note in ready.notes:
        console.print(f"note: {note}", highlight=False, markup=False, style="dim", soft_wrap=True)
    study = begin(spec, ready, replicates)
    places = make_slots(ready.devices, resources.trials_per_device, cores(), resources.threads, slots)
    budget = trials or spec.study.trials if replicates is None else None
    work(spec, study, ready.objective(), places, console, budget)
    if replicates is not None:
        _tell_failed_rows(spec, study, replicates)
    return study


def _tell_failed_rows(spec: StudySpec, study: optuna.Study, replicates: int) -> None:
    failed = enqueuing.missing_table2(study, spec.search_space(), replicates, spec.train)
    if failed:
        raise StoppedError(
            f"row {failed[0][0]} of Table 2 failed, {len(failed)} of {replicates * len(TABLE2)} trainings in all; "
            "`mmtuna status SPEC` names the causes, the same command trains them again"
        )


def begin(spec: StudySpec, ready: Preparation, replicates: int | None = None) -> optuna.Study:
    """Creates or opens a study that was prepared without problems and enqueues what the spec asks for.

    InputError for one that cannot be continued.
    """
    study = study_room.create_or_open(spec, ready.fingerprints())
    ready.save()
    through_outages(lambda: _enqueue(spec, study, replicates))
    return study


def replay_study(spec: StudySpec, console: Console, *, trials: int | None, slots: int | None) -> optuna.Study:
    """Works on a study of replayed curves: real storage, sampler and pruner, no training and no data."""
    if spec.replay is None:
        raise InputError('[replay] is missing; add it with curves = "generated" or the path of recorded trials')
    check_sampler(spec.study, spec.search_space())
    recorded = () if spec.replay.curves == "generated" else load_recorded(Path(spec.replay.curves))
    objective = ReplayObjective(metric=spec.study.metric, recorded=recorded, pause=spec.replay.pause)
    study = study_room.create_or_open(spec, {"replay": {"curves": Path(spec.replay.curves).name}})
    through_outages(lambda: _enqueue(spec, study, None))
    places = make_slots(["cpu"], slots or 1, cores(), None, None)
    work(spec, study, objective, places, console, trials or spec.study.trials)
    return study


def _enqueue(spec: StudySpec, study: optuna.Study, replicates: int | None) -> None:
    """Puts what the spec asks for in the queue; with `replicates`, that much of Table 2 and nothing else."""
    space = spec.search_space()
    with study_lock(spec.study.storage, spec.study.name):
        if replicates is not None:
            enqueuing.enqueue_table2(study, space, replicates, spec.train)
            return
        enqueuing.enqueue_start(study, spec.space.start)
        if "table2" in spec.study.enqueue:
            enqueuing.enqueue_table2(study, space, 1, spec.train)
        if sampler_name(spec.study, space) == "grid":
            enqueuing.enqueue_grid(study, space, spec.study.seed)


def work(
    spec: StudySpec, study: optuna.Study, objective: Objective, slots: list[Slot], console: Console, trials: int | None
) -> None:
    """Runs one worker on this process's main thread, with signals that end it in order."""
    full = study_room.finished(study) + study_room.left(study, trials)
    board = Board(console, [slot.device for slot in slots], spec.study.metric, full)
    best = results.best(study)
    board.counted(study_room.finished(study), (best.value, best.number) if best and best.value is not None else None)
    worker = Worker(spec=spec, study=study, space=spec.search_space(), objective=objective, slots=slots, board=board)
    with board, on_signals(worker.request_stop, board.say):
        worker.work(trials)


@contextmanager
def on_signals(request_stop: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
    """Within it, the signals that end a process ask for a stop; a second Ctrl-C ends it at once."""
    asked = False

    def on_signal(number: int, _frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            os._exit(1)  # the children die with the fork server, which dies with this process
        if asked:  # a cluster warns with one signal and follows it with another
            return
        asked = True
        say("stopping: running trials are put back; Ctrl-C once more stops at once")
        request_stop()

    # Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["NotReadyError", "StoppedError", "replay_study", "run_study", "watched_preparation"]

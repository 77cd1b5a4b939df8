"""The worker's side of a trial process: start it, listen, stop it, and name its death."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Outcome, Watch
from mmtuna.objectives.trial.causes import MemoryKills, name_death
from mmtuna.objectives.trial.fork_server import SERVER, Child, NotWanted
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.signals import STACKS
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import remove_unfinished
from mmtuna.spaces.traces import scratch_folder

_LAST_WORDS = 7.0  # seconds for a last checkpoint, within the 10 that clusters give before they kill
_LISTEN = 0.2  # seconds between looks at the clock and at requests to stop
_FLUSH = 10.0  # seconds for the log after the last message
_STACKS = 0.5  # seconds for what a hung process writes of itself


def _child(connection: Connection, name: str, *arguments: Any) -> None:
    try:
        # Looked up in the child, where the fork server has imported it: this side must not import torch.
        from mmtuna.objectives.trial import child as trial_child
    except Exception as error:  # libraries that are not of one build fail with anything
        hint = (
            "install what it names (for libGL: `pip uninstall -y opencv-python`, then "
            "`pip install --force-reinstall --no-deps opencv-python-headless`)"
        )
        message = f"{error}; {hint}" if isinstance(error, ImportError) else f"{type(error).__name__}: {error}; {hint}"
        answer = {"kind": "failed", "cause": Cause.ERROR, "message": message, "error": message}
        connection.send_bytes(json.dumps(answer).encode())
        return
    getattr(trial_child, name)(connection, *arguments)


def call_in_child(
    function: Callable[..., Any], *arguments: Any, timeout: float = 300.0, visible: str | None = ""
) -> Any:
    """Runs `function(*arguments)` in a child that has torch and mmseg; the result must be JSON-able.

    `visible` is for CUDA_VISIBLE_DEVICES: by default the child is on the CPU, None lets it see what this process sees.

    Raises InputError with the child's own line, or one that names how the child died; and for a function of the main
    module, which no child imports: it may be a script that would begin anew there.
    """
    if function.__module__ == "__main__":
        raise InputError(f"{function.__name__} is a function of the main module; a child runs only those of others")
    with scratch_folder(for_sockets=True) as scratch:
        log = scratch / "log"
        child = SERVER.fork(_child, "call", log, scratch, visible, function, arguments)
        try:
            if child.connection.poll(timeout):
                answer = json.loads(child.connection.recv_bytes())
                child.ended(_FLUSH)  # killed, it would leave semaphores behind, of which Python complains at the end
            else:
                answer = {"error": f"no answer in {timeout:g} s"}
        except (EOFError, OSError):
            child.ended(5.0)
            lines = [line for line in _lines(log) if line.strip()]
            said = lines[-1] if lines else f"its process ended with status {child.status}; see stderr"
            answer = {"error": f"{function.__name__} failed: {said}"}
        finally:
            child.close()
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["result"]


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []


@dataclass
class TrialProcess:
    """One training in one child.

    Life: started -> [resumed] -> (progressed | evaluated)* -> finished | interrupted | failed; the process may die or
    be ended at any point. Asked to end, it has 7 s to write a checkpoint; where the trial was lost it has none.
    `deadline` is in seconds from the start, less those in which the child waited for an answer of `watch`, `hung` in
    seconds since the last message, None for none.
    """

    plan: TrialPlan
    watch: Watch
    deadline: float | None = None
    hung: float | None = None
    _curve: list[Evaluation] = field(default_factory=list)
    _kills: MemoryKills = field(default_factory=MemoryKills)
    _iteration: int = 0
    _stopped: bool = False
    _seconds_before: float = 0.0
    _asked_to_end: float | None = None
    _silent: float = 0.0
    _held_up: float = 0.0

    def run(self) -> Outcome:
        """Starts the child and stays with it to its end. Never leaves a child behind."""
        began = time.monotonic()
        with scratch_folder(for_sockets=True) as scratch:
            try:
                child = SERVER.fork(_child, "main", self.plan, scratch, given_up=self._is_given_up)
            except NotWanted:
                return self._outcome(began, Ending.INTERRUPTED)
            try:
                ending, cause, message = self._listen(child, began)
            finally:
                child.close()
                if not self.watch.lost():
                    remove_unfinished(self.plan.folder.path)
        if cause is Cause.CRASHED:
            cause, message = name_death(child.status, message, self._kills.happened())
        return self._outcome(began, ending, cause, message)

    def _is_given_up(self) -> bool:
        return self.watch.lost() or self.watch.interrupted()

    def _outcome(self, began: float, ending: Ending, cause: Cause | None = None, message: str = "") -> Outcome:
        return Outcome(
            ending=ending,
            cause=cause,
            message=message,
            curve=tuple(self._curve),
            iterations=self._iteration,
            seconds=self._seconds_before + time.monotonic() - began,
            folder=self.plan.folder.path,
        )

    def _listen(self, child: Child, began: float) -> tuple[Ending, Cause | None, str]:
        here = child.connection
        while True:
            if self.watch.lost():
                return Ending.INTERRUPTED, None, ""
            if self.watch.interrupted() and self._has_had_its_time(here):
                return Ending.INTERRUPTED, None, ""
            late = self.deadline is not None and time.monotonic() - began - self._held_up > self.deadline
            if late and not here.poll():  # what it has said comes first: it may be done
                return Ending.FAILED, Cause.DEADLINE, f"not done after {self.deadline:g} s"
            self._kills.look(child.pid)
            looked = time.monotonic()
            if not wait([here, child.sentinel], _LISTEN):
                # Look by look: where the whole machine stood still for an hour, the trial did not hang for one.
                self._silent += min(time.monotonic() - looked, 5 * _LISTEN)
                if self.hung is not None and self._silent > self.hung:
                    _ask_where_it_stands(child)
                    return Ending.FAILED, Cause.HUNG, self._hung_message()
                continue
            try:
                if not here.poll():  # it died, and another process may still hold its end of the pipe
                    raise EOFError
                message = json.loads(here.recv_bytes())
            except (EOFError, OSError):
                child.ended(10.0)
                return Ending.FAILED, Cause.CRASHED, ""
            looked = time.monotonic()
            end = self._take(message, here)
            self._held_up += time.monotonic() - looked  # by a database that is away, up to ten minutes
            if end is not None:
                child.ended(_FLUSH)
                return end
            self._silent = 0.0

    def _hung_message(self) -> str:
        heard = f"last heard of at iteration {self._iteration}" if self._iteration else "before its first iteration"
        return f"no sign of life for {self.hung:g} s, {heard}; the end of train.log shows where it stood"

    def _has_had_its_time(self, here: Connection) -> bool:
        """Asks the child once for a checkpoint; True when the time it has for that is over."""
        if self._asked_to_end is None:
            self._asked_to_end = time.monotonic()
            with contextlib.suppress(OSError):
                here.send_bytes(json.dumps({"save": True}).encode())
        return time.monotonic() - self._asked_to_end > _LAST_WORDS

    def _take(self, message: dict[str, Any], here: Connection) -> tuple[Ending, Cause | None, str] | None:
        match message.pop("kind"):
            case "alive":
                pass
            case "progressed":
                self._iteration = message["iteration"]
                self.watch.progressed(**message)
            case "evaluated":
                evaluation = Evaluation.told(message)
                self._iteration = evaluation.iteration
                self._curve.append(evaluation)
                self._stopped = bool(self.watch.evaluated(evaluation))  # pruners answer with numpy booleans
                self._answer(here)
            case "resumed":
                self._seconds_before = message["seconds"]
                for point in message["curve"]:
                    self._curve.append(Evaluation.told(point))
                    self._iteration = self._curve[-1].iteration
                    # The study knows them, but for one whose worker died before it could say so.
                    self._stopped = bool(self.watch.evaluated(self._curve[-1]))
                self._answer(here)
            case "interrupted":
                return Ending.INTERRUPTED, None, ""
            case "finished":
                return (Ending.STOPPED if self._stopped else Ending.FINISHED), None, ""
            case "failed":
                return Ending.FAILED, Cause(message["cause"]), message["message"]
        return None

    def _answer(self, here: Connection) -> None:
        if self.watch.lost():
            return  # it waits for the answer until it is killed, and writes nothing more
        with contextlib.suppress(OSError):  # it died meanwhile, which the next look at the pipe tells
            here.send_bytes(json.dumps({"stop": self._stopped}).encode())


def _ask_where_it_stands(child: Child) -> None:
    child.signal(STACKS)
    child.ended(_STACKS)

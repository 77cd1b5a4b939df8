"""What a person sees of a preparation and of a search: bars, a line per slot, the best so far, each ended trial."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, cast

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from mmtuna.objectives.outcome import Evaluation
from mmtuna.search.checking.preparation import Preparation
from mmtuna.search.checking.preparing import prepare
from mmtuna.studies.spec import StudySpec

_UNBROKEN = 1000  # columns: lines that nobody reads on a terminal stay whole


def is_live(console: Console) -> bool:
    """Whether somebody watches: what is said once goes to any console, what moves to a terminal alone."""
    return console.is_terminal and not console.quiet


def watched_preparation(spec: StudySpec, console: Console, slots: int) -> Preparation:
    """`prepare` with progress bars for long reads and downloads."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    bytes_columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    off = not is_live(console)
    with (
        Progress(*columns, console=console, transient=True, disable=off) as files,
        Progress(*bytes_columns, console=console, disable=off) as downloads,
    ):
        reading = files.add_task("reading images and masks", total=None)
        tasks: dict[str, Any] = {}

        def on_download(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = downloads.add_task(name, total=total or None)
            downloads.update(tasks[name], completed=done)

        return prepare(
            spec,
            slots=slots,
            on_file=lambda done, total: files.update(reading, completed=done, total=total),
            on_download=on_download,
        )


@dataclass
class _SlotLine:
    device: str
    trial: int | None = None
    iteration: int = 0
    iterations: int = 0
    seconds: float = 0.0
    value: float | None = None
    heard: float = 0.0


class Board:
    """Slots and their trials; thread-safe. On a terminal a live table, otherwise one line an ended trial."""

    def __init__(self, console: Console, devices: list[str], metric: str, trials: int) -> None:
        self._console, self._metric, self._trials = console, metric, trials
        self._slots = [_SlotLine(device) for device in devices]
        self._lock = threading.Lock()
        self._finished = 0
        self._best: tuple[float, int] | None = None
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> Board:
        if is_live(self._console):
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if is_live(self._console):
            self._live.stop()

    def counted(self, finished: int, best: tuple[float, int] | None) -> None:
        """The study's own count: finished trials, and the best (value, trial number)."""
        with self._lock:
            self._finished, self._best = finished, best

    def started(self, slot: int, trial: int) -> None:
        """A slot has taken a trial."""
        with self._lock:
            self._slots[slot] = _SlotLine(self._slots[slot].device, trial=trial, heard=time.monotonic())

    def progressed(self, slot: int, iteration: int, iterations: int, seconds: float) -> None:
        """A sign of life: iterations done, of how many, after how many seconds of training."""
        with self._lock:
            line = self._slots[slot]
            line.iteration, line.iterations, line.seconds = iteration, iterations, seconds
            line.heard = time.monotonic()

    def evaluated(self, slot: int, evaluation: Evaluation) -> None:
        """A new value of the metric."""
        with self._lock:
            self._slots[slot].value = evaluation.metrics.get(self._metric)

    def ended(self, slot: int, text: str) -> None:
        """A trial has ended; `text` says how."""
        with self._lock:
            trial = self._slots[slot].trial
            self._slots[slot] = _SlotLine(self._slots[slot].device)
            done = f"{self._finished}/{self._trials}"
        line = f"trial {trial:>4}  {text}  [dim]({done} finished)[/dim]"
        self._console.print(line, highlight=False, soft_wrap=True)

    def left(self, slot: int) -> None:
        """A slot has helped with a trial that another has, which will say how it ended."""
        with self._lock:
            self._slots[slot] = _SlotLine(self._slots[slot].device)

    def say(self, text: str) -> None:
        """A line beside the table."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("slot", "trial", "iteration", self._metric, "ETA"):
            table.add_column(title, justify="left" if title == "slot" else "right")
        with self._lock:
            for line in self._slots:
                table.add_row(line.device, *_cells(line))
            best = f"best {self._best[0]:.4f} (trial {self._best[1]})" if self._best else "no trial complete yet"
            table.caption = f"{self._finished} of {self._trials} finished, {best}"
        return table


def _cells(line: _SlotLine) -> tuple[str, str, str, str]:
    if line.trial is None:
        return "-", "", "", ""
    progress = f"{line.iteration}/{line.iterations}" if line.iterations else "starting"
    value = "" if line.value is None else f"{line.value:.4f}"
    eta = ""
    if line.iteration:
        left = line.seconds / line.iteration * (line.iterations - line.iteration)
        eta = _clock(max(0.0, left - (time.monotonic() - line.heard)))
    return str(line.trial), progress, value, eta


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class _Lines(io.TextIOBase):
    """A text file that hands on whole lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._begun = say, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)


def console_to(say: Callable[[str], None] | None) -> Console:
    """A console whose lines `say` takes; one that says nothing for None."""
    if say is None:
        return Console(quiet=True)
    return Console(file=cast("IO[str]", _Lines(say)), width=_UNBROKEN, force_terminal=False)

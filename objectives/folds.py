"""One trial that is all folds of its params: one after the other, each in a folder of its own, counted together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.ahead import Ahead, Counted, Team, Teams
from mmtuna.objectives.config import write_config
from mmtuna.objectives.evaluation.metrics import Counts, left_out, metrics, per_image, total
from mmtuna.objectives.objective import SegmentationObjective
from mmtuna.objectives.outcome import Cause, Ending, Evaluation, Outcome, TrialOrder, Watch
from mmtuna.objectives.trial.causes import name_os_error
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder, write_json_whole
from mmtuna.spaces.metrics import COUNTS
from mmtuna.spaces.speed import Speed
from mmtuna.spaces.trials import LAST_STEP


@dataclass(frozen=True, kw_only=True)
class FoldedObjective:
    """Trains one set of params on every fold, one after the other, as one trial. Safe to call from several threads.

    A slot that has no trial to train may `help` with a fold whose turn is still to come: the figures are the same.

    A figure of the trial is made of the counts of all images that were validated so far: those of the folds that have
    ended, as their last evaluation left them, and those of the fold that trains. At the end each image counts once.
    Steps are percent of all folds together, so that trials compare at the same place of the same fold.

    A fold that has ended is not trained again when the trial is gone on with.

    Args:
        objective: what the folds share; its folder is the study's.
        lists: by fold, the files of its training and of its validation names.
        whole: the file of all their names.
    """

    objective: SegmentationObjective
    lists: tuple[tuple[Path, Path], ...]
    whole: Path
    _teams: Teams = field(default_factory=Teams, init=False, repr=False, compare=False)

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        """Trains all folds of `order`, to a stop from `watch`, or to a failure, which is returned and not raised."""
        folder = self.objective.trial_folder(order.number)
        course, team = _Course(self.objective, len(self.lists), watch), Team(order, watch, folder)
        try:
            if not order.resume:
                shutil.rmtree(folder.path, ignore_errors=True)
            self._teams.begin(team)
            try:
                for number, lists in enumerate(self.lists, start=1):
                    if not self._fold(team, number, lists, course):
                        break
            finally:
                self._dismiss(team, course)
            if course.ending is not Ending.INTERRUPTED and not watch.lost():
                self._write(order, folder, course)
        except OSError as error:
            cause, message = name_os_error(error)
            return replace(course.outcome(folder.path), ending=Ending.FAILED, cause=cause, message=message)
        return course.outcome(folder.path)

    def help(
        self, device: str, threads: int, begun: Callable[[int], None], progressed: Callable[[int, int, float], None]
    ) -> bool:
        """Trains a fold, whose turn is still to come, of a trial that another slot of this process trains.

        Args:
            begun: takes the trial's number before the training.
            progressed: takes iterations done, of how many, after how many seconds.

        False where there is no such fold.
        """

        def watched(team: Team, number: int) -> Ahead:
            names = self._names(self.lists[number - 1][1])
            folder = team.folder.fold(number)
            return Ahead(team.watch, lambda evaluation: _counted(evaluation, names, folder), progressed)

        found = self._teams.join(device, len(self.lists), watched)
        if found is None:
            return False
        team, number, ahead = found
        outcome: Outcome | None = None
        try:
            begun(team.order.number)
            order = replace(team.order, device=device, threads=threads)
            outcome = self._train(order, number, ahead, self.objective.deadline)
        except OSError as error:
            cause, message = name_os_error(error)
            outcome = Outcome(ending=Ending.FAILED, cause=cause, message=message)
        finally:
            ahead.end(outcome)
        return True

    def _fold(self, team: Team, number: int, lists: tuple[Path, Path], course: _Course) -> bool:
        """Trains a fold, or takes what it left when it ended; whether the next one is to be trained."""
        folder = team.folder.fold(number)
        course.begin(folder, self._names(lists[1]))
        deadline = self.objective.deadline
        left = None if deadline is None else max(0.0, deadline - course.seconds)
        ahead = self._teams.turn(team, number)
        outcome = None if ahead is None else ahead.follow(course.evaluated, course.progressed)
        if outcome is not None:
            if outcome.ending is Ending.FINISHED and left is not None and outcome.seconds > left:
                late = f"not done after {left:g} s"
                outcome = replace(outcome, ending=Ending.FAILED, cause=Cause.DEADLINE, message=late)
            return course.end(outcome)
        ended = _ended(folder)
        if ended is not None:
            for evaluation in ended.curve:
                if course.evaluated(evaluation):
                    ended = replace(ended, ending=Ending.STOPPED)
            return course.end(ended)
        return course.end(self._train(team.order, number, course, left))

    def _train(self, order: TrialOrder, number: int, watch: Watch, deadline: float | None) -> Outcome:
        """Trains fold `number`, and notes in its folder how it went where it came to its end."""
        objective = replace(self.objective, lists=self.lists[number - 1], fold=number, deadline=deadline)
        outcome = objective.run(order, watch)
        if outcome.ending is Ending.FINISHED:
            points = [evaluation.plain() for evaluation in outcome.curve]
            figures = {"seconds": outcome.seconds, "iterations": outcome.iterations}
            limits = {"demand": dict(outcome.demand), "constraints": dict(outcome.constraints)}
            speed = None if outcome.speed is None else outcome.speed.kept()
            course = objective.trial_folder(order.number).course
            write_json_whole(course, {"curve": points, **figures, **limits, "speed": speed})
        return outcome

    def _dismiss(self, team: Team, course: _Course) -> None:
        """Ends the help; what was trained for turns that never came goes, but where the trial will be gone on with."""
        for number, ahead in self._teams.end(team).items():
            seconds = ahead.wait()
            if course.ending is not Ending.INTERRUPTED and not team.watch.lost():
                course.seconds += seconds
                shutil.rmtree(team.folder.fold(number).path, ignore_errors=True)

    def _names(self, val: Path) -> tuple[str, ...]:
        suffix = self.objective.dataset.image_suffix
        return tuple(f"{name}{suffix}" for name in val.read_text(encoding="utf-8").split("\n") if name)

    def _write(self, order: TrialOrder, folder: TrialFolder, course: _Course) -> None:
        """What the folds come to together: a config of all images, the counts of all, the masks that were kept."""
        try:
            cfg = replace(self.objective, lists=(self.whole, self.whole)).config(order.params, order.seed)
        except InputError:
            return  # no fold could be trained either, which is its failure
        header = [f"trial {order.number}, seed {order.seed}: its params on the images of all folds, each of which has"]
        header += ["a config of its own in a folder beside this", *(f"{k} = {v!r}" for k, v in order.params.items())]
        write_config(cfg, folder.config, "\n".join(header))
        if not course.curve:
            return
        images = course.images or {}
        counts = {name: vars(count) for name, count in images.items()}
        last = course.curve[-1]
        document = {"iteration": last.iteration, "metrics": last.metrics, "both_empty": left_out(images)}
        write_json_whole(folder.evaluation, document | {"images": counts})
        with whole_folder(folder.predictions, replace=True) as part:
            for fold in folder.folds():
                if fold.predictions.is_dir():
                    shutil.copytree(fold.predictions, part, dirs_exist_ok=True)


@dataclass
class _Course:
    """The folds of one trial so far; stands between the one that trains and the trial's own watch."""

    objective: SegmentationObjective
    folds: int
    watch: Watch
    curve: list[Evaluation] = field(default_factory=list)
    ending: Ending = Ending.FINISHED
    seconds: float = 0.0
    _outcomes: list[Outcome] = field(default_factory=list)
    _iterations: int = 0
    _folder: TrialFolder | None = None
    _names: tuple[str, ...] = ()
    _counts: list[Counts] = field(default_factory=list)
    _images: list[Counted] = field(default_factory=list)

    @property
    def images(self) -> dict[str, Counts] | None:
        """The counts of every image that was validated, by name; None where those of a fold are not known."""
        if not all(self._images):
            return None
        return {name: counts for fold in self._images for name, counts in fold.items()}

    def begin(self, folder: TrialFolder, names: tuple[str, ...]) -> None:
        """The fold in `folder` comes next, which validates on the images `names`."""
        self._folder, self._names = folder, names

    def end(self, outcome: Outcome) -> bool:
        """Takes how the fold ended; whether the next one is to be trained."""
        self._outcomes.append(outcome)
        self.seconds += outcome.seconds
        self._iterations += outcome.iterations
        self.ending = outcome.ending
        return outcome.ending is Ending.FINISHED

    def outcome(self, folder: Path) -> Outcome:
        """What the trial has come to."""
        last = self._outcomes[-1] if self._outcomes else Outcome(ending=self.ending)
        message = f"fold {len(self._outcomes)}: {last.message}" if last.message else ""
        return replace(
            last,
            ending=self.ending,
            curve=tuple(self.curve),
            seconds=self.seconds,
            iterations=self._iterations,
            message=message,
            folder=folder,
            folds=tuple(self._last_of(fold) for fold, outcome in enumerate(self._outcomes) if outcome.curve),
        )

    def _last_of(self, fold: int) -> Evaluation:
        """The last evaluation of a fold that ended, with its counts by image wherever they were found."""
        last = self._outcomes[fold].curve[-1]
        return replace(last, images=tuple(self._images[fold].values())) if self._images[fold:] else last

    def evaluated(self, evaluation: Evaluation, images: Counted | None = None) -> bool:
        """Takes an evaluation of the fold that trains, and passes on what all folds so far come to.

        `images` are its counts by image, where they were found before.
        """
        done = len(self._outcomes)
        if images is None:
            assert self._folder is not None
            images = _counted(evaluation, self._names, self._folder)
        counts = _required(evaluation)
        self._counts[done:], self._images[done:] = [counts], [images]
        pooled, known = total(self._counts), self.images
        figures = metrics(pooled, self.objective.dataset.classes)
        if known is not None:
            figures |= per_image(known, self.objective.measures)
        last = evaluation.step >= LAST_STEP
        share = (done * LAST_STEP + evaluation.step) / self.folds
        self.curve.append(
            Evaluation(
                step=LAST_STEP * (done + 1) // self.folds if last else max(1, round(share)),
                iteration=self._iterations + evaluation.iteration,
                seconds=self.seconds + evaluation.seconds,
                metrics=figures,
                counts=pooled,
                images=tuple(known.values()) if known is not None else (),
                ended_folds=done + 1 if last else 0,
            )
        )
        return self.watch.evaluated(self.curve[-1])

    def progressed(self, iteration: int, iterations: int, seconds: float) -> None:
        """Passes on the progress, of all folds."""
        self.watch.progressed(self._iterations + iteration, iterations * self.folds, self.seconds + seconds)

    def interrupted(self) -> bool:
        """Whether the trial is to be put back."""
        return self.watch.interrupted()

    def lost(self) -> bool:
        """Whether the trial is another's by now."""
        return self.watch.lost()


def _counted(evaluation: Evaluation, names: tuple[str, ...], folder: TrialFolder) -> Counted:
    """The evaluation's counts by image: those that came with it, or where they are many those in its file."""
    if len(evaluation.images) == len(names):
        return dict(zip(names, evaluation.images, strict=True))
    try:
        kept = folder.read_evaluation()
    except InputError:
        return {}
    if kept["iteration"] != evaluation.iteration:
        return {}
    found = {name: Counts.of([counts[kind] for kind in COUNTS]) for name, counts in kept["images"].items()}
    return {name: found[name] for name in names if name in found}  # in the one order in which trials are paired


def _required(evaluation: Evaluation) -> Counts:
    if evaluation.counts is None:
        raise ValueError("a fold was evaluated without counts; every evaluation has them since there are folds")
    return evaluation.counts


def _ended(folder: TrialFolder) -> Outcome | None:
    """How a fold ended that was trained to its end; None where it was not."""
    try:
        kept: Mapping[str, Any] = json.loads(folder.course.read_text(encoding="utf-8"))
        curve: Sequence[Mapping[str, Any]] = kept["curve"]
        return Outcome(
            ending=Ending.FINISHED,
            curve=tuple(map(Evaluation.told, curve)),
            seconds=float(kept["seconds"]),
            iterations=int(kept["iterations"]),
            folder=folder.path,
            speed=None if kept["speed"] is None else Speed.of(kept["speed"]),
            demand=kept["demand"],
            constraints=kept["constraints"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is trained on from its last checkpoint, or anew

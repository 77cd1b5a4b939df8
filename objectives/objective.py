"""SegmentationObjective: one trial of MMSegmentation, from params to an Outcome."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmtuna.objectives.config import (
    BaseConfig,
    TrialSettings,
    build_config,
    load_base,
    merge_settings,
    write_config,
)
from mmtuna.objectives.data.dataset import Dataset
from mmtuna.objectives.demand import architecture, measure_demand
from mmtuna.objectives.devices import visible_to_child
from mmtuna.objectives.evaluation.metrics import PLAIN, Measures
from mmtuna.objectives.outcome import Cause, Ending, Outcome, TrialOrder, Watch
from mmtuna.objectives.speed.heads import shared_folder
from mmtuna.objectives.speed.pace import fitting
from mmtuna.objectives.trial.causes import name_os_error
from mmtuna.objectives.trial.plan import TrialPlan
from mmtuna.objectives.trial.process import TrialProcess
from mmtuna.objectives.trial_files import StudyFolder, TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import remove_unfinished
from mmtuna.spaces.limits import NO_LIMITS, Limits
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import UNET, by_present_names
from mmtuna.spaces.speed import AUTOMATIC, EXACT, Speed


@dataclass(frozen=True, kw_only=True)
class SegmentationObjective:
    """Trains one set of params at a time on one data set. Safe to call from several threads.

    Args:
        base: "unet", a model-zoo name or a path (mmtuna.objectives.config.load_base).
        fixed: settings and dotted keys that every trial shares.
        lists: files of the training and validation names.
        shapes: (height, width) in pixels that occur among the images.
        weights: checkpoint per decoder ("" for a base that is no UNet); empty for random weights.
        backbones: files of the base's own weights by what its config calls them (weights.backbone_files).
        metric: the study's metric, one of mmtuna.spaces.metrics.maximised.
        folder: the study's folder; a trial's files lie in trials/NUMBER under it.
        deadline: seconds a trial may take, None for no limit.
        hung: seconds without a sign of life from the trial's process after which it is killed, None for no limit.
        value: which evaluation's masks are kept, "last" or "best".
        speeds: what is done for speed on a device, by its name; nothing on those that are missing.
        pictured: validation images whose predicted masks every trial keeps, relative to the image folder, with suffix.
        measures: how validation images are measured one at a time; its subjects by such names.
        fold: number of the fold that is trained, from 1, whose files lie in a folder of the trial's; None for no folds.
        limits: what a net may ask; one that asks for more is not trained.
    """

    base: str
    dataset: Dataset
    lists: tuple[Path, Path]
    shapes: set[tuple[int, int]]
    folder: Path
    metric: str = "mIoU"
    trust_code: bool = False
    fixed: Mapping[str, Value] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    backbones: Mapping[str, Path] = field(default_factory=dict)
    deadline: float | None = None
    hung: float | None = None
    value: str = "last"
    pictured: tuple[str, ...] = ()
    measures: Measures = PLAIN
    fold: int | None = None
    speeds: Mapping[str, Speed] = field(default_factory=dict)
    limits: Limits = NO_LIMITS
    _bases: dict[str, BaseConfig] = field(default_factory=dict, repr=False)
    _demands: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)
    _measuring: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def settings(self, params: Mapping[str, Value]) -> TrialSettings:
        """Sampled params before fixed settings before, for the UNet family, the paper's defaults."""
        has_weights = bool(self.weights or self.backbones)
        return merge_settings(params, self.fixed, is_unet=self.base == UNET, has_weights=has_weights)

    def base_config(self, settings: TrialSettings) -> BaseConfig:
        """The base config for these settings: the UNet family has one per decoder."""
        decoder = settings.decoder
        if decoder not in self._bases:
            self._bases[decoder] = load_base(self.base, decoder=decoder, trust_code=self.trust_code)
        return self._bases[decoder]

    def config(self, params: Mapping[str, Value], seed: int) -> dict[str, Any]:
        """The complete stock config of a trial. InputError where these params cannot make one."""
        return self._config(self.settings(params), seed)

    def _config(self, settings: TrialSettings, seed: int) -> dict[str, Any]:
        return build_config(
            self.base_config(settings),
            settings,
            dataset=self.dataset,
            lists=self.lists,
            shapes=self.shapes,
            weights=self.weights.get(settings.decoder),
            backbones=self.backbones,
            seed=seed,
        )

    def trial_folder(self, number: int) -> TrialFolder:
        """Where trial `number`, or the fold of it that is trained, keeps its files."""
        whole = StudyFolder(self.folder).trial(number)
        return whole if self.fold is None else whole.fold(self.fold)

    def demand(self, cfg: Mapping[str, Any], device: str, threads: int) -> dict[str, float]:
        """What the net of a config asks of what the limits name, measured once an architecture and device.

        InputError where that cannot be measured.
        """
        shape = max(self.shapes, key=lambda sides: sides[0] * sides[1])
        key = json.dumps([architecture(cfg), device, threads], sort_keys=True, default=str)
        with self._measuring:  # one at a time, or one would be timed beside the other
            if key not in self._demands:
                visible = visible_to_child(device)
                self._demands[key] = measure_demand(cfg, self.limits.given(), shape, visible=visible, threads=threads)
            return self._demands[key]

    def run(self, order: TrialOrder, watch: Watch) -> Outcome:
        """Trains one trial in a child process; what an earlier attempt left is gone on from, or emptied first."""
        folder = self.trial_folder(order.number)
        try:
            settings = self.settings(order.params)
            cfg = self._config(settings, order.seed)
            _lay_out(order, cfg, folder)
            demand = self.demand(cfg, order.device, order.threads) if self.limits else {}
        except InputError as error:
            return Outcome(ending=Ending.FAILED, cause=Cause.ERROR, message=str(error), folder=folder.path)
        except OSError as error:
            cause, message = name_os_error(error)
            return Outcome(ending=Ending.FAILED, cause=cause, message=message, folder=folder.path)
        constraints, over = self.limits.excess(demand), self.limits.broken(demand)
        if over is not None:
            return Outcome(
                ending=Ending.STOPPED,
                cause=Cause.OVER_LIMIT,
                message=over,
                folder=folder.path,
                demand=demand,
                constraints=constraints,
            )
        speed = fitting(self.speeds.get(order.device, EXACT), cfg, by_present_names({**self.fixed, **order.params}))
        plan = TrialPlan(
            folder=folder,
            settings=settings,
            metric=self.metric,
            visible=visible_to_child(order.device),
            threads=order.threads,
            resume=order.resume,
            value=self.value,
            pictured=frozenset(self.pictured),
            measures=self.measures,
            heads=shared_folder(),
            speed=speed,
            imports=tuple(self.base_config(settings).imports),
        )
        outcome = TrialProcess(plan, watch, self.deadline, self.hung).run()
        kept = speed if settings.written.get("speed") == AUTOMATIC else outcome.speed
        return replace(outcome, speed=kept, demand=demand, constraints=constraints)


def _lay_out(order: TrialOrder, cfg: dict[str, Any], folder: TrialFolder) -> None:
    """The trial's folder with its config; what a killed process left half written goes."""
    if order.resume:
        remove_unfinished(folder.path)
    else:
        shutil.rmtree(folder.path, ignore_errors=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    header = [f"trial {order.number}, seed {order.seed}", *(f"{k} = {v!r}" for k, v in order.params.items())]
    write_config(cfg, folder.config, "\n".join(header))

"""Studies made up for reports, and a report read as a browser would."""

import base64
import json
import math
import random
from html.parser import HTMLParser
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, Params, Value
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies.report import ReportFacts, report_html

SECTIONS = (
    *(
        "headline",
        "certainty",
        "space",
        "history",
        "curves",
        "importances",
        "slices",
        "table2",
        "best",
        "overlays",
        "failures",
    ),
    *("cost", "methods", "provenance"),
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EVALUATIONS = 8
VOID = {"meta", "br", "img"}


def draw(parameter: Parameter, chance: random.Random) -> Value:
    if isinstance(parameter, Categorical):
        return chance.choice(parameter.choices)
    assert isinstance(parameter, Int | Float)
    if isinstance(parameter, Int):
        return chance.randrange(parameter.low, parameter.high + 1, parameter.step)
    if parameter.log:
        return math.exp(chance.uniform(math.log(parameter.low), math.log(parameter.high)))
    return chance.uniform(parameter.low, parameter.high)


def draw_params(space: SearchSpace, chance: random.Random) -> Params:
    params: Params = {}
    for parameter in space:
        if parameter.exists(params):
            params[parameter.name] = draw(parameter, chance)
    return params


def new_study(name: str = "fluid") -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize")


def add(
    study: optuna.Study,
    space: SearchSpace,
    params: Params,
    state: TrialState = TrialState.COMPLETE,
    final: float = 0.7,
    steps: int = EVALUATIONS,
    seconds: float = 80.0,
    **attrs: Any,
) -> None:
    """A trial whose mIoU climbs to `final` over eight evaluations, of which it reached `steps`."""
    curve = []
    for index in range(1, steps + 1):
        miou = final - (final - 0.49) * math.exp(-0.6 * (index - 1)) if index < EVALUATIONS else final
        part = {
            "mIoU": miou,
            "mDice": min(0.99, miou + 0.08),
            "IoU.background": 0.99,
            "IoU.fluid": max(0.0, 2 * miou - 0.99),
        }
        share = round(100 * index / EVALUATIONS)
        curve.append({"step": share, "iteration": 4 * share, "seconds": seconds * index / EVALUATIONS, **part})
    metrics = {name: value for name, value in (curve[-1] if curve else {}).items() if "I" in name or "D" in name}
    user_attrs: dict[str, Any] = {
        "seed": 0,
        "replicate": 0,
        "curve": curve,
        "metrics": metrics,
        "best_metrics": metrics,
    }
    user_attrs["cost"] = {"seconds": seconds * max(steps, 0.1) / EVALUATIONS, "iterations": 50 * steps}
    finished = state in (TrialState.COMPLETE, TrialState.PRUNED) and curve
    study.add_trial(
        create_trial(
            state=state,
            value=curve[-1]["mIoU"] if finished else None,
            params=dict(params),
            distributions={name: space.parameter(name).distribution for name in params},
            intermediate_values={int(point["step"]): point["mIoU"] for point in curve},
            user_attrs=user_attrs | attrs,
        )
    )


def quality(params: Params, chance: random.Random) -> float:
    """A made-up mIoU with a plausible shape: some choices matter, most hardly do."""
    value = 0.70 + chance.gauss(0, 0.015)
    value += {"ce_tversky": 0.06, "ce_lovasz": 0.045, "ce_dice": 0.03, "dice": -0.12}.get(str(params.get("loss")), 0.0)
    value += 0.03 if params.get("optimizer") == "AdamW" else 0.0
    if "lr_adam" in params:
        value -= 0.03 * (math.log10(float(params["lr_adam"])) + 3) ** 2
    return max(0.4963, min(0.80, value + 0.015 * (float(params.get("iterations", 400)) - 800) / 800))


def searched(n: int, space: SearchSpace, seed: int = 0, table2: bool = True) -> optuna.Study:
    """A study of `n` trials as a search leaves them: the paper's rows first, a quarter pruned, some failed."""
    study, chance = new_study(), random.Random(seed)
    for entry in TABLE2 if table2 else ():
        add(study, space, entry.params(space), final=entry.miou - 0.01 + chance.gauss(0, 0.01), table2=entry.number)
    while len(study.get_trials(deepcopy=False)) < n:
        params, lot = draw_params(space, chance), chance.random()
        final, seconds = quality(params, chance), chance.uniform(40, 160)
        if lot < 0.04:
            add(study, space, params, TrialState.FAIL, steps=0, cause="out of memory", message="CUDA out of memory")
        elif lot < 0.08:
            words = "loss is nan at iteration 61"
            add(study, space, params, TrialState.PRUNED, 0.5, 1, seconds, cause="diverged", message=words)
        elif lot < 0.35:
            add(study, space, params, TrialState.PRUNED, final - 0.05, chance.choice((3, 4, 5)), seconds)
        else:
            add(study, space, params, final=final, seconds=seconds)
    return study


FACTS = ReportFacts(
    spec="study.toml",
    metric="mIoU",
    value="last",
    asked=60,
    dataset="duke-dme-256",
    classes=("background", "fluid"),
    train_images=88,
    val_images=22,
    train_subjects=10,
    val_subjects=9,
    shared_subjects=9,
    split="given lists, by image",
    pixels={"background": 7149127, "fluid": 59833},
    base="unet",
    pretrained="none",
    fixed={"base_channels": 16, "resize": False},
    searched=[("TPE", "median")],
    seed=0,
    versions={"mmtuna": "0.1.0", "optuna": "5.0.0", "torch": "2.9.1"},
    machine={"device": "cpu", "cores": "2"},
    fingerprints={"data": {"sha256": "ab12", "files": 220}, "split": {"sha256": "cd34"}},
)


class Page(HTMLParser):
    """A parsed report: text by section, chart data by name, attributes and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: dict[str, str] = {}
        self.charts: dict[str, Any] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self._section = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag == "section":
            self._section = found["id"]
            self.sections[self._section] = ""
        if tag == "script":
            self._script = found.get("data-chart", "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"<{self.open[-1:]}> is closed by </{tag}>"
        if tag == "section":
            self.sections[self._section] = " ".join(self.sections[self._section].split())
            self._section = ""
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            if self._script:
                self.charts[self._script] = json.loads(data)
            else:
                self.scripts.append(data)
        elif self._section:
            self.sections[self._section] += data + " "


def read(study: optuna.Study, space: SearchSpace, facts: ReportFacts = FACTS) -> Page:
    page = Page(report_html(study, space, facts))
    assert page.open == []
    assert list(page.sections) == list(SECTIONS)
    return page

"""What a study answers of two reporting guidelines, and what a person has to add; and the methods as Markdown.

CLAIM 2024 (Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300) and TRIPOD+AI (Collins et al. 2024, BMJ
385:e078378) by their item numbers. Only items of which a search knows something are here; topics are in our words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmtuna.spaces.metrics import meaning
from mmtuna.spaces.parameter import Params
from mmtuna.studies.attributes import FOLDS
from mmtuna.studies.report.facts import Reading, folded_text, tolerance_text
from mmtuna.studies.report.methods import methods_paragraph
from mmtuna.studies.report.sureness import (
    diverged_text,
    floor_text,
    interval_text,
    made_by,
    mean_text,
    measured_on,
    numbers_of,
)
from mmtuna.studies.report.wording import count, listed, value_text
from mmtuna.studies.results import TrialRow

UNANSWERED = (
    "Nothing in a search answers the other items, such as CLAIM 1 to 6, 8, 10 to 18, 31, 34, 36, 38, 41 and 44, or "
    "TRIPOD+AI 1 to 4, 6, 8, 9, 14, 17, 18a to 18d, 19, 24, 25 and 27: background and aims, who was examined and how, "
    "the reference standard and its raters, fairness, ethics, registration, funding."
)
_BEFORE = ("input_size", "crop", "cat_max_ratio", "range", "channels", "resize", "size_scale")
_CHANGES = ("flip", "rotation", "photometric", "crop")
_TRAINING = ("optimizer", "lr_sgd", "lr_adam", "momentum", "weight_decay", "schedule", "batch_size", "iterations")


@dataclass(frozen=True)
class Item:
    """An item of either guideline by its number; `said` is what the study answers, `add` what a person has to."""

    claim: str
    tripod: str
    topic: str
    said: str
    add: str = ""


def checklist(reading: Reading) -> list[Item]:
    """The items in the guidelines' order; what is not known is left empty, never guessed."""
    return [
        Item("7", "5a", "data source", _data(reading), "origin, dates, licence"),
        Item(
            "9", "7, 12b", "pre-processing", _settings(reading, _BEFORE), "what was done before mmtuna read the images"
        ),
        Item("19", "12a", "partitions", _partitions(reading), "why this split"),
        Item("20", "", "level at which partitions are disjoint", _level(reading), _add_level(reading)),
        Item("21", "10", "sample size", _sizes(reading), "why that many are enough"),
        Item("22", "22", "model", _model(reading), "a reference or a drawing of the network"),
        Item("23", "", "software", _software(reading.facts.versions)),
        Item("24", "", "initial parameters", _start(reading), _add_start(reading)),
        Item("25", "12c", "training", _training(reading)),
        Item("", "13", "class imbalance", _imbalance(reading), "why it was dealt with so"),
        Item("26", "12c", "choice of the final model", _choice(reading), "which one was released"),
        Item("27", "", "ensembling", _together(reading)),
        Item("28", "12e", "metrics", _metric(reading), "why they are the right ones for the clinic"),
        Item("29", "12e", "uncertainty and significance", _statistics(reading)),
        Item("30", "", "robustness", _robustness(reading), "other scanners, sites and noise"),
        Item("32", "16", "internal data", _internal(reading), _add_internal(reading)),
        Item("33", "", "external data", "", "figures on data from elsewhere, or that there are none"),
        Item("35", "20a, 21", "numbers", _sizes(reading), "who was included and excluded, and why"),
        Item("37", "23a", "performance", _performance(reading)),
        Item("39", "", "failures", _pictures(reading), "what goes wrong, and what it would mean"),
        Item("40", "26", "limitations", _limits(reading), "those of the data and of the aim"),
        Item("42, 43", "18e, 18f", "availability", _available(reading), "where they can be had"),
        Item("", "12g, 15", "output", "A class for each pixel.", "how the masks are used"),
    ]


def markdown(reading: Reading) -> str:
    """The methods paragraph and the checklist, as one Markdown file."""
    lines = [
        f"# {reading.name}: methods",
        "",
        methods_paragraph(reading),
        "",
        "## Checklist",
        "",
        "What this study answers of CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 2024, 6(4):e240300)",
        "and TRIPOD+AI (Collins et al., BMJ 2024, 385:e078378), by item numbers: a part of both, and no judgement.",
        "What a person has to add is marked **ADD**.",
        "",
        "| CLAIM | TRIPOD+AI | topic | from this study | still to do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for item in checklist(reading):
        cells = (item.claim or "-", item.tripod or "-", item.topic, item.said or "-")
        add = f"**ADD**: {item.add}" if item.add else "-"
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, add)) + " |")
    return "\n".join([*lines, "", UNANSWERED, ""])


def _shown(reading: Reading) -> TrialRow | None:
    known = reading.certainty
    return None if known is None else known.best.rows[0]


def _values(reading: Reading) -> Params:
    """The settings of the best config, the study's fixed ones among them."""
    best = _shown(reading)
    fixed = {
        name: value
        for name, value in (reading.facts.fixed or {}).items()
        if isinstance(value, bool | int | float | str)
    }
    return {**fixed, **(best.params if best else {})}


def _settings(reading: Reading, names: tuple[str, ...]) -> str:
    values = _values(reading)
    said = [f"{name} = {value_text(values[name])}" for name in names if name in values]
    return f"{'; '.join(said)}; config.py holds every step." if said else "config.py of the trial holds every step."


def _data(reading: Reading) -> str:
    facts = reading.facts
    kept: Mapping[str, object] = facts.fingerprints or {}
    data = kept.get("data")
    digits = data.get("sha256") if isinstance(data, Mapping) else None
    parts = [facts.dataset, f"sha256 of all files {str(digits)[:16]}" if digits else ""]
    return "; ".join(part for part in parts if part)


def _partitions(reading: Reading) -> str:
    facts = reading.facts
    sizes = _sizes(reading)
    return f"Split: {facts.split}. {sizes}".strip() if facts.split else sizes


def _sizes(reading: Reading) -> str:
    facts = reading.facts
    if folded := folded_text(facts):
        return f"{folded}."
    if facts.train_images is None or facts.val_images is None:
        return ""
    sides = [
        ("training", facts.train_images, facts.train_subjects),
        ("validation", facts.val_images, facts.val_subjects),
    ]
    said = [
        f"{count(images, f'{side} image')}" + (f" of {count(subjects, 'subject')}" if subjects is not None else "")
        for side, images, subjects in sides
    ]
    return f"{listed(said).capitalize()}."


def _level(reading: Reading) -> str:
    shared = reading.facts.shared_subjects
    if shared is None:
        return "Image; subjects are not known to mmtuna."
    if shared:
        return f"Image: {count(shared, 'subject stands', 'subjects stand')} on both sides."
    return "Subject: none stands on both sides."


def _add_level(reading: Reading) -> str:
    return "" if reading.facts.shared_subjects == 0 else "whether images of one person stand on both sides"


def _model(reading: Reading) -> str:
    values = _values(reading)
    known = [f"{name} = {value_text(values[name])}" for name in ("decoder", "base_channels") if name in values]
    base = f"MMSegmentation config {reading.facts.base}" if reading.facts.base else ""
    return "; ".join(part for part in (base, *known, "`mmtuna export` writes the whole config") if part) + "."


def _software(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _start(reading: Reading) -> str:
    weights = reading.facts.pretrained
    words = {"none": "Random.", "backbone": "Published weights of the backbone, a random head."}
    return words.get(weights, f"Pretrained weights: {weights}.") if weights else ""


def _add_start(reading: Reading) -> str:
    return "" if reading.facts.pretrained == "none" else "what these weights were trained on"


def _training(reading: Reading) -> str:
    ended = sum(len(reading.ended(how)) for how in ("complete", "pruned", "diverged", "failed"))
    values = _values(reading)
    names = [name for name in (*_TRAINING, *_CHANGES) if name in values]
    params = ", ".join(f"{name} = {value_text(values[name])}" for name in names)
    best = _shown(reading)
    scaling = reading.scaling(best) if best else ""
    return f"{count(ended, 'training')}." + (f" Best config: {params}. {scaling}".rstrip() if params else "")


def _imbalance(reading: Reading) -> str:
    values = _values(reading)
    names = [name for name in ("loss", "mix_weight", "foreground_weight", "cat_max_ratio") if name in values]
    return ", ".join(f"{name} = {value_text(values[name])}" for name in names)


def _choice(reading: Reading) -> str:
    known = reading.certainty
    if known is None:
        return ""
    tied = [config for config in known.configs if config.place is not None and config.place.first == 1]
    others = "" if len(tied) < 2 or known.best not in tied else f"; {count(len(tied) - 1, 'other')} tied with it"
    others += " at the last evaluation" if others and reading.facts.value == "best" else ""
    return (
        f"By {reading.metric} on the validation images, of the {reading.facts.value} evaluation, among "
        f"{count(len(reading.complete), 'complete trial')}{others}."
    )


def _together(reading: Reading) -> str:
    if any(FOLDS in trial.user_attrs for trial in reading.trials):
        return (
            "Each fold's net on the images that it was not trained on; on a test set the folds' nets together, by the "
            "mean of their probabilities."
        )
    return "Not done: figures are of single trainings."


def _metric(reading: Reading) -> str:
    said = f"{reading.metric}: {meaning(reading.metric)}. {tolerance_text(reading.facts)}".rstrip()
    known = reading.certainty
    emptied = [number for config in known.configs for number in config.empty] if known else []
    if not any(emptied):
        return said
    missing = reading.facts.counted.missing_value
    rule = "are left out of" if missing is None else f"count {missing:g} in"
    return f"{said} Images empty in truth and prediction (up to {max(emptied)}) {rule} means over images."


def _statistics(reading: Reading) -> str:
    known = reading.certainty
    if known is None or not known.images:
        return ""
    unit = "images" if known.subjects is None else "subjects"
    made = made_by(known.intervals, unit)
    intervals = f"95 % intervals by {made}" if made else "No intervals"
    if known.why:
        return f"{intervals}; configs were not compared, since {known.why}."
    return (
        f"{intervals}; configs compared by Wilcoxon's "
        f"signed-rank test over {unit} and a t test against seeds and {unit} together, Holm's correction over all "
        f"pairs shown, at 5 %{', of the last evaluation of each training' if reading.facts.value == 'best' else ''}."
    )


def _robustness(reading: Reading) -> str:
    known = reading.certainty
    return "" if known is None else floor_text(known)


def _internal(reading: Reading) -> str:
    said = "All other figures are of the validation images, which also guided the search."
    if not reading.looks:
        return said.replace("other ", "") if reading.complete else ""
    look = reading.looks[0]
    return f"{count(look.images, 'image')} that no trial saw: {reading.metric} {look.text(reading.metric)}. {said}"


def _add_internal(reading: Reading) -> str:
    return "" if reading.looks else "figures on images that the search never saw (`mmtuna test`)"


def _performance(reading: Reading) -> str:
    known = reading.certainty
    if known is None:
        return ""
    best = known.best
    on = f"; {measured_on(known, reading.facts.folds)}" if best.interval else ""
    seeds = f"{count(best.trained, 'seed')}{diverged_text(best.diverged)}"
    figure = mean_text(best)
    if best.interval and reading.facts.value == "best":
        figure = f"{best.mean:.4f}, at the last evaluation {interval_text(None, best.interval)}"
    return f"Trial {numbers_of(best.rows)}: {known.metric} {figure}, {seeds}{on}."


def _pictures(reading: Reading) -> str:
    pictures = len(reading.facts.overlays)
    return f"{count(pictures, 'picture')} of errors in the report, the worst image among them." if pictures else ""


def _limits(reading: Reading) -> str:
    known, facts = reading.certainty, reading.facts
    parts = [
        "the best of many trials is optimistic" if len(reading.complete) > 1 else "",
        "subjects stand on both sides of the split" if facts.shared_subjects else "",
        "what seeds alone change is not known" if known is not None and known.floor is None else "",
    ]
    said = listed([part for part in parts if part])
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _available(reading: Reading) -> str:
    return (
        "`mmtuna export SPEC -o DIR` writes config, weights, predict.py and a model card." if reading.complete else ""
    )

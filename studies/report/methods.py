"""The methods paragraph: what a paper's methods section says of a study, with every figure filled in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from mmtuna.spaces.metrics import figure_text, meaning
from mmtuna.spaces.speed import Speed
from mmtuna.spaces.trials import COLLAPSE_STOPS
from mmtuna.studies.attributes import PORTFOLIO, START
from mmtuna.studies.report.facts import NOT_KEPT, Reading, folded_text, tolerance_text, value_of
from mmtuna.studies.report.sureness import diverged_text, interval_text, made_by, mean_text, numbers_of, way_of
from mmtuna.studies.report.wording import count, hours, kilowatt_hours, listed, size_of, value_text
from mmtuna.studies.statistics.intervals import How

_PRUNED = {
    "none": "not pruned",
    "best-third": "pruned where they were not among the best third of all trials at the same share of training",
    "median": "pruned where they were below the median of complete trials at the same share of training",
    NOT_KEPT: "pruned by what was not kept",
}
"""How a person reads what a pruner does."""


def methods_paragraph(reading: Reading) -> str:
    """A few sentences as plain text. What the facts do not say is left out, never guessed."""
    sentences = [
        _search(reading),
        _knowledge(reading),
        _trials(reading),
        _damage(reading),
        _seeds(reading),
        _speed(reading),
        _cost(reading),
        _data(reading),
        _metric(reading),
        _best(reading),
        _sure(reading),
        _caution(reading),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _search(reading: Reading) -> str:
    facts = reading.facts
    base = f" (base config {facts.base}{_weights(facts.pretrained)})" if facts.base else ""
    version = facts.versions.get("optuna", optuna.__version__)
    text = (
        f"Hyperparameters of an MMSegmentation model{base} were searched with Optuna {version}. "
        f"The search space held {size_of(reading.space)}: {listed(list(reading.space.names))}."
    )
    begun = [row for row in reading.rows if row.state != "WAITING"]
    if begun and all(row.table2 is not None for row in begun):
        return f"{text} No trial was proposed by a sampler, nor pruned: all were rows of the paper's Table 2."
    proposed = [
        f"by {_called(name, 'sampler')}" if name != NOT_KEPT else "by one that was not kept"
        for name in reading.samplers
    ]
    stopped = [_PRUNED.get(name, f"pruned by {_called(name, 'pruner')}") for name in reading.pruners]
    dead = (
        f"stopped where at every evaluation up to {COLLAPSE_STOPS} % of their training they had found none of a class, "
        "once another trial had found all classes"
    )
    collapses = reading.facts.collapses_stop or reading.stopped["collapse"]
    by = [
        f"proposed {', later '.join(proposed)}" if proposed else "",
        ", later ".join(stopped),
        dead if collapses else "",
    ]
    said = listed([part for part in by if part])
    return f"{text} Trials were {said}." if said else text


def _called(name: str, kind: str) -> str:
    """A sampler's or pruner's name within a sentence: that of a class says itself what it is."""
    return name if name.endswith(kind.capitalize()) else f"the {name} {kind}"


def _knowledge(reading: Reading) -> str:
    """What the search did not find by itself: configs that it began with, and trials of others that it knew."""
    begun = reading.begun_with
    version = begun.get("version", "of unknown version")
    # What still waits in the queue, of a study that ended before its turn, nobody has tried.
    begun_trials = [trial for trial in reading.trials if trial.state != TrialState.WAITING]
    marks = Counter(mark for trial in begun_trials for mark in (START, PORTFOLIO) if mark in trial.user_attrs)
    of_others = f"had done well on other data sets (portfolio {version} of mmtuna)"
    parts = [
        f"{count(marks[START], 'configuration')} given by hand" if marks[START] else "",
        f"{count(marks[PORTFOLIO], 'configuration')} that {of_others}" if marks[PORTFOLIO] else "",
    ]
    began = listed([part for part in parts if part])
    warm = [one for one in begun.get("warm", []) if isinstance(one, Mapping)]
    names = listed([str(one.get("name", "without a name")) for one in warm])
    others = begun.get("others", [])
    knew = [
        f"{count(len(others), 'trial')} recorded on other data sets (portfolio {version})" if others else "",
        f"the trials of {names}, studies from before" if warm else "",
    ]
    known = listed([part for part in knew if part])
    sentences = [
        f"It began with {began}." if began else "",
        f"The sampler knew {known}." if known else "",
        _balance(begun.get("odds")) if marks[PORTFOLIO] or known else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _balance(odds: object) -> str:
    """For which balance of classes others' foreground weights were taken; nothing where it was not known."""
    if not isinstance(odds, float) or odds <= 1:
        return ""
    return (
        f"Foreground weights found on other data were taken for the training pixels here, {odds:.3g} of background to "
        "one of all other classes."
    )


def _weights(pretrained: str | None) -> str:
    if not pretrained:
        return ""
    words = {"none": ", trained from random weights", "backbone": ", pretrained weights of its backbone"}
    return words.get(pretrained, f", pretrained weights {pretrained}")


def _trials(reading: Reading) -> str:
    ended = {how: len(reading.ended(how)) for how in ("complete", "pruned", "diverged", "failed")}
    total = sum(ended.values())
    if not total:
        return "No trial has ended yet."
    words = {"complete": "completed", "pruned": "were stopped early", "diverged": "diverged", "failed": "failed"}
    parts = [f"{n:,} {words[how]}" for how, n in ended.items() if n or how != "diverged"]
    causes = Counter(row.cause or "unknown" for row in reading.ended("failed"))
    why = f" ({listed([f'{n:,} {cause}' for cause, n in causes.most_common()])})" if causes else ""
    asked = f"; the study was to hold {reading.facts.asked:,} finished ones" if reading.facts.asked is not None else ""
    rows = sum(row.table2 is not None for how in ended for row in reading.ended(how))
    enqueued = f" {rows:,} of them were rows of the paper's Table 2, enqueued and not proposed." if rows else ""
    again = sum(row.again for how in ended for row in reading.ended(how))
    enqueued += f" {again:,} of them trained one of the best configurations once more, to confirm it." if again else ""
    beyond, collapsed = reading.stopped["limit"], reading.stopped["collapse"]
    asks = "asks" if beyond == 1 else "ask"
    dead = f" Of those stopped early {collapsed:,} had never found one of the classes." if collapsed else ""
    untrained = f" Of those stopped early {beyond:,} {asks} for more than was allowed ({reading.facts.limits}), and "
    untrained += "was not trained." if beyond == 1 else "were not trained."
    return (
        f"Of {count(total, 'ended trial')}, {listed(parts)}{why}{asked}.{dead}{untrained if beyond else ''}{enqueued}"
    )


def _damage(reading: Reading) -> str:
    if not reading.unreadable:
        return ""
    return f"{count(len(reading.unreadable), 'trial')} more could no longer be read; no figure counts them."


def _seeds(reading: Reading) -> str:
    seeds = sorted({row.seed for row in reading.rows if row.seed is not None})
    of_study = reading.facts.seed
    parts = [f"The study's seed was {of_study}."] if of_study is not None else []
    if seeds:
        span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} ({len(seeds)} in all)"
        parts.append(f"Trainings were seeded with {span}.")
    if reading.complete:
        parts.append(
            f"{count(reading.replicated, 'set', 'sets')} of params completed with more than one seed."
            if reading.replicated
            else "No set of params completed with more than one seed, so the spread between seeds is unknown."
        )
    return " ".join(parts)


def _speed(reading: Reading) -> str:
    ways = dict.fromkeys(str(Speed.of(row.speed)) for row in reading.rows if row.speed)
    return f"For speed, trainings differed from stock MMSegmentation in {'; or '.join(ways)}." if ways else ""


def _cost(reading: Reading) -> str:
    account = reading.ledger
    if not account.spent:
        return ""
    saved = f"; pruning saved an estimated {hours(account.saved)}" if account.saved else ""
    energy = ""
    if account.metered:
        ended = sum(entry.trials for entry in account.entries)
        of = "" if account.metered == ended else f" for {account.metered} of {count(ended, 'trial')}"
        energy = f"; by their own count the cards took {kilowatt_hours(account.joules)} kWh{of}"
    return f"All trainings together took {hours(account.spent)} device-hours{saved}{energy}."


def _data(reading: Reading) -> str:
    facts = reading.facts
    text, folded = "", folded_text(facts)
    if folded:
        text = f"Trainings used {folded}" + (f" ({facts.dataset})" if facts.dataset else "")
        text += f"; split: {facts.split}." if facts.split else "."
    elif facts.train_images is not None and facts.val_images is not None:
        name = f" of {facts.dataset}" if facts.dataset else ""
        text = f"Training used {facts.train_images:,} and validation {count(facts.val_images, 'image')}{name}"
        if facts.train_subjects is not None and facts.val_subjects is not None:
            text += f" ({facts.train_subjects:,} and {count(facts.val_subjects, 'subject')})"
        text += f"; split: {facts.split}." if facts.split else "."
    elif facts.dataset:
        text = f"The data set was {facts.dataset}."
    if facts.classes:
        total = sum(facts.pixels.values())
        shares = [
            f"{name} ({100 * facts.pixels[name] / total:.2f} % of labelled pixels)" if facts.pixels.get(name) else name
            for name in facts.classes
        ]
        text += f" Classes were {listed(shares)}."
    if facts.shared_subjects:
        text += (
            f" {count(facts.shared_subjects, 'subject has', 'subjects have')} images on both sides, so the figures "
            "measure new images of known subjects, not new subjects."
        )
    elif facts.shared_subjects == 0:
        text += " No subject has images on both sides."
    return text.strip()


def _metric(reading: Reading) -> str:
    name = reading.metric
    which = "the last" if reading.facts.value == "last" else "the best"
    said = f"The search maximised {name}, {meaning(name)}, at {which} evaluation of each training."
    return f"{said} {tolerance_text(reading.facts)}".rstrip()


def _best(reading: Reading) -> str:
    best = reading.best
    if best is None:
        return "No trial completed, so there is no best configuration."
    others = [
        figure_text(name, value)
        for name, value in sorted(reading.metrics(best).items())
        if name != reading.metric and value == value
    ]
    more = f" ({', '.join(others)})" if others else ""
    params = ", ".join(f"{name} = {value_text(value, 6)}" for name, value in best.params.items())
    reached = f"{reading.metric} {value_of(best):.4f}{more}"
    text = f"The best configuration (trial {best.number}) reached {reached} with {params or 'no params'}."
    scaling = reading.scaling(best)
    text += f" {scaling}" if scaling else ""
    chosen = reading.chosen
    if chosen is not None and chosen.number != best.number:
        value = f"{reading.metric} {value_of(chosen):.4f}"
        which, why = "the one whose mean over its seeds is surest", ""
        if reading.chosen_seeds < 2:
            which, why = "one that was trained once", ", since the mean of the best trial's over its seeds is lower"
        text += f" Chosen was {which} (trial {chosen.number}, {value}){why}."
    return text


def _sure(reading: Reading) -> str:
    known = reading.certainty
    if known is None or known.best.interval is None:
        return ""
    best = known.best
    unit = "images" if known.subjects is None else "subjects"
    figure = mean_text(best)
    if reading.facts.value == "best":
        figure = f"{best.mean:.4f}, and {interval_text(None, best.interval)} at the last evaluation of each training,"
    seeds = f"{count(best.trained, 'seed')}{diverged_text(best.diverged)}"
    text = (
        f"The config with the highest mean over its seeds (trial {numbers_of(best.rows)}) has {known.metric} {figure} "
        f"over {seeds} (95 % interval, {made_by(best.intervals[:1], unit)})."
    )
    if known.floor is not None:
        said = known.floor.text(known.metric)
        text += f" {said[0].upper()}{said[1:]}."
    if known.why:
        return f"{text} Configs were not compared, since {known.why}."
    tied = [config for config in known.configs if config.place is not None and config.place.first == 1]
    found = f"{count(len(tied) - 1, 'other')} of the {len(known.configs)} highest could not be told from it"
    if len(tied) < 2:
        found = "it was better than all others compared"
    if best not in tied:  # ranks are of the last evaluations, which the value need not be
        worse = tied and best.place is not None
        found = f"it was worse than trial {numbers_of(tied[0].rows)}" if worse else "it could not be compared"
    last = ", of the last evaluations" if reading.facts.value == "best" else ""
    return (
        f"{text} By Wilcoxon's signed-rank test over {unit} and a t test against seeds and {unit} together{last}, with "
        f"Holm's correction, {found}."
    )


def _caution(reading: Reading) -> str:
    if reading.best is None:
        return ""
    n = len(reading.complete)
    chosen = f"the highest of {n:,} complete trials" if n > 1 else "that of the only complete trial"
    said = (
        "These figures were measured on the validation images, which also guided the search; the best one is "
        f"{chosen} and therefore optimistic."
    )
    return f"{said} {_unseen(reading)}"


def _unseen(reading: Reading) -> str:
    """What was measured on images that no trial saw, or that this is still to be done."""
    if not reading.looks:
        aside = f" {count(reading.test_images, 'image')} were set aside for it." if reading.test_images else ""
        return f"It needs confirming on images that played no part.{aside}"
    first, more = reading.looks[0], len(reading.looks) - 1
    whose = f" of {count(first.subjects, 'subject')}" if first.subjects else ""
    unit = "subjects" if first.subjects else "images"
    way = way_of(first.methods.get(reading.metric, How.BOOTSTRAP))
    bracket = f", in brackets the 95 % interval ({way} over {unit})" if reading.metric in first.intervals else ""
    again = f" They were looked at {count(more, 'more time')} after that." if more else ""
    return (
        f"On {count(first.images, 'image')}{whose} that played no part, trial {first.trial} reached "
        f"{reading.metric} {first.text(reading.metric)}{bracket}.{again}"
    )

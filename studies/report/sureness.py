"""How sure a figure is, in words: for the report, the methods, the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtuna.studies.certainty import UNKNOWN_FLOOR, Certainty, Config
from mmtuna.studies.report.wording import count, in_folds, listed
from mmtuna.studies.results import TrialRow
from mmtuna.studies.statistics.comparing import Place, Verdict
from mmtuna.studies.statistics.intervals import How, Interval

REPLICATES = "`mmtuna run SPEC --replicates 3` trains the best configs with three seeds each"
"""The way out where nothing was trained with two seeds."""
_WAYS: Mapping[str, str] = {
    How.BOOTSTRAP: "bootstrap",
    How.ERROR: "mean ± Student's t times the jackknife's standard error",
    How.EXACT: "Clopper-Pearson",
    How.EFFECTIVE: "Clopper-Pearson of the effective number of images (Korn and Graubard)",
}


def rank_text(place: Place | None) -> str:
    """`1`; `1-4, tied`; `-` where nothing could be tested."""
    if place is None:
        return "-"
    return str(place.first) if place.first == place.last else f"{place.first}-{place.last}, tied"


def verdict_of(config: Config) -> str:
    """What is known of a config beside the best one."""
    if config.place is None:
        return str(Verdict.NOT_TESTABLE)
    alone = config.place.first == config.place.last == 1
    return "best" if alone else str(config.place.verdict)


def interval_text(mean: float | None, interval: Interval | None) -> str:
    """`0.7130 (0.6871 to 0.7420)`."""
    if interval is None:
        return "-" if mean is None else f"{mean:.4f}"
    return f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def numbers_of(rows: Sequence[TrialRow]) -> str:
    """`3`; `3, 7, 9`; no more than five numbers."""
    numbers = [str(row.number) for row in rows]
    return ", ".join(numbers[:5]) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


def diverged_text(diverged: int, how: str = "counting 0") -> str:
    """What is said behind a config's figures of those of its seeds that diverged; nothing where none did."""
    return f" ({diverged} diverged, {how})" if diverged else ""


def mean_text(config: Config) -> str:
    """The mean with its interval, as `interval_text`; the interval is of what did not diverge, and so beside."""
    said = interval_text(config.mean, config.interval)
    if not config.diverged or config.interval is None:
        return said
    return f"{config.mean:.4f}, without what diverged {said}"


def why_chosen(seeds: int) -> str:
    """Why a config of so many seeds is chosen that is not the best trial's; a single training is not sure."""
    if seeds > 1:
        return "is surest over its seeds"
    return "was trained once, and that of the best trial is lower over its seeds"


def measured_on(known: Certainty, folds: int = 1) -> str:
    """What the intervals are of, in trials of so many `folds`."""
    if not known.images:
        return ""
    unit = "images" if known.subjects is None else "subjects"
    of = "" if known.subjects is None else f" of {count(known.subjects, 'subject')}"
    on = f"{count(known.images, 'validation image')}{of}"
    if folds > 1:
        on = in_folds(f"{count(known.images, 'image')}{of}", folds)
    made = made_by(known.intervals, unit)
    return f"{on}; {f'intervals by {made}' if made else 'no intervals'}"


def way_of(how: str) -> str:
    """What an interval was made by, as a methods section names it; of what nobody knows its own name."""
    return _WAYS.get(how, how)


def made_by(intervals: Sequence[Interval], unit: str) -> str:
    """What intervals were made by and from, `bootstrap over images and seeds`; empty where there are none.

    Of one training how seeds differ is not in it.
    """
    if not intervals:
        return ""
    ways = listed(list(dict.fromkeys(way_of(interval.how) for interval in intervals)))
    several = [interval.seeds > 1 for interval in intervals]
    alone = f", with one seed over {unit} alone" if any(several) else f"{unit} alone, with one seed each"
    seeds = f"{unit} and seeds" if any(several) else ""
    return f"{ways} over {seeds}{'' if all(several) else alone}"


def unshown_text(known: Certainty) -> str:
    """Why fewer configs are shown than there are; empty where none was left out."""
    if not known.unshown:
        return ""
    units = count(known.images, "image") if known.subjects is None else count(known.subjects, "subject")
    return (
        f"{count(known.unshown, 'more config is', 'more configs are')} not shown: a signed-rank test over {units} can "
        f"tell no more than {len(known.configs)} apart at once."
    )


def floor_text(known: Certainty) -> str:
    """The noise floor; where it is not known, the way out."""
    if known.floor is None:
        return (
            f"What seeds alone change is not known, since {UNKNOWN_FLOOR}, and so no config can be called better than "
            f"another: {REPLICATES}."
        )
    said = known.floor.text(known.metric)
    margin = f"less than {known.floor.margin():.4f} between two single trainings says nothing"
    return f"Noise floor: {said}; {margin}."


def empty_text(missing: float | None, known: Certainty) -> str:
    """What becomes of images where truth and prediction are both empty."""
    rule = "left out of these means" if missing is None else f"counted as {missing:g} in these means"
    return (
        f"Both empty: of the {count(known.images, 'image')} those without foreground in truth and prediction, from the "
        f"fewest to the most of its trainings; IoU and Dice of them do not exist, and they are {rule}."
    )

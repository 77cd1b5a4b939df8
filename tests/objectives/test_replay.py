"""Replayed curves: always the same, the nearest recorded one, and read from what `status --json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives.outcome import Ending, Evaluation, TrialOrder
from mmtuna.objectives.recorded import Recorded, load_recorded
from mmtuna.objectives.replay import STEPS, ReplayObjective, generate, nearest
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Params


def order(params: Params, seed: int = 0, number: int = 0) -> TrialOrder:
    return TrialOrder(number=number, params=params, seed=seed)


def curve(*values: float) -> tuple[Evaluation, ...]:
    return tuple(
        Evaluation(step=100 * k // len(values), iteration=10 * k, seconds=2.0 * k, metrics={"mIoU": value})
        for k, value in enumerate(values, start=1)
    )


def test_a_generated_curve_is_always_the_same_and_depends_on_params_and_seed() -> None:
    params: Params = {"loss": "dice", "lr_sgd": 0.01, "iterations": 200}
    once = generate(order(params), "mIoU")
    assert once == generate(order(dict(reversed(params.items())), number=9), "mIoU")
    assert [e.step for e in once] == list(STEPS)
    assert [e.iteration for e in once] == [40, 80, 120, 160, 200]
    assert all(0 <= e.metrics["mIoU"] <= 1 for e in once)
    assert once[-1].metrics["mIoU"] > once[0].metrics["mIoU"]
    other_seed, other_params = (
        generate(order(params, seed=1), "mIoU"),
        generate(order({**params, "loss": "focal"}), "mIoU"),
    )
    assert abs(other_seed[-1].metrics["mIoU"] - once[-1].metrics["mIoU"]) < 0.1
    assert len({c[-1].metrics["mIoU"] for c in (once, other_seed, other_params)}) == 3


def test_generated_curves_are_the_same_on_every_machine() -> None:
    values = [e.metrics["x"] for e in generate(order({"loss": "dice", "lr_sgd": 0.01}), "x")]
    assert values == pytest.approx(GENERATED, abs=1e-12)


GENERATED = [0.413105981255, 0.5861506873411, 0.6586695542735, 0.709028390743, 0.7171889641927]


RECORDED = (
    Recorded(params={"loss": "dice", "lr": 0.01, "crop": 192}, curve=curve(0.1)),
    Recorded(params={"loss": "dice", "lr": 0.05, "crop": "none"}, curve=curve(0.2)),
    Recorded(params={"loss": "focal", "lr": 0.01, "crop": 320}, curve=curve(0.3)),
    Recorded(params={"loss": "focal", "lr": 0.01, "crop": 320}, curve=curve(0.4)),
    Recorded(params={"loss": "focal", "lr": 0.01}, curve=curve(0.5)),
)


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"loss": "dice", "lr": 0.02, "crop": 192}, 0.1),
        ({"loss": "dice", "lr": 0.04, "crop": "none"}, 0.2),
        ({"loss": "focal", "lr": 0.01, "crop": 320}, 0.3),  # the first of equals
        ({"loss": "focal", "lr": 0.01, "crop": 256}, 0.3),  # half the range away from either crop, and of its loss
        ({"loss": "focal", "lr": 0.02}, 0.5),  # a parameter on one side only is a whole step
        ({"loss": "dice", "lr": 9.0, "crop": 200}, 0.1),  # beyond the range recorded counts no more than its end
    ],
)
def test_the_nearest_recorded_trial_is_played(params: Params, wanted: float) -> None:
    assert nearest(RECORDED, params).curve[0].metrics["mIoU"] == wanted


def test_a_recorded_curve_is_played_to_its_end(listening: Any) -> None:
    recorded = (Recorded(params={"a": 1}, curve=curve(0.1, 0.2, 0.3)),)
    objective, listener = ReplayObjective(recorded=recorded), listening()
    outcome = objective.run(order({"a": 1}, number=4), listener)
    assert outcome.ending is Ending.FINISHED
    assert outcome.curve == recorded[0].curve == tuple(listener.heard)
    assert (outcome.iterations, outcome.seconds, outcome.cause) == (30, 6.0, None)
    assert objective.played == [4]


def test_a_stop_and_an_interruption_end_a_curve_early(listening: Any) -> None:
    objective = ReplayObjective(recorded=(Recorded(params={}, curve=curve(0.1, 0.2, 0.3)),))
    stopped = objective.run(order({}), listening(on_evaluated=lambda evaluation: evaluation.step > 50))
    assert (stopped.ending, len(stopped.curve), stopped.iterations) == (Ending.STOPPED, 2, 20)
    asked = iter((False, True))
    put_back = objective.run(order({}), listening(asked=lambda: next(asked)))
    assert (put_back.ending, len(put_back.curve)) == (Ending.INTERRUPTED, 1)


def document() -> dict[str, Any]:
    """A study as `mmtuna status --json` prints it, in short."""
    point = {"step": 100, "iteration": 40, "seconds": 8.5, "mIoU": 0.7, "IoU.fluid": 0.4}
    return {
        "study": "s",
        "metric": "mIoU",
        "trials": [
            {"number": 0, "state": "COMPLETE", "params": {"crop": 320}, "curve": [{**point, "step": 50}, point]},
            {"number": 1, "state": "PRUNED", "params": {"crop": 192}, "curve": [{**point, "step": 50}]},
            {"number": 2, "state": "FAIL", "params": {"crop": 192}, "curve": []},
            {"number": 3, "state": "RUNNING", "params": {"crop": 192}, "curve": None},
        ],
    }


def test_status_json_is_read_and_only_whole_curves_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text(json.dumps(document()))
    (found,) = load_recorded(path)
    assert found.params == {"crop": 320}
    assert [e.step for e in found.curve] == [50, 100]
    assert found.curve[-1] == Evaluation(step=100, iteration=40, seconds=8.5, metrics={"mIoU": 0.7, "IoU.fluid": 0.4})
    assert found.curve[-1].as_point() == document()["trials"][0]["curve"][-1]


def test_json_lines_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in document()["trials"]) + "\n\n")
    assert len(load_recorded(path)) == 1
    path.write_text(json.dumps(document()["trials"][0]))
    assert len(load_recorded(path)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"x.json: cannot be read \(.*No such file.*\); give what `mmtuna status SPEC --json` prints"),
        (b"\xff\xfe\x00", r"x.json: cannot be read \(.*decode"),
        (b"<html>", r"x.json: is neither JSON nor JSON lines"),
        (b'{"trials": []}', r"x.json: holds no finished trial with a curve; record some with `mmtuna status"),
        (b"", r"x.json: holds no finished trial with a curve"),
        (b'{"trials": [{"params": {}, "curve": [{"step": 40}]}]}', r"x.json: holds no finished trial with a curve"),
        (b"[1, 2]", r"x.json: is not what `mmtuna status SPEC --json` prints"),
        (b'{"trials": [{"curve": [{"step": 100}]}]}', r"x.json: is not what `mmtuna status SPEC --json` prints"),
    ],
)
def test_a_file_of_no_use_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_recorded(path)

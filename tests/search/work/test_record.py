"""`mmtuna run --record` on real small trainings: whole curves with their counts, also after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.objectives.recorded import load_recorded
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing
from tests.search.conftest import interrupt, mmtuna, start, status, wait_for

WriteSpec = Callable[..., Path]


@pytest.mark.slow  # what a line holds: tests/objectives/test_recorded.py
def test_every_trial_is_trained_to_its_end_and_kept_whole(write_spec: WriteSpec, tmp_path: Path) -> None:
    # This pruner would stop most trials at their first evaluation.
    spec = write_spec(study='pruner = "median"\npruner_warmup = 0.0\nsampler = "random"')
    record = tmp_path / "kept.jsonl"
    done = mmtuna("run", spec, "--record", record, "--trials", 5, timeout=240)
    assert done.returncode == 0, done.stderr
    assert f"every trial is trained to its end and appended to {record}, which holds 0" in done.stdout
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [row["state"] for row in rows] == ["COMPLETE"] * 5
    searched = open_existing(StudySpec.load(spec).study).user_attrs["mmtuna:searched"]
    assert searched == [["random", "none"]], "none was pruned, whatever the spec names"
    trials = {trial["number"]: trial for trial in status(spec)["trials"]}
    for row in rows:
        assert [point["step"] for point in row["curve"]] == [25, 50, 75, 100]
        known = trials[row["number"]]
        assert (row["params"], row["seed"], row["iterations"]) == (known["params"], known["seed"], 8)
        # The counts are those that the metrics were made of.
        (right,), (predicted,) = (row["counts"][kind][-1] for kind in ("intersect", "predicted"))
        (labelled,) = row["counts"]["labelled"]
        shares = [a / (b + c - a) for a, b, c in zip(right, predicted, labelled, strict=True)]
        assert abs(sum(shares) / 2 - row["curve"][-1]["mIoU"]) < 1e-6
        by_image = [sum(image[1] for image in row["images"]["predicted"][at]) for at in range(4)]
        assert by_image == [evaluation[0][1] for evaluation in row["counts"]["predicted"]]
    assert rows[0]["on"]["train"]["base_channels"] == 4
    assert str(tmp_path) not in record.read_text()
    assert len(load_recorded(record)) == 5
    again = mmtuna("run", spec, "--record", record, "--trials", 5)
    assert again.returncode == 0, again.stderr
    assert "which holds 5 of this study" in again.stdout
    assert len(record.read_text().splitlines()) == 5


@pytest.mark.slow
def test_a_recording_that_was_stopped_goes_on_with_whole_curves(write_spec: WriteSpec, tmp_path: Path) -> None:
    spec = write_spec(study='sampler = "random"')
    spec.write_text(spec.read_text().replace("iterations = 8", "iterations = 120"))
    record = tmp_path / "kept.jsonl"
    process = start("run", spec, "--record", record, "--trials", 1)
    evaluation = tmp_path / "runs" / "tiny" / "trials" / "00000" / "evaluation.json"
    wait_for(evaluation.is_file, 120, "the first evaluation")
    interrupt(process)
    said, _ = process.communicate(timeout=60)
    assert record.read_text() == "", said
    done = mmtuna("run", spec, "--record", record, "--trials", 1, timeout=240)
    assert done.returncode == 0, done.stderr
    (row,) = (json.loads(line) for line in record.read_text().splitlines())
    assert [point["step"] for point in row["curve"]] == [25, 50, 75, 100]
    assert len(row["counts"]["predicted"]) == len(row["images"]["predicted"]) == 4

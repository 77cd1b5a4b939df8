"""Faults of real trainings: a signal in the middle, a process that hangs or dies, a password in what is trained."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.cases import BOTH, POSTGRES, Found, Ground, Outcome
from benchmarks.faults.searching import places_of, process_titles, say
from benchmarks.faults.training import (
    KIND,
    VAL_KIND,
    TrainingSite,
    differences,
    memory_cgroup,
    training_site,
)
from tests.processes import alive_in_group, children_of
from tests.waiting import until

GRACE = 10.0
"""Seconds that clusters commonly leave between SIGTERM and SIGKILL."""
HUNG = 5.0
"""Seconds of `[resources] hung`: on a busy machine a trial that is well may be silent for three."""


def late_child(ground: Ground) -> Outcome:
    """5: SIGSTOP of a worker past its lease while its trial's process trains on; another takes the trial over.

    Woken, the first ends its late process at once, which writes nothing more into a folder that is another's; the
    last checkpoint is the uninterrupted study's, bit for bit.
    """
    draw, folder, url = random.Random(ground.seed), ground.site.folder, ground.site.url
    with training_site(folder / "late", url) as late, training_site(folder / "whole", url) as whole:
        for site in (late, whole):
            site.lay_out(trials=1, seed=ground.seed, train="iterations = 240\nevaluations = 4", resources="lease = 3.0")
        slow = late.launch("run")
        until(lambda: late.reported() > 0, 120)
        time.sleep(draw.uniform(0.0, 1.0))
        slow.send_signal(signal.SIGSTOP)
        children = [child for server in children_of(slow.pid) for child in children_of(server)]
        quick = late.launch("worker")
        until(lambda: _attempts(late) == ["lost"], 60)
        until(lambda: late.states() == ["RUNNING"], 60)
        slow.send_signal(signal.SIGCONT)
        began = time.monotonic()
        until(lambda: not set(children) & set(alive_in_group(slow.pid)), 30)
        seconds = time.monotonic() - began
        ended = quick.wait(180) == 0 and slow.wait(60) == 0 and whole.launch("run").wait(180) == 0
        found: Found = {
            "late_ones": len(children),
            "seconds_to_end": round(seconds, 1),
            "dropped": late.outputs().count("dropped: the lease was lost"),
            "history": _attempts(late),
            "different": len(differences(late.trial(0) / "last.pth", whole.trial(0) / "last.pth")["different"]),
        }
    as_it_should = found["late_ones"] == found["dropped"] == 1 and found["history"] == ["lost", "complete"]
    return ended and as_it_should and seconds < 3 and not found["different"], found


def _attempts(site: TrainingSite) -> list[str]:
    """How the attempts at trial 0 ended."""
    return [entry["ended"] for entry in site.trials()[0].user_attrs.get("history", [])]


def terminated_training(ground: Ground) -> Outcome:
    """6: SIGTERM at a random moment, to the worker or to every process; ended in 10 s, and ended by another worker.

    Its last checkpoint is the uninterrupted study's, bit for bit: weights, optimizer, schedule, random states.
    """
    return _terminated(ground, "iterations = 160\nevaluations = 8")


def terminated_evaluation(ground: Ground) -> Outcome:
    """6: the same in the middle of an evaluation that takes longer than the grace."""
    data, slow = 'split = "random"\nval_share = 0.8', f'"{VAL_KIND}" = "slow"'
    return _terminated(ground, f"iterations = 8\nevaluations = 2\n{slow}", subjects=8, data=data)


def _terminated(ground: Ground, train: str, **tables: Any) -> Outcome:
    draw, folder = random.Random(ground.seed), ground.site.folder
    url = ground.site.url
    with training_site(folder / "cut", url) as cut, training_site(folder / "whole", url) as whole:
        for site in (cut, whole):
            site.lay_out(trials=1, seed=ground.seed, train=train, **tables)
        runner = cut.launch("run")
        until(lambda: cut.reported() > 0, 120)
        time.sleep(draw.uniform(0.0, 2.0))
        seconds = _terminate(runner, every_process=bool(ground.seed % 2))
        until(lambda: not alive_in_group(runner.pid), 15)
        states, left = cut.states(), len(alive_in_group(runner.pid))
        ended = cut.launch("worker").wait(180) == 0 and whole.launch("run").wait(180) == 0
        compared = differences(cut.trial(0) / "last.pth", whole.trial(0) / "last.pth") if ended else {"tensors": 0}
        one, other = cut.trials()[0], whole.trials()[0]
        history = _attempts(cut)
        found: Found = {
            "seconds_to_end": round(seconds, 1),
            "exit": runner.returncode,
            "left": left,
            "resumed_at": _resumed_at(cut),
            "same_curve": one.intermediate_values == other.intermediate_values and one.params == other.params,
            "tensors": compared["tensors"],
            "different": len(compared.get("different", ["all"])),
        }
    as_it_should = states == ["WAITING"] and history == ["interrupted", "complete"] and found["exit"] == 1 and not left
    same = found["same_curve"] and found["tensors"] > 100 and not found["different"]
    return ended and as_it_should and same and seconds <= GRACE and found["resumed_at"] > 0, found


def _terminate(process: subprocess.Popen[bytes], *, every_process: bool) -> float:
    began = time.monotonic()
    if every_process:
        os.killpg(process.pid, signal.SIGTERM)  # as systemd and Slurm do
    else:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.monotonic() - began


def _resumed_at(site: TrainingSite) -> int:
    """The iteration at which the second attempt at trial 0 went on, 0 where it began anew."""
    found = re.findall(r"resumed epoch: \d+, iter: (\d+)", (site.trial(0) / "train.log").read_text())
    return int(found[-1]) if found else 0


# What happens to a trial, in how many loading processes, and the cause that it has to get.
FAULTS = (
    ("hang", 0, "hung"),
    ("hang", 2, "hung"),
    ("segfault", 0, "crashed"),
    ("segfault", 2, "crashed"),
    ("memory", 0, "out of memory"),
    ("memory", 2, "out of memory"),
    ("oom", 0, "out of memory"),
    ("oom", 2, "out of memory"),
)


def broken_trials(ground: Ground) -> Outcome:
    """9: trials that hang, segfault and run out of memory, with and without loading processes, a good one after each.

    Every cause is named, the slot is free again in seconds, the good trials have the very metrics and weights that
    they have in a study without faults, and no process is left.
    """
    folder, url = ground.site.folder, ground.site.url
    with memory_cgroup(64 << 20) as cgroup:
        faults = [fault for fault in FAULTS if cgroup is not None or fault[0] != "oom"]
        with training_site(folder / "broken", url) as broken, training_site(folder / "sound", url) as sound:
            lay_out_faults(broken, ground.seed, faults, cgroup)
            lay_out_faults(sound, ground.seed, [], None, len(faults))
            runner = broken.launch("run")
            ended = runner.wait(400) == 0
            until(lambda: not alive_in_group(runner.pid), 15)
            left = len(alive_in_group(runner.pid))
            ended &= sound.launch("run").wait(300) == 0
            if not ended:
                return False, {"broken": broken.states(), "causes": broken.causes(), "sound": sound.states()}
            found = _compared(broken, sound, faults)
    found |= {"left": left, "oom": "done" if cgroup is not None else "not done: no memory cgroup of one's own here"}
    wanted = [cause for *_, cause in faults]
    harmed = found["other_metrics"] or found["other_weights"] or found["good_ones"] != len(faults)
    return ended and found["causes"] == wanted and not harmed and not left and found["slot_free_most"] < HUNG + 5, found


def lay_out_faults(
    site: TrainingSite,
    seed: int,
    faults: list[tuple[str, int, str]],
    cgroup: Path | None = None,
    good: int = 0,
    hung: float = HUNG,
) -> None:
    """A study that begins with each fault and a good trial after it, or with `good` good ones alone."""
    order = [trial for kind, loaders, _ in faults for trial in ((kind, loaders), ("none", 0))] or [("none", 0)] * good
    start = []
    nth = 0
    for kind, loaders in order:
        nth += kind == "none"
        # Rates of the good ones, by which the two studies' trials are known to be the same.
        rate = 0.001 + 0.0001 * nth if kind == "none" else 0.01
        start.append(f'{{ "{KIND}" = "{kind}", loader_workers = {loaders}, lr_adam = {rate:.4f} }}')
    kinds = '["none", "hang", "segfault", "memory", "oom"]'
    site.lay_out(
        trials=sum(kind == "none" for kind, _ in order),
        seed=seed,
        space=f"start = [{', '.join(start)}]\n"
        f'[space.params."{KIND}"]\nchoices = {kinds}\n[space.params.loader_workers]\nchoices = [0, 2]',
        train="iterations = 12\nevaluations = 1",
        resources=f"hung = {hung}\nkeep_checkpoints = 20",
    )
    if cgroup is not None:
        base = site.folder / "base.py"
        base.write_text(base.read_text().replace("kind='none'", f"kind='none', cgroup={str(cgroup)!r}"))


def _compared(broken: TrainingSite, sound: TrainingSite, faults: list[tuple[str, int, str]]) -> Found:
    trials = broken.trials()
    good = [trial for trial in trials if trial.state.name == "COMPLETE"]
    twins = {trial.params["lr_adam"]: trial for trial in sound.trials()}
    pairs = [(trial, twins[trial.params["lr_adam"]]) for trial in good]
    weights = [
        differences(broken.trial(trial.number) / "last.pth", sound.trial(twin.number) / "last.pth")
        for trial, twin in (pairs[0], pairs[-1])
    ]
    free = []
    for index in range(len(faults)):
        log = (broken.trial(2 * index) / "train.log").read_text(errors="replace")
        at = float(re.findall(r"fault at (\d+\.\d+)", log)[0])
        free.append(round(trials[2 * index + 1].datetime_start.timestamp() - at, 1))
    return {
        "causes": [trial.user_attrs["cause"] for trial in trials if trial.state.name == "FAIL"],
        "good_ones": len(good),
        "other_metrics": sum(a.user_attrs["metrics"] != b.user_attrs["metrics"] for a, b in pairs),
        "other_weights": sum(bool(found["different"]) for found in weights),
        "slot_free": free,
        "slot_free_most": max(free),
    }


def trained_canary(ground: Ground) -> Outcome:
    """11: a study that is trained, exported and copied shows the password nowhere, in bundle and databases neither.

    The worker has it in its URL; `copy` and who works on the copy have it from PGPASSWORD.
    """
    site, server = ground.site, ground.server
    assert server is not None
    copied = f"{ground.database}_copy"
    server.create(copied)
    target = server.url(copied, with_password=False)
    scratch = site.folder / "scratch"
    scratch.mkdir(parents=True)
    with training_site(site.folder / "trained", site.url, TMPDIR=str(scratch)) as trained, process_titles() as titles:
        trained.lay_out(trials=2, seed=ground.seed, faults=False, train="iterations = 8\nevaluations = 2")
        ended = trained.launch("run").wait(300) == 0
        bundle = trained.folder / "bundle"
        said = [say(trained, "export", "-o", str(bundle)), say(trained, "status", "--json"), say(trained, "report")]
        secret = {"PGPASSWORD": server.password, "MMTUNA_STORAGE": server.url(ground.database, with_password=False)}
        said.append(copy_said := say(trained, "copy", "--to", target, **secret))
        on_copy = secret | {"MMTUNA_STORAGE": target}
        said += [say(trained, "worker", "--trials", "3", **on_copy), status := say(trained, "status", **on_copy)]
    found: Found = places_of(
        server.password, [*said, trained.outputs()], titles, [site.folder], server, [ground.database, copied]
    )
    found |= {
        "bundle_files": sum(path.is_file() for path in bundle.rglob("*")),
        "copied": copy_said.startswith("2 trials copied to "),
        "worked_on": "3 of 2 finished" in status,
    }
    done = ended and found["bundle_files"] > 5 and found["copied"] and found["worked_on"]
    return done and not any(found[name] for name in found if name.startswith("in_")), found


CASES = {
    "5 late child after a SIGSTOP": (late_child, BOTH),
    "11 canary in what is trained": (trained_canary, POSTGRES),
    "9 trials that hang or die": (broken_trials, BOTH),
    "6 SIGTERM while it trains": (terminated_training, BOTH),
    "6 SIGTERM while it evaluates": (terminated_evaluation, BOTH),
}

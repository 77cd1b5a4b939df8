"""A node of a Ray cluster that goes while trials are trained on it."""

from __future__ import annotations

import random
import time

from benchmarks.faults.cases import POSTGRES, Ground, Outcome
from benchmarks.faults.crew import account
from benchmarks.faults.training import training_site
from tests.ray_nodes import LOOPBACK, RayNodes
from tests.waiting import until

TRIALS = 9


def lost_node(ground: Ground) -> Outcome:
    """10: a Ray cluster of three nodes on 127.0.0.1, one killed at a random moment: all trials finished, none doubled.

    The nodes are beside a head that trains nothing. The password that they have in their environment is searched for
    in Ray's own logs and in all that the study wrote.
    """
    draw, server = random.Random(ground.seed), ground.server
    assert server is not None
    with training_site(ground.site.folder / "nodes", ground.site.url, **LOOPBACK) as site:
        train, resources = "iterations = 80\nevaluations = 4", "lease = 6"
        site.lay_out(trials=TRIALS, seed=ground.seed, train=train, resources=resources)
        with RayNodes(0, 1, 1, 1, environment=site.env()) as cluster:
            launch = site.launch("launch", "--address", cluster.address)
            training = until(lambda: site.states().count("RUNNING") == 3, 120)
            time.sleep(draw.uniform(0.0, 8.0))
            cluster.remove(draw.randrange(3))
            ended = site.wait(400)
            places = (cluster.folder, site.folder)
            files = [path for place in places for path in place.rglob("*") if path.is_file()]
            shown = sum(server.password.encode() in path.read_bytes() for path in files)
        trials = site.trials()
        found = account(site, TRIALS, 0)
        curves = [sorted(trial.intermediate_values) for trial in trials]
        found |= {
            "lost_reports": sum(steps != [25, 50, 75, 100] for steps in curves),
            "exit": launch.returncode,
            "password_in_files": shown,
            "searched": len(files),
        }
    zero = ("missing", "surplus", "doubled", "running", "waiting", "failed", "lost_reports", "password_in_files")
    return training and ended and launch.returncode == 0 and not any(found[name] for name in zero), found


CASES = {"10 Ray node lost of three": (lost_node, POSTGRES)}

__all__ = ["CASES"]

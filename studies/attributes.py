"""Names of what mmtuna keeps as attributes of a study and of its trials, each written and read under these alone."""

from __future__ import annotations

# Of a trial.
METRICS = "metrics"
"""Metric name to fraction, 0 to 1, of the last evaluation."""
BEST_METRICS = "best_metrics"
"""The same of the best one."""
CURVE = "curve"
"""A list with an entry an evaluation: `step` (percent), `iteration`, `seconds` since the trial began, the metrics."""
COST = "cost"
"""`seconds` of its device (its share of a shared one) and training `iterations`."""
FOLDER = "folder"
"""The folder of its files, relative to the study's."""
CAUSE = "cause"
"""Why it did not end well: a `mmtuna.spaces.trials.Cause`."""
MESSAGE = "message"
"""What was said of the cause."""
SEED = "seed"
"""The training's seed."""
REPLICATE = "replicate"
"""0 for the first training of its params, then 1, 2, ..."""
TABLE2 = "table2"
"""The row of the paper's Table 2 that it was enqueued for."""
START = "start"
"""Of a trial from `[space] start`: the params that it was given, as `sampling.params_key` writes them."""
HISTORY = "history"
"""A list with an entry an attempt that is over: `worker`, `attempt`, how it `ended`, and mostly `at` (Unix time)."""

# Of a study.
SPEC = "mmtuna:spec"
"""What `StudySpec.describe` said when it was begun."""
FINGERPRINTS = "mmtuna:fingerprints"
"""The same, with the fingerprints of data, split, base and weights in it: what must not change."""
SAID = "mmtuna:said"
"""What its spec's `[space]` says, as `mmtuna.studies.spec.space.said` has it: the preset's name and not what it holds.

A study that was begun before this was kept gets it when it is opened by a spec that agrees with it.
"""
WORKERS = "mmtuna:workers"
"""How many workers have joined it so far."""
ID = "mmtuna:id"
"""Tells it from every other study, of its own name too; its folder bears it."""
COPIED_FROM = "mmtuna:copied_from"
"""IDs of the studies that it is a copy of, the nearest first."""
FILES = "mmtuna:files"
"""The ID under which its trials' files lie in S3."""

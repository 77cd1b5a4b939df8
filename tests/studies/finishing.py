"""Ends trials the way a worker does."""

import tempfile
from pathlib import Path

import optuna

from mmtuna.studies.leases import End, Leases


def finish(study: optuna.Study, trial: optuna.Trial, how: End) -> bool:
    """Takes a lease on a running trial and ends it."""
    with tempfile.TemporaryDirectory() as folder:
        leases = Leases(study=study, folder=Path(folder))
        kept = leases.end(leases.claim(trial, {}, None), how)
        leases.close()
    return kept

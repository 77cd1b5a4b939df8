"""Optuna's own lines, which would stand between ours and tear the live table."""

from __future__ import annotations


def quiet_optuna() -> None:
    """Lets Optuna print warnings and errors only."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

"""optuna-dashboard behind a guard.

Imports trials.
"""

"""Hyperparameter search for MMSegmentation on Optuna."""

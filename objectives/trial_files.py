"""The names of the files that a trial keeps in its folder, and of that folder."""

CONFIG = "config.py"
LOG = "train.log"
LAST = "last.pth"
"""Resumable checkpoint of the last evaluation: weights, optimizer, schedule, iteration."""
BEST = "best.pth"
"""Weights of the evaluation with the best value of the study's metric."""
EVALUATION = "evaluation.json"
"""The last evaluation: metrics, and the counts of every image."""
PREDICTIONS = "predictions"
"""Folder of the masks predicted for the study's pictured images."""
OVERLAYS = "overlays"
"""Folder of the pictures of these predictions."""


def trial_name(number: int) -> str:
    """The folder of trial `number`, relative to the study's."""
    return f"trials/{number:05d}"

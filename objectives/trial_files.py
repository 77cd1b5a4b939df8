"""The names of the files that a trial keeps in its folder, of that folder, and of what a study's trials share."""

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
MANIFEST, LISTS = "manifest.json", "splits"
"""In the study's folder: what every image file held when it was last read, and the folder of the split's lists."""


def trial_name(number: int) -> str:
    """The folder of trial `number`, relative to the study's."""
    return f"trials/{number:05d}"

"""`mmtuna baseline`: Table 1, each decoder's pre-trained weights on the data without fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from mmtuna.search.outputs.baseline import measure
from mmtuna.studies.spec import StudySpec


def baseline(path: Path, as_json: bool) -> None:
    """Measures every decoder of the spec and prints the figures beside the paper's."""
    spec = StudySpec.load(path)
    lines = measure(spec, Console(stderr=as_json))
    if as_json:
        print(json.dumps(lines, indent=1))
        return
    foreground = spec.data.classes[1]
    print(f"without fine-tuning, on all {lines[0]['images']} images; per image is Table 1's own figure (docs/paper.md)")
    print(f"{'decoder':<12}{'Table 1':>10}{'per image':>11}{'mIoU':>9}{'mDice':>9}{'IoU.' + foreground:>14}")
    for line in lines:
        published = "-" if line["published"] is None else f"{line['published']:.4f}"
        metrics = line["metrics"]
        figures = f"{line['per_image']:>11.4f}{metrics['mIoU']:>9.4f}{metrics['mDice']:>9.4f}"
        print(f"{line['decoder']:<12}{published:>10}{figures}{metrics.get('IoU.' + foreground, 0.0):>14.4f}")

"""The paper's tables and figures from a study, in one folder."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mmtuna.objectives.deployment.contract import ignore_index
from mmtuna.objectives.deployment.predictions import find_named, read_mask
from mmtuna.objectives.evaluation.overlays import compare, side_by_side
from mmtuna.objectives.predict import read_image
from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.search.outputs.baseline import measure
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import whole_folder, write_whole
from mmtuna.spaces.settings import DEFAULTS
from mmtuna.spaces.traces import scratch_folder
from mmtuna.studies import configs
from mmtuna.studies import table2 as tables
from mmtuna.studies.begun import space_of
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_to_read

_STYLES = (("md", tables.to_markdown), ("csv", tables.to_csv), ("tex", tables.to_latex))


@dataclass(frozen=True)
class Paper:
    """What was written: the folder, the trial and the image of its figures."""

    folder: Path
    trial: int
    image: str


def write_paper(spec: StudySpec, out: Path, console: Console) -> Paper:
    """Writes table1, table2 (.md, .csv, .tex), figure5.png and figure6.png to `out`; `console` shows the progress.

    Figure 5 shows the pre-trained weights of the best trial's decoder, figure 6 the same image before and after
    fine-tuning. The image is the validation image with most foreground among those that trials keep masks of.
    InputError where no trial is complete, the best one kept no masks, or the spec names no weights.
    """
    study = open_to_read(spec)
    trial = configs.complete(study)
    folder = StudyFiles(spec.study, spec.data.root, study).trained(trial)
    name = _most_foreground(folder)
    decoder = str(trial.params.get("decoder", spec.train.get("decoder", DEFAULTS["decoder"])))
    with whole_folder(out) as part, scratch_folder() as scratch:
        lines = measure(spec, console, pictured=[name], masks=scratch)
        write_whole(part / "table1.json", json.dumps(lines, indent=1) + "\n")
        for suffix, text in _table1(lines, spec.data.classes[1]).items():
            write_whole(part / f"table1.{suffix}", text)
        rows = tables.table2(study, space_of(study, spec))
        for suffix, style in _STYLES:
            write_whole(part / f"table2.{suffix}", style(rows))
        masks = scratch / decoder
        before = read_mask(((masks if masks.is_dir() else scratch / "base") / name).with_suffix(".png"))
        after = read_mask(folder.mask(name))
        files = find_named(folder, [name])[name]
        scan, truth, ignored = read_image(files.image), files.truth(), ignore_index(folder.read_config())
        side_by_side(scan, truth, before, title=f"{name}, pre-trained weights, {decoder}", ignore_index=ignored).save(
            part / "figure5.png"
        )
        both = {"pre-trained": before, f"fine-tuned, trial {trial.number}": after}
        compare([(name, scan, truth, both)], ignore_index=ignored).save(part / "figure6.png")
    return Paper(out, trial.number, name)


def _most_foreground(folder: TrialFolder) -> str:
    shown = folder.images_with_masks()
    if not shown:
        raise InputError(f"{folder.predictions}: the trial kept no masks; run the study with this version")
    return max(shown, key=lambda name: (sum(shown[name]["labelled"][1:]), name))


def _table1(lines: list[dict[str, Any]], foreground: str) -> dict[str, str]:
    """Table 1 as Markdown, CSV and LaTeX: the printed figure, ours by the same formula, and real metrics."""
    header = ("decoder", "Table 1", "per image", "mIoU", "mDice", f"IoU.{foreground}")
    body = []
    for line in lines:
        metrics = line["metrics"]
        figures = (line["per_image"], metrics["mIoU"], metrics["mDice"], metrics.get(f"IoU.{foreground}", 0.0))
        published = "-" if line["published"] is None else f"{line['published']:.4f}"
        body.append((line["decoder"], published, *(f"{figure:.4f}" for figure in figures)))
    markdown = "".join(f"| {' | '.join(row)} |\n" for row in (header, ("---",) * len(header), *body))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *body])
    rows = "".join(f"{' & '.join(row)} \\\\\n" for row in (header, *body)).replace("_", "\\_")
    latex = f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}\n{rows}\\end{{tabular}}\n"
    return {"md": markdown, "csv": text.getvalue(), "tex": latex}

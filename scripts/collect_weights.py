"""Copies the best weights of each decoder out of a study: SPEC OUT -> OUT/fcn.pth, OUT/pspnet.pth, ..."""

import shutil
import sys
from pathlib import Path

from mmtuna.objectives.trial_files import TrialFolder
from mmtuna.spaces.errors import InputError
from mmtuna.studies import results
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing


def main(spec_path: str, out: str) -> None:
    spec = StudySpec.load(spec_path)
    entries = [entry for entry in results.rows(open_existing(spec.study)) if entry.state == "COMPLETE"]
    entries.sort(key=lambda entry: entry.value or 0.0)
    for entry in entries:  # the best of a decoder comes last and stays
        weights = TrialFolder(spec.study.folder / (entry.folder or "")).best
        if weights.is_file():
            Path(out).mkdir(parents=True, exist_ok=True)
            target = Path(out) / f"{entry.params.get('decoder', spec.train.get('decoder'))}.pth"
            shutil.copyfile(weights, target.with_suffix(".part"))
            target.with_suffix(".part").replace(target)
    if not entries:
        raise InputError(f"{spec_path}: no complete trial to take weights from; run it first")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`mmtuna report`: the report's file."""

from __future__ import annotations

from pathlib import Path

from mmtuna.search.outputs.report import report_file, write_report
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import DamagedError, open_existing, open_to_read


def report(path: Path, out: Path | None, methods: Path | None = None) -> None:
    """Writes the report of a study, and its methods as Markdown where that is asked for, and prints where."""
    spec = StudySpec.load(path)
    try:
        study = open_to_read(spec)
    except DamagedError:  # what is left of it is shown
        study = open_existing(spec.study, damaged=True)
    print(write_report(spec, study, out or report_file(spec), methods))
    if methods is not None:
        print(methods)

"""A study as one JSON document for benchmarks/results: `python benchmarks/summarise.py SPEC OUT.json COMMAND`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmtuna.search.versions import machine, versions
from mmtuna.studies import results
from mmtuna.studies.attributes import FINGERPRINTS
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.study import open_existing


def main(spec_path: str, out: str, command: str) -> None:
    """Writes the study's best trial with its curve, and every trial's params, value and cost."""
    spec = StudySpec.load(spec_path)
    study = open_existing(spec.study)
    entries = results.rows(study)
    best = results.best(study)
    assert best is not None, "no trial is complete"
    ended = [entry for entry in entries if entry.state in ("COMPLETE", "PRUNED", "FAIL")]
    document = {
        "what": f"study {spec.study.name}: {spec.study.metric}, {spec.study.value} evaluation of a trial",
        "command": command,
        "machine": machine(),
        "versions": versions(),
        "seed": spec.study.seed,
        "asked": spec.study.trials,
        "ended": len(ended),
        "fingerprints": {key: study.user_attrs[FINGERPRINTS][key] for key in ("data", "split", "base")},
        "published_best_miou": 0.7600,
        "best": {
            "trial": best.number,
            "value": best.value,
            "params": best.params,
            "fixed": spec.train,
            "seed": best.seed,
            "metrics_last": best.metrics,
            "metrics_best": best.best_metrics,
            "curve": best.curve,
            "seconds": best.seconds,
        },
        "trials": [
            {
                "number": entry.number,
                "state": entry.state,
                "value": entry.value,
                "last_mIoU": entry.metrics.get("mIoU"),
                "params": entry.params,
                "seconds": entry.seconds,
            }
            for entry in ended
        ],
    }
    Path(out).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

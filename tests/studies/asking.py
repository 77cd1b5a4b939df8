"""A worker as its own process: asks and tells until the budget is done. Prints nothing."""

import sys
import threading
import time
from pathlib import Path

from optuna.trial import TrialState

from mmtuna.studies.asking import Budget, ask
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.storage.opening import study_lock
from mmtuna.studies.strategy.beginning import next_worker
from mmtuna.studies.strategy.enqueuing import enqueue_table2
from mmtuna.studies.strategy.sampling import build_sampler
from mmtuna.studies.study import create_or_open


def work(path: Path, trials: int, threads: int, replicates: int) -> None:
    spec = StudySpec.load(path)
    space = spec.search_space()
    lock = study_lock(spec.study.storage, spec.study.name)
    study = create_or_open(spec, {"data": {"sha256": "ab12"}})
    with lock:
        enqueue_table2(study, space, replicates)
        study.sampler = build_sampler(spec.study, space, len(study.trials), next_worker(study, "tpe", "none"))

    def loop() -> None:
        while True:
            claim = ask(study, space, spec.study.seed, trials=trials, lock=lock)
            if claim is Budget.DONE:
                return
            if isinstance(claim, Budget):
                time.sleep(0.02)
                continue
            if claim.trial.number % 5 == 4:
                study.tell(claim.trial, state=TrialState.FAIL)
            else:
                study.tell(claim.trial, 0.5)

    crew = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

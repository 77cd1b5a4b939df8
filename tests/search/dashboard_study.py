"""A small study with all that a dashboard shows, the dashboard on it, and a client that sends what it is told."""

from __future__ import annotations

import gc
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from mmtuna.objectives.evaluation.overlays import overlay
from mmtuna.search.dashboard import server as dashboard
from mmtuna.search.dashboard.access import Access
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.table2 import TABLE2
from mmtuna.studies import study as study_room
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.strategy.enqueuing import enqueue_table2
from tests.search.conftest import ENVIRONMENT

SPEC = """
[study]
name = "shown"
trials = 20
pruner = "none"
[data]
root = "data"
[space]
preset = "extended"
[replay]
curves = "generated"
"""
MESSAGE = "<script>alert(1)</script> | ![x](http://evil.example/x.png)\n```\nCUDA out of memory $E=mc^2$"
TOKEN = "correct-horse-battery-staple"
UUID = "12345678-1234-1234-1234-123456789abc"


def make_study(folder: Path, trials: int = 12, **fingerprints: dict[str, Any]) -> StudySpec:
    """A study with complete, pruned and failed trials, their files in place, as a search would leave it."""
    path = folder / "study.toml"
    path.write_text(SPEC)
    spec = StudySpec.load(path)
    study = study_room.create_or_open(spec, fingerprints)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    if trials > len(TABLE2):
        enqueue_table2(study, spec.search_space())
    for _ in range(trials):
        trial = study.ask()
        spec.search_space().suggest(trial)
        end_trial(spec, study, trial)
    return spec


def end_trial(spec: StudySpec, study: optuna.Study, trial: optuna.Trial) -> None:
    folder = spec.study.folder / "trials" / f"{trial.number:05d}"
    (folder / "overlays").mkdir(parents=True)
    (folder / "config.py").write_text("model = dict(type='EncoderDecoder')\n")
    rows, columns = np.indices((96, 96))
    scan = (90 + 60 * np.sin(rows / 9 + columns / 40)).astype(np.uint8)
    truth = ((rows - 48) ** 2 / 200 + (columns - 48) ** 2 / 600 < 1).astype(np.int64)
    for name, shift in (("worst", 12), ("best", 3)):
        overlay(scan, truth, np.roll(truth, shift, axis=1)).save(folder / "overlays" / f"{name}.png")
    attrs: dict[str, Any] = {"seed": trial.number, "cost": {"seconds": 12.5, "iterations": 400}}
    attrs["folder"] = str(folder.relative_to(spec.study.folder))
    last = 0.6 + 0.01 * (trial.number % 7)
    point = {"mIoU": last, "mDice": last + 0.1, "IoU.background": 0.99, "IoU.fluid": 2 * last - 0.99}
    curve = [{"step": 50, "iteration": 200, "seconds": 6.0, "mIoU": last / 2}, {"step": 100, "iteration": 400} | point]
    failed, pruned = trial.number % 6 == 5, trial.number % 6 == 4
    if failed:
        attrs |= {"cause": "out of memory", "message": MESSAGE}
    else:
        attrs |= {"metrics": point, "best_metrics": point, "curve": curve[: 1 if pruned else 2]}
        trial.report(last / 2, 50)
    for name, value in attrs.items():
        trial.set_user_attr(name, value)
    if failed or pruned:
        study.tell(trial, state=TrialState.FAIL if failed else TrialState.PRUNED)
    else:
        study.tell(trial, last)


def files_of(spec: StudySpec, study: optuna.Study) -> StudyFiles:
    return StudyFiles(spec.study, spec.data.root, study)


def content_of(spec: StudySpec, study: optuna.Study) -> Content:
    files = files_of(spec, study)
    return Content(study=study, table=spec.study, data=spec.data, space=spec.search_space(), files=files)


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["reason"])


@dataclass
class Client:
    port: int
    host: str = "127.0.0.1"
    asked: list[str] = field(default_factory=list)
    """Every path that anybody asked a server of `served` for."""

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Sends exactly this: the path is not changed, and `host` and `content_length` can be made up."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None and not {"content_length", "transfer_encoding"} & set(headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def change(self, method: str, path: str, document: object, **headers: str) -> Reply:
        """A change as the page sends it."""
        headers = {"origin": self.origin, "content_type": "application/json"} | headers
        return self.ask(method, path, json.dumps(document).encode(), **headers)

    def json(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status == 200, (path, reply.body[:300])
        return json.loads(reply.body)


@contextmanager
def served(spec: StudySpec, *, writable: bool = False, token: str | None = None) -> Iterator[Client]:
    with dashboard._listening("127.0.0.1", 0) as server:
        access = Access("127.0.0.1", server.server_port, token)
        app, asked = dashboard.application(spec.study, access, writable=writable), list[str]()

        def noted(environ: dict[str, Any], start_response: Any) -> Any:
            asked.append(environ["PATH_INFO"])
            return app(environ, start_response)

        server.set_app(noted)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Client(server.server_port, asked=asked)
        finally:
            server.shutdown()
            thread.join()
    gc.collect()  # the storages' connections, before the next test looks for what was left open


def trials(client: Client) -> list[dict[str, Any]]:
    return list(client.json("/api/studies/1")["trials"])


def artifact_path(trial: dict[str, Any], name: str) -> str:
    found = {artifact["filename"]: artifact["artifact_id"] for artifact in trial["artifacts"]}
    return f"/artifacts/1/{trial['trial_id']}/{found[name]}"


SERVE = (
    "import sys; from pathlib import Path; from mmtuna.search.dashboard.server import dashboard\n"
    "dashboard(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), False)"
)


@contextmanager
def serving(
    spec: Path, host: str = "127.0.0.1", **environment: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The dashboard as a process of its own, and what it printed when it was ready."""
    command = [sys.executable, "-c", SERVE, str(spec), host, "0"]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, ENVIRONMENT.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT | environment | {"PYTHONPATH": path},
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        yield process, lines
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

"""The dashboard over HTTP: what it shows, and attacks on it, each refused by status and message."""

from __future__ import annotations

import base64
import gc
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from objectives.overlays import overlay
from search import dashboard
from search.dashboard_access import Access, chosen_token
from search.dashboard_content import Refreshed, refresh, refresh_trial
from search.dashboard_guard import LARGEST_BODY
from spaces.errors import InputError
from spaces.table2 import TABLE2
from studies import study as study_room
from studies.artifacts import artifact_store
from studies.spec import StudySpec
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


def make_study(folder: Path, trials: int = 12) -> StudySpec:
    """A study with complete, pruned and failed trials, their files in place, as a search would leave it."""
    path = folder / "study.toml"
    path.write_text(SPEC)
    spec = StudySpec.load(path)
    study = study_room.create_or_open(spec, {})
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    if trials > len(TABLE2):
        study_room.enqueue_table2(study, spec.search_space())
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
        app, asked = dashboard.application(spec, access, writable=writable), list[str]()

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


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    made = make_study(tmp_path_factory.mktemp("dashboard"))
    refresh(made, study_room.open_existing(made))
    return made


@pytest.fixture(scope="module")
def client(spec: StudySpec) -> Iterator[Client]:
    with served(spec) as found:
        yield found


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[Client]:
    with served(make_study(tmp_path, trials=2), writable=True) as found:
        yield found


def trials(client: Client) -> list[dict[str, Any]]:
    return list(client.json("/api/studies/1")["trials"])


def artifact_path(trial: dict[str, Any], name: str) -> str:
    found = {artifact["filename"]: artifact["artifact_id"] for artifact in trial["artifacts"]}
    return f"/artifacts/1/{trial['trial_id']}/{found[name]}"


# What it shows


def test_every_ended_trial_has_its_note_and_files(client: Client) -> None:
    for trial in trials(client):
        names = {artifact["filename"] for artifact in trial["artifacts"]}
        curve = set() if trial["state"] == "Fail" else {"learning_curve.png", "learning_curve.json"}
        assert names == {"best.png", "worst.png", "config.py"} | curve
        assert trial["state"].lower().replace("fail", "failed") in trial["note"]["body"].lower()
    study = client.json("/api/studies/1")
    assert "### The paper's Table 2 beside ours" in study["note"]["body"]
    assert study["objective_names"] == ["mIoU"]
    assert {plot["id"] for plot in study["plotly_graph_objects"]} == {"history", "parallel-coordinates"}


def test_a_row_of_table2_says_so_and_stands_beside_the_published_figures(client: Client) -> None:
    note = trials(client)[0]["note"]["body"]
    assert "Row 1 of the paper's Table 2" in note
    assert re.search(r"mIoU\s+\| 0\.6855\s+\| 0\.6000", note)
    assert re.search(r"fluid\s+\| 0\.2100\s+\| -", note)


def test_a_message_is_shown_and_never_run(client: Client) -> None:
    note = trials(client)[5]["note"]["body"]
    fenced = re.search(r"^(`{4,})text\n(.*?)\n\1$", note, flags=re.MULTILINE | re.DOTALL)
    assert fenced is not None
    assert fenced[2] == MESSAGE
    assert "<script" not in note.replace(fenced[0], "")


def test_a_second_refresh_changes_nothing_and_a_new_trial_is_added(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=3)
    study = study_room.open_existing(spec)
    first = refresh(spec, study)
    assert (first.notes, first.files) == (4, 15)
    assert refresh(spec, study) == Refreshed()
    trial = study.ask()
    spec.search_space().suggest(trial)
    end_trial(spec, study, trial)
    assert refresh_trial(spec, study, 3) == Refreshed(notes=1, files=5)
    assert refresh(spec, study).notes == 1  # the study's own


def test_files_of_a_running_trial_are_kept_with_the_trial(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    study = study_room.open_existing(spec)
    trial = study.ask()
    trial.set_user_attr("curve", [{"step": 50.0, "mIoU": 0.5}])
    assert refresh_trial(spec, study, 1) == Refreshed(files=2)
    study.tell(trial, 0.5)
    assert refresh_trial(spec, study, 1) == Refreshed(notes=1)
    metas = optuna.artifacts.get_all_artifact_meta(study.trials[1], storage=study._storage)
    assert {meta.filename for meta in metas} == {"learning_curve.png", "learning_curve.json"}


def test_a_note_that_a_person_edited_stays_theirs(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    study = study_room.open_existing(spec)
    refresh(spec, study)
    with served(spec, writable=True) as client:
        note = trials(client)[0]["note"]
        mine = {"version": note["version"] + 1, "body": "mine"}
        assert client.change("PUT", "/api/studies/1/1/note", mine).status == 204
        assert refresh(spec, study) == Refreshed()
        assert client.json("/api/studies/1")["trials"][0]["note"]["body"] == "mine"


def test_no_file_elsewhere_is_attached_for_a_folder_that_the_database_names(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "config.py").write_text("password")
    study = study_room.open_existing(spec)
    for folder in ("../../secret", str(tmp_path / "secret")):
        trial = study.ask()
        trial.set_user_attr("folder", folder)
        study.tell(trial, 0.5)
        assert refresh_trial(spec, study, trial.number).files == 0


# Attacks: reading


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1"),
        ("POST", "/incompatible-rdb-schema"),
        ("POST", "/api/llm/trial_filter_query"),
        ("PATCH", "/api/studies/1"),
        ("OPTIONS", "/api/studies/1"),
    ],
)
def test_read_only_refuses_every_change(client: Client, method: str, path: str) -> None:
    reply = client.change(method, path, {"study_name": "x", "state": "Fail"})
    assert (reply.status, reply.reason) == (403, "read-only; `mmtuna dashboard SPEC --writable` allows changes")
    assert len(trials(client)) == 12


def test_the_storage_behind_reads_cannot_write(spec: StudySpec) -> None:
    from studies.read_only import open_read_only

    storage = open_read_only(spec.study.storage)
    for change in (lambda: storage.delete_study(1), lambda: storage.set_study_user_attr(1, "a", 1)):
        with pytest.raises(optuna.exceptions.StorageInternalError) as error:
            change()
        assert "readonly" in str(error.value.__cause__)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost@evil.example", "10.0.0.1", "", "[::1"],
)
def test_another_host_is_refused(client: Client, host: str) -> None:
    reply = client.ask("GET", "/api/studies", host=host)
    assert reply.status == 403
    assert reply.reason == f"Host {host or '(none)'} is not this dashboard's"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "[::1]:8080", "LOCALHOST"])
def test_loopback_by_any_name_and_port_is_served(client: Client, host: str) -> None:
    assert client.ask("GET", "/api/studies", host=host).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/1/..%2f..%2fstudy.db",
        "/artifacts/1/../../study.db",
        "/artifacts/1/1/%2fetc%2fpasswd",
        f"/artifacts/1/{UUID}%00",
        "/artifacts/1/1/..%5c..%5cstudy.db",
        f"/artifacts/1/1/{UUID}",
        f"/artifacts/99/{UUID}",
        f"/artifacts/1/99999999999999999999/{UUID}",
        f"/artifacts/1/999999999999999/{UUID}",
        "/artifacts/1/1/" + "a" * 5000,
        "/artifacts/",
        "/static/../index.html",
        "/static/..%2f..%2f__init__.py",
        "/static/%2e%2e/_app.py",
        "/static//etc/passwd",
    ],
)
def test_nothing_outside_the_store_is_read(client: Client, path: str) -> None:
    reply = client.ask("GET", path)
    assert reply.status in (403, 404)
    assert b"SQLite" not in reply.body
    assert b"root:" not in reply.body
    assert b"import" not in reply.body
    if path.startswith("/artifacts"):
        assert reply.status == 404
        assert re.search("there is no such|Not Found", reply.body.decode())


def test_a_link_or_another_name_in_the_store_is_not_read(spec: StudySpec, client: Client) -> None:
    trial = trials(client)[0]
    path = artifact_path(trial, "config.py")
    assert client.ask("GET", path).status == 200
    file = artifact_store(spec.study.folder).folder / path.rpartition("/")[2]
    kept = file.read_bytes()
    file.unlink()
    file.symlink_to("/etc/passwd")
    try:
        reply = client.ask("GET", path)
        assert (reply.status, reply.reason) == (404, "there is no such artifact")
    finally:
        file.unlink()
        file.write_bytes(kept)


def test_files_are_attachments_of_their_kind(client: Client) -> None:
    trial = trials(client)[0]
    kinds = {
        "best.png": "image/png",
        "config.py": "text/plain; charset=utf-8",
        "learning_curve.json": "application/json",
    }
    for name, kind in kinds.items():
        reply = client.ask("GET", artifact_path(trial, name))
        assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
        assert reply.headers["Content-Disposition"] == "attachment"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in reply.headers["Content-Security-Policy"]
        assert reply.headers["Access-Control-Allow-Origin"] is None


def test_the_page_may_fetch_nothing_from_elsewhere(client: Client) -> None:
    policy = client.ask("GET", "/dashboard/studies/1").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert client.ask("GET", "/dashboard").headers.get_all("Content-Security-Policy") == [policy]


def test_errors_say_nothing_of_the_inside(client: Client) -> None:
    for path in ("/api/studies/77", "/api/studies/77/param_importances", "/csv/77", "/nothing", "/api/studies/x"):
        reply = client.ask("GET", path)
        assert reply.status in (404, 500)
        assert b"Traceback" not in reply.body
        assert b"site-packages" not in reply.body


# Attacks: writing


@pytest.mark.parametrize(
    "origin", [{}, {"origin": "http://evil.example"}, {"origin": "null"}, {"referer": "http://evil.example/127.0.0.1"}]
)
def test_a_change_from_another_page_is_refused(writable: Client, origin: dict[str, str]) -> None:
    body = json.dumps({}).encode()
    reply = writable.ask("DELETE", "/api/studies/1", body, content_type="application/json", **origin)
    assert reply.status == 403
    assert reply.reason.startswith("Origin")
    other_port = writable.change("DELETE", "/api/studies/1", {}, origin="http://127.0.0.1:1")
    assert other_port.reason == "Origin http://127.0.0.1:1 is not this dashboard's"
    assert len(trials(writable)) == 2


def test_stored_html_does_not_run(writable: Client) -> None:
    for name in ("page.html", "picture.svg", "feed.xml", "page.xhtml"):
        data = "data:text/html;base64," + base64.b64encode(b"<script>alert(1)</script>").decode()
        reply = writable.change("POST", "/api/artifacts/1", {"file": data, "filename": name})
        assert reply.status == 201
        found = writable.ask("GET", f"/artifacts/1/{json.loads(reply.body)['artifact_id']}", accept="text/html")
        assert found.headers["Content-Type"] == "application/octet-stream"
        assert found.headers["Content-Disposition"] == "attachment"
        assert "sandbox" in found.headers["Content-Security-Policy"]


def test_an_oversized_upload_is_refused_before_it_is_read(writable: Client) -> None:
    path, origin = "/api/artifacts/1", {"origin": writable.origin}
    told = writable.ask("POST", path, content_length=str(LARGEST_BODY + 1), **origin)
    assert (told.status, told.reason) == (413, f"the body is over {LARGEST_BODY:,} bytes, the most that is taken")
    for headers in ({"transfer_encoding": "chunked"}, {"transfer_encoding": "chunked", "content_length": "5"}, {}):
        untold = writable.ask("POST", path, **headers, **origin)
        assert (untold.status, untold.reason) == (411, "Content-Length is missing; send the body in one piece")
    for length in ("-1", "1e3", "+5", "5, 5"):
        odd = writable.ask("POST", path, content_length=length, **origin)
        assert (odd.status, odd.reason) == (400, f"Content-Length {length} is no length")
    assert writable.ask("POST", path, content_length="9" * 30, **origin).status == 413


def test_the_store_itself_refuses_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.artifacts.LARGEST", 1000)
    store = artifact_store(tmp_path)
    with pytest.raises(InputError, match="larger than"):
        store.write(UUID, io.BytesIO(b"x" * 1001))
    assert list(store.folder.iterdir()) == []


def test_a_writable_dashboard_writes(writable: Client) -> None:
    assert writable.change("DELETE", "/api/studies/1", {}).status == 204
    assert writable.ask("GET", "/api/studies/1").status == 404


# Attacks: the token


def test_without_the_token_nothing_is_shown_or_changed(tmp_path: Path) -> None:
    with served(make_study(tmp_path, trials=1), writable=True, token=TOKEN) as client:
        for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js", f"/artifacts/1/{UUID}", "/csv/1"):
            reply = client.ask("GET", path)
            assert (reply.status, reply.reason) == (401, "a token is needed")
        deletion = client.change("DELETE", "/api/studies/1", {})
        assert (deletion.status, deletion.reason) == (401, "a token is needed")
        for wrong in ("wrong", "", TOKEN[:-1], TOKEN + "x", "%C3%A9"):
            reply = client.ask("GET", f"/api/studies?token={wrong}")
            assert (reply.status, reply.reason) == (401, "the token is wrong")
        for cookie in (f"mmtuna_{client.port}={TOKEN}", f"mmtuna_{client.port}=", "a=b; ;;=", "\\"):
            assert client.ask("GET", "/api/studies", cookie=cookie).status == 401
        form = client.ask("GET", "/dashboard", accept="text/html,*/*")
        assert form.status == 401
        assert b'<form method="post" action="/login">' in form.body


def test_the_token_earns_a_cookie_and_leaves_the_url(tmp_path: Path) -> None:
    with served(make_study(tmp_path, trials=1), token=TOKEN) as client:
        reply = client.ask("GET", f"/dashboard/studies/1?token={TOKEN}&numbers=2")
        assert (reply.status, reply.headers["Location"]) == (303, "/dashboard/studies/1?numbers=2")
        cookie = reply.headers["Set-Cookie"]
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        assert TOKEN not in cookie
        assert client.ask("GET", "/api/studies", cookie=cookie.partition(";")[0]).status == 200
        away = client.ask("GET", f"//evil.example/?token={TOKEN}")
        assert away.headers["Location"] == "/evil.example/"


def test_the_form_takes_the_token_from_its_own_page_only(tmp_path: Path) -> None:
    with served(make_study(tmp_path, trials=1), token=TOKEN) as client:
        body, kind = f"token={TOKEN}".encode(), "application/x-www-form-urlencoded"
        right = client.ask("POST", "/login", body, content_type=kind, origin=client.origin)
        assert (right.status, right.headers["Location"]) == (303, "/")
        assert client.ask("POST", "/login", body, content_type=kind, origin="http://evil.example").status == 403
        assert client.ask("POST", "/login", b"token=x", content_type=kind, origin=client.origin).status == 401
        assert client.ask("POST", "/login", content_length="5000", origin=client.origin).status == 413


def test_an_open_address_needs_a_token_that_cannot_be_guessed() -> None:
    assert chosen_token("127.0.0.1", None) == (None, False)
    for host in ("0.0.0.0", "192.168.1.5", "gpu-server", "::"):
        token, made = chosen_token(host, None)
        assert made
        assert token is not None
        assert len(token) >= 43
    with pytest.raises(InputError, match="MMTUNA_DASHBOARD_TOKEN holds 5 characters and could be guessed; take 16"):
        chosen_token("127.0.0.1", "guess")


@pytest.mark.parametrize(
    ("host", "asked", "served"),
    [
        ("0.0.0.0", "192.168.1.5:8080", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", socket.gethostname().lower(), True),
        ("192.168.1.5", "192.168.1.5", True),
        ("192.168.1.5", "192.168.1.6", False),
        ("gpu-server", "gpu-server:8080", True),
        ("127.0.0.1", socket.gethostname().lower() + ".evil.example", False),
    ],
)
def test_names_that_an_open_address_answers_to(host: str, asked: str, served: bool) -> None:
    assert _accepts(Access(host, 8080).check_host, {"HTTP_HOST": asked}) is served


def _accepts(check: Callable[[dict[str, Any]], None], environ: dict[str, Any]) -> bool:
    from search.dashboard_access import RefusedError

    try:
        check(environ)
    except RefusedError:
        return False
    return True


# The command


SERVE = (
    "import sys; from pathlib import Path; from search.dashboard import dashboard\n"
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    make_study(tmp_path, trials=1)
    with serving(tmp_path / "study.toml") as (process, lines):
        url = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:(\d+)/dashboard/studies/1)", lines[0])
        assert url is not None, lines
        assert Client(int(url[2])).ask("GET", "/dashboard/studies/1").status == 200
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "mmtuna: dashboard stopped\n"


def test_a_token_from_the_environment_is_never_printed(tmp_path: Path) -> None:
    make_study(tmp_path, trials=1)
    with serving(tmp_path / "study.toml", MMTUNA_DASHBOARD_TOKEN=TOKEN) as (process, lines):
        port = int(re.findall(r":(\d+)/", lines[0])[0])
        assert Client(port).ask("GET", f"/?token={TOKEN}").status == 303
        assert Client(port).ask("GET", "/?token=wrong").status == 401
        process.terminate()
        assert process.stdout is not None
        assert TOKEN not in "".join(lines) + process.stdout.read()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    spec = make_study(tmp_path, trials=1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: cannot listen there"):
            dashboard.serve(spec, port=port)


# Beside workers


def test_reading_does_not_make_a_worker_wait(spec: StudySpec) -> None:
    """A read transaction is held open while a worker writes: with a lock it would wait for the whole second."""
    import sqlalchemy

    from studies.read_only import open_read_only

    storage = open_read_only(spec.study.storage)
    study = study_room.open_existing(spec)
    with storage.engine.connect() as connection, connection.begin():
        before = connection.execute(sqlalchemy.text("SELECT count(*) FROM study_user_attributes")).scalar()
        began = time.monotonic()
        study.set_user_attr("written", "meanwhile")
        assert time.monotonic() - began < 0.5
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM study_user_attributes")).scalar() == before

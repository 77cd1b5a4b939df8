"""Attacks on the dashboard over HTTP, each refused by status and message; and the command."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from mmtuna.search.dashboard import server as dashboard
from mmtuna.search.dashboard.access import Access, chosen_token
from mmtuna.search.dashboard.guard import LARGEST_BODY
from mmtuna.spaces.errors import InputError
from mmtuna.studies import study as study_room
from mmtuna.studies.files.artifact_folder import artifact_store
from mmtuna.studies.spec import StudySpec
from tests.postgres import PASSWORD, PostgresServer
from tests.search.conftest import wait_for
from tests.search.dashboard_study import (
    TOKEN,
    UUID,
    Client,
    artifact_path,
    content_of,
    end_trial,
    make_study,
    served,
    serving,
    trials,
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    made = make_study(tmp_path_factory.mktemp("dashboard"))
    content_of(made, study_room.open_existing(made.study)).refresh()
    return made


@pytest.fixture(scope="module")
def client(spec: StudySpec) -> Iterator[Client]:
    with served(spec) as found:
        yield found


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[Client]:
    with served(make_study(tmp_path, trials=2), writable=True) as found:
        yield found


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
    from mmtuna.studies.storage.read_only import open_read_only

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
    monkeypatch.setattr("mmtuna.studies.files.artifact_folder.LARGEST", 1000)
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
    from mmtuna.search.dashboard.access import RefusedError

    try:
        check(environ)
    except RefusedError:
        return False
    return True


# The command


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

    from mmtuna.studies.storage.read_only import open_read_only

    storage = open_read_only(spec.study.storage)
    study = study_room.open_existing(spec.study)
    with storage.engine.connect() as connection, connection.begin():
        before = connection.execute(sqlalchemy.text("SELECT count(*) FROM study_user_attributes")).scalar()
        began = time.monotonic()
        study.set_user_attr("written", "meanwhile")
        assert time.monotonic() - began < 0.5
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM study_user_attributes")).scalar() == before


def test_on_postgres_while_a_worker_writes(
    server: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMTUNA_STORAGE", server.url(database))
    spec = make_study(tmp_path, trials=3)
    study = study_room.open_existing(spec.study)
    content_of(spec, study).refresh()
    with served(spec) as client:
        shown = trials(client)
        assert [len(trial["artifacts"]) for trial in shown] == [5, 5, 5]
        picture = client.ask("GET", artifact_path(shown[0], "best.png"))
        assert picture.body.startswith(b"\x89PNG")
        assert client.change("DELETE", "/api/studies/1", {}).status == 403
        trial = study.ask()
        spec.search_space().suggest(trial)
        end_trial(spec, study, trial)
        content_of(spec, study).refresh_trial(3)
        # The dashboard keeps a list of trials for some seconds before it asks again.
        wait_for(lambda: len(trials(client)) == 4, 30, "the new trial in the dashboard")
        assert "complete" in trials(client)[3]["note"]["body"].lower()
        assert PASSWORD not in json.dumps(trials(client)) + client.ask("GET", "/dashboard/").body.decode()

"""`mmtuna dashboard`: optuna-dashboard on a study, behind a guard, for as long as the command runs."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.trial import TrialState

from mmtuna.search.dashboard.access import TOKEN_VARIABLE, Access, chosen_token, is_loopback
from mmtuna.search.dashboard.guard import Guard
from mmtuna.search.quiet import quiet_optuna
from mmtuna.search.trials.content import Content
from mmtuna.search.trials.files import StudyFiles
from mmtuna.spaces.errors import InputError
from mmtuna.studies.begun import space_of
from mmtuna.studies.files.attachments import artifact_files
from mmtuna.studies.spec import StudySpec
from mmtuna.studies.spec.tables import StudyTable
from mmtuna.studies.storage.opening import open_storage
from mmtuna.studies.storage.optuna_insides import study_id
from mmtuna.studies.storage.read_only import open_read_only
from mmtuna.studies.study import open_to_read

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from optuna.storages import BaseStorage

REFRESH_SECONDS = 30.0
FIRST_SECONDS = 5.0
_IDLE_SECONDS = 30
_MOST_REQUESTS = 32


def dashboard(path: Path, host: str, port: int, writable: bool) -> None:
    """Serves the dashboard of the study that `path` describes until a signal ends it."""
    serve(StudySpec.load(path), host=host, port=port, writable=writable, token=os.environ.get(TOKEN_VARIABLE) or None)


@quiet_optuna()
def serve(
    spec: StudySpec, *, host: str = "127.0.0.1", port: int = 8080, writable: bool = False, token: str | None = None
) -> None:
    """Serves until SIGINT or SIGTERM, and keeps notes, plots and files of the study up to date meanwhile.

    Args:
        host: address to listen on. One that other machines can reach needs a token: `token`, or one made and printed.
        port: 0 takes any free one.
        writable: lets people change notes, upload and delete; otherwise nothing is written for a request.
        token: what a person has to know to see anything.

    InputError for a study that does not exist, an address that cannot be taken, and a token that could be guessed.
    """
    # Whoever opens a page would make it print: what Optuna says of few trials, the plots say themselves.
    warnings.filterwarnings("ignore", module="optuna")
    study = open_to_read(spec)
    token, made = chosen_token(host, token)
    with _listening(host, port) as server:
        server.set_app(application(spec.study, Access(host, server.server_port, token), writable=writable))
        stop = threading.Event()
        files = StudyFiles(spec.study, spec.data.root, study)
        content = Content(study=study, table=spec.study, data=spec.data, space=space_of(study, spec), files=files)
        current = _Current(content)
        with _signals(stop):
            # A large study that no worker has kept up to date would otherwise show nothing for a minute.
            patience = time.monotonic() + FIRST_SECONDS
            current.refresh(lambda: stop.is_set() or time.monotonic() > patience)
            _announce(host, server.server_port, study_id(study), token if made else None, token is not None, writable)
            thread = threading.Thread(target=server.serve_forever, name="dashboard", daemon=True)
            thread.start()
            while not stop.is_set():
                current.refresh(stop.is_set)
                stop.wait(REFRESH_SECONDS)
        server.shutdown()
        thread.join()
    print("mmtuna: dashboard stopped")


def application(table: StudyTable, access: Access, *, writable: bool = False) -> WSGIApplication:
    """The guarded dashboard as a WSGI application.

    Requests that only read get a storage that cannot write, also of a writable dashboard: on SQLite every transaction
    of the other one takes the write lock, and workers would wait for it.
    """
    writer = _dashboard(table, open_storage(table.storage)) if writable else None
    return Guard(access, _dashboard(table, open_read_only(table.storage)), writer)


def _dashboard(table: StudyTable, storage: BaseStorage) -> WSGIApplication:
    import optuna_dashboard

    app: Any = optuna_dashboard.wsgi(storage, artifact_store=artifact_files(table))
    app.catchall = False  # its page for errors shows what failed; the guard's does not
    found: WSGIApplication = app
    return found


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request, a limited number at a time; those still running do not keep the command alive."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._room = threading.BoundedSemaphore(_MOST_REQUESTS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # The base class asks DNS for a name of the address, which can take half a minute.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._room:
            super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away in mid-answer is nothing to print a traceback for."""


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a request's line may hold a token."""


@contextmanager
def _listening(host: str, port: int) -> Iterator[_Server]:
    try:
        server = _Server(host, port)
    except OverflowError:
        raise InputError(f"--port {port}: no port; take one up to 65535, or 0 for any free one") from None
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); take another port, 0 for any free "
            "one, or an address of this machine"
        ) from None
    with server:
        yield server


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Current:
    """The study's content, brought up to date where trials have begun or ended since the last time."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._seen: list[TrialState] | None = None

    def refresh(self, stop: Callable[[], bool]) -> None:
        """Once `stop` says so, the rest is left for the next time."""
        try:
            states = [trial.state for trial in self._content.study.get_trials(deepcopy=False)]
            if states == self._seen:
                return
            self._content.refresh(stop)
            self._seen = None if stop() else states
        except Exception as error:  # the dashboard shows what there is; the next round may succeed
            print(f"mmtuna: notes and files not brought up to date: {type(error).__name__}", file=sys.stderr)


def _announce(host: str, port: int, study_id: int, made: str | None, asks: bool, writable: bool) -> None:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    query = f"?token={made}" if made else ""
    print(f"dashboard: http://{shown}:{port}/dashboard/studies/{study_id}{query}")
    print("writable: whoever opens it can change and delete" if writable else "read-only; --writable allows changes")
    if asks and not made:
        print(f"it asks for the token in {TOKEN_VARIABLE}")
    if not is_loopback(host):
        print("the connection is not encrypted; `ssh -L` from the default --host is")
    print("Ctrl-C stops it", flush=True)

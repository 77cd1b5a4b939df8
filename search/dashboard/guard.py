"""What stands between the network and optuna-dashboard, which has no login and changes whatever it is asked to."""

from __future__ import annotations

import html
import io
import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mmtuna.search.dashboard.access import Access, Environ, Redirect, RefusedError, TokenNeededError, content_length
from mmtuna.studies.files.artifact_folder import LARGEST
from mmtuna.studies.files.bucket import S3Error

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

LARGEST_BODY = LARGEST * 4 // 3 + (64 << 10)
"""An upload is base64 within JSON."""

_READS = ("GET", "HEAD")
_WRITES = ("POST", "PUT", "DELETE")
_ARTIFACT = re.compile(r"/artifacts/\d{1,15}(?:/\d{1,15})?/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/?")
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "text/csv", "application/json")
_UNKNOWN = "application/octet-stream"

# The page's own script builds the shaders of parallel coordinates with eval and sets styles inline; images may be
# drawn in the page. No address but the dashboard's own occurs.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; media-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FORM_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    # Not no-referrer: a form would then be sent with Origin: null.
    ("Referrer-Policy", "same-origin"),
)
_OURS = {name.lower() for name, _ in _ALWAYS} | {"content-security-policy", "cache-control"}

_FORM = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>mmtuna dashboard</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 0 1rem; }}
input, button {{ font: inherit; padding: .4rem .6rem; }} input {{ width: 100%; box-sizing: border-box; }}
button {{ margin-top: .8rem; }}</style></head>
<body><h1>mmtuna dashboard</h1><p>{reason}. It was printed where the dashboard was started.</p>
<form method="post" action="/login"><label>Token <input type="password" name="token" autofocus required
autocomplete="current-password"></label><button>Open</button></form></body></html>
"""


class Guard:
    """Answers requests that keep to the rules with `reader`, changes with `writer` (None: read-only)."""

    def __init__(self, access: Access, reader: WSGIApplication, writer: WSGIApplication | None) -> None:
        self._access, self._reader, self._writer = access, reader, writer

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        try:
            return self._answer(environ, start_response)
        except RefusedError as refused:
            return _refuse(refused, environ, start_response)
        except S3Error:
            return _refuse(RefusedError("503 Service Unavailable", "S3 has not served it"), environ, start_response)
        except (LookupError, OverflowError, ValueError):
            # A study, trial or artifact that is not there; neither the dashboard nor Optuna checks.
            return _refuse(RefusedError("404 Not Found", "there is no such thing"), environ, start_response)
        except Exception as error:
            from optuna.artifacts.exceptions import ArtifactNotFound

            if isinstance(error, ArtifactNotFound):
                return _refuse(RefusedError("404 Not Found", "there is no such artifact"), environ, start_response)
            # Not the message, which may hold an address of the database, and not the query, which may hold a token.
            print(f"mmtuna: dashboard: {type(error).__name__} at {environ.get('PATH_INFO')!a}", file=sys.stderr)
            return _refuse(RefusedError("500 Internal Server Error", "it failed"), environ, start_response)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._access.check_host(environ)
        path, method = _checked_path(environ), environ["REQUEST_METHOD"]
        redirect = self._access.check_token(environ)
        if redirect is not None:
            return _redirect(redirect, start_response)
        kind = "artifact" if path.startswith("/artifacts/") else "static" if path.startswith("/static/") else "page"
        app = self._reader
        if method not in _READS:
            app = self._check_write(environ, method)
        # The dashboard's views expect it.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        return app(environ, _safe_headers(start_response, kind))

    def _check_write(self, environ: Environ, method: str) -> WSGIApplication:
        if self._writer is None:
            raise RefusedError("403 Forbidden", "read-only; `mmtuna dashboard SPEC --writable` allows changes")
        if method not in _WRITES:
            raise RefusedError("405 Method Not Allowed", f"{method} is not known; use {', '.join(_READS + _WRITES)}")
        self._access.check_origin(environ)
        bodyless = method == "DELETE" and not environ.get("CONTENT_LENGTH")
        length = 0 if bodyless and not environ.get("HTTP_TRANSFER_ENCODING") else content_length(environ, LARGEST_BODY)
        environ["CONTENT_LENGTH"] = str(length)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        return self._writer


def _checked_path(environ: Environ) -> str:
    path = str(environ.get("PATH_INFO", ""))
    odd = "\\" in path or not path.isprintable() or ".." in path.split("/")
    if odd or (path.startswith("/artifacts") and not _ARTIFACT.fullmatch(path)):
        raise RefusedError("404 Not Found", "there is no such artifact")
    return path


def _safe_headers(start_response: StartResponse, kind: str) -> StartResponse:
    """A `start_response` that puts our headers in the place of the dashboard's."""

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() not in _OURS and not name.lower().startswith("access-control-")
        ]
        kept += _ALWAYS
        if kind == "artifact":
            kept = _as_attachment(kept)
            kept.append(("Cache-Control", "private, max-age=3600" if status.startswith("200") else "no-store"))
            kept.append(("Content-Security-Policy", _FILE_POLICY))
        else:
            kept.append(("Cache-Control", "private, max-age=3600" if kind == "static" else "no-store"))
            kept.append(("Content-Security-Policy", _PAGE_POLICY))
        return start_response(status, kept, exc_info) if exc_info else start_response(status, kept)

    return start


def _as_attachment(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A file that is saved and never opened as a page; pictures still show where a page holds them as `<img>`."""
    told = next((value for name, value in headers if name.lower() == "content-type"), "")
    mimetype = told.partition(";")[0].strip().lower()
    shown = mimetype if mimetype in _SHOWN else _UNKNOWN
    if shown.startswith("text/"):
        shown += "; charset=utf-8"
    dropped = ("content-type", "content-disposition", "content-encoding", "content-encodings")
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    return [*kept, ("Content-Type", shown), ("Content-Disposition", "attachment")]


def _redirect(redirect: Redirect, start_response: StartResponse) -> Iterable[bytes]:
    headers = [("Location", redirect.location), ("Set-Cookie", redirect.cookie), ("Content-Length", "0")]
    start_response("303 See Other", [*headers, *_ALWAYS, ("Cache-Control", "no-store")])
    return [b""]


def _refuse(refused: RefusedError, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    wants_page = isinstance(refused, TokenNeededError) and "text/html" in str(environ.get("HTTP_ACCEPT", ""))
    if wants_page:
        text, mimetype, policy = (
            _FORM.format(reason=html.escape(refused.reason.capitalize())),
            "text/html",
            _FORM_POLICY,
        )
    else:
        text, mimetype, policy = json.dumps({"reason": refused.reason}) + "\n", "application/json", _FILE_POLICY
    body = text.encode()
    headers = [("Content-Type", f"{mimetype}; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(
        refused.status, [*headers, *_ALWAYS, ("Cache-Control", "no-store"), ("Content-Security-Policy", policy)]
    )
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]

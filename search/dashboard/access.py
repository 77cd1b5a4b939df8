"""Who may ask the dashboard for what: host names, the token, and whether a request comes from the dashboard itself."""

from __future__ import annotations

import hmac
import http.cookies
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from mmtuna.spaces.errors import InputError

TOKEN_VARIABLE = "MMTUNA_DASHBOARD_TOKEN"  # noqa: S105 - a variable's name
SHORTEST_TOKEN = 16
_LARGEST_FORM = 4096

Environ = dict[str, Any]


class RefusedError(Exception):
    """A request that is not answered: status such as "403 Forbidden", and why in one line."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class TokenNeededError(RefusedError):
    """A request without the token, or with a wrong one; a browser gets a form for it."""

    def __init__(self, reason: str) -> None:
        super().__init__("401 Unauthorized", reason)


@dataclass(frozen=True)
class Redirect:
    """An answer that sends the browser to `location`, with the cookie that a right token earns."""

    location: str
    cookie: str


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine can reach a server on `host`."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def chosen_token(host: str, token: str | None) -> tuple[str | None, bool]:
    """The token to ask for, and whether it was made here: one of 256 random bits where the host needs one.

    InputError for one that could be guessed.
    """
    if token is not None:
        if len(token) < SHORTEST_TOKEN:
            raise InputError(
                f"{TOKEN_VARIABLE} holds {len(token)} characters and could be guessed; take {SHORTEST_TOKEN} or more, "
                "such as those of `openssl rand -hex 32`"
            )
        return token, False
    return (None, False) if is_loopback(host) else (secrets.token_urlsafe(32), True)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


@dataclass
class Access:
    """The rules for one server on `host`; `token` None asks for none."""

    host: str
    port: int
    token: str | None = None
    _session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def check_host(self, environ: Environ) -> None:
        """Refuses a Host that is not this server's.

        A page of another site can have its own name resolve to this machine (DNS rebinding) and would then share the
        dashboard's origin. The name gives it away. The port is free: it differs behind `ssh -L`.
        """
        written = str(environ.get("HTTP_HOST", ""))
        try:
            parts = urlsplit(f"//{written}")
            name, known = parts.hostname or "", parts.netloc == written and not parts.username
            _ = parts.port
        except ValueError:
            name, known = "", False
        if not known or not self._is_ours(name):
            raise RefusedError("403 Forbidden", f"Host {_short(written)} is not this dashboard's")

    def _is_ours(self, name: str) -> bool:
        if name in ("localhost", self.host.lower()):
            return True
        address, bound = _address(name), _address(self.host)
        if address is None:
            # A name that another site could not have chosen: this machine's own.
            return bool(name) and not is_loopback(self.host) and name in (socket.gethostname().lower(), _full_name())
        if is_loopback(self.host):
            return address.is_loopback
        # An address in the URL was not resolved by anyone. On all interfaces any of them may be the one asked for.
        return address == bound or address.is_loopback or (bound is not None and bound.is_unspecified)

    def check_origin(self, environ: Environ) -> None:
        """Refuses a write that a page of another origin sent, or that does not say where it comes from (CSRF)."""
        source = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER")
        if not source:
            raise RefusedError("403 Forbidden", "Origin is missing; a change has to come from the dashboard's own page")
        try:
            parts = urlsplit(str(source))
        except ValueError:
            parts = urlsplit("")
        if (parts.scheme, parts.netloc) != (environ.get("wsgi.url_scheme"), environ.get("HTTP_HOST")):
            raise RefusedError("403 Forbidden", f"Origin {_short(str(source))} is not this dashboard's")

    def check_token(self, environ: Environ) -> Redirect | None:
        """None for a request with the cookie; a Redirect for one that brings the token; TokenNeededError for others."""
        if self.token is None:
            return None
        offered = self._offered(environ)
        if offered is not None:
            if not _same(offered, self.token):
                raise TokenNeededError("the token is wrong")
            return Redirect(_without_token(environ), self._cookie())
        if _same(self._cookie_of(environ), self._session):
            return None
        raise TokenNeededError("a token is needed")

    def _offered(self, environ: Environ) -> str | None:
        query = dict(parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True))
        if "token" in query and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return query["token"]
        if environ["REQUEST_METHOD"] == "POST" and environ.get("PATH_INFO") == "/login":
            self.check_origin(environ)
            length = content_length(environ, _LARGEST_FORM)
            form: dict[str, str] = dict(parse_qsl(environ["wsgi.input"].read(length).decode("utf-8", "replace")))
            return form.get("token", "")
        return None

    @property
    def cookie_name(self) -> str:
        """One name a port: cookies are shared by all ports of a host."""
        return f"mmtuna_{self.port}"

    def _cookie(self) -> str:
        # Of this process only, and not the token: it opens nothing once the dashboard has stopped.
        return f"{self.cookie_name}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def _cookie_of(self, environ: Environ) -> str:
        try:
            cookies = http.cookies.SimpleCookie(str(environ.get("HTTP_COOKIE", "")))
        except http.cookies.CookieError:
            return ""
        return cookies[self.cookie_name].value if self.cookie_name in cookies else ""


def content_length(environ: Environ, most: int) -> int:
    """The length of a request's body; refuses one that is not told or is over `most` bytes."""
    written = str(environ.get("CONTENT_LENGTH") or "")
    if environ.get("HTTP_TRANSFER_ENCODING") or not written:
        raise RefusedError("411 Length Required", "Content-Length is missing; send the body in one piece")
    if not (written.isascii() and written.isdigit()):
        raise RefusedError("400 Bad Request", f"Content-Length {_short(written)} is no length")
    if len(written) > 15 or int(written) > most:
        raise RefusedError("413 Content Too Large", f"the body is over {most:,} bytes, the most that is taken")
    return int(written)


def _without_token(environ: Environ) -> str:
    if environ["REQUEST_METHOD"] == "POST":
        return "/"
    # Two slashes at the start would name another host.
    path = "/" + quote(str(environ.get("PATH_INFO", "")).encode("latin-1").lstrip(b"/\\"))
    query = [(key, value) for key, value in parse_qsl(str(environ.get("QUERY_STRING", ""))) if key != "token"]
    return path + (f"?{urlencode(query)}" if query else "")


def _same(offered: str, expected: str) -> bool:
    return hmac.compare_digest(offered.encode("utf-8", "replace"), expected.encode())


def _short(text: str) -> str:
    shown = "".join(sign if sign.isprintable() and sign.isascii() else "?" for sign in text[:80])
    return shown or "(none)"


def _full_name() -> str:
    return socket.getfqdn().lower()

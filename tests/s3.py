"""An S3 server on this machine (moto's, over HTTP), and what a test does to it."""

from __future__ import annotations

import threading
from typing import Any

KEY, SECRET = "AKIATESTTESTTESTTEST", "a/secret+that/shows+nowhere/0123456789"


class S3Server:
    """Started with `with`; empty at first."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> S3Server:
        self._server.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """Its address, for AWS_ENDPOINT_URL_S3."""
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    def environment(self) -> dict[str, str]:
        """What makes boto3 use it, and nothing of the person who runs the tests."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }


class Wire:
    """Sees every request of a client, and cuts the connection from the nth on where a test says so."""

    def __init__(self, client: Any) -> None:
        self.requests: list[tuple[str, str]] = []
        self.cut_from: int | None = None
        self._lock = threading.Lock()
        client.meta.events.register("before-send.s3", self._before_send)

    def _before_send(self, request: Any, **_: Any) -> None:
        from botocore.exceptions import ConnectionClosedError

        with self._lock:
            if self.cut_from is not None and len(self.requests) >= self.cut_from:
                raise ConnectionClosedError(endpoint_url=request.url)
            self.requests.append((request.method, request.url))

    def cut(self, after: int) -> None:
        """From now on `after` requests come through, and no more."""
        self.requests.clear()
        self.cut_from = after

    def mend(self) -> None:
        """All come through again."""
        self.requests.clear()
        self.cut_from = None

    def sent(self, method: str, part: str = "") -> list[str]:
        """The addresses of the requests by `method` whose address holds `part`."""
        return [url for used, url in self.requests if used == method and part in url]

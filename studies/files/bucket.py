"""A bucket in S3, through Optuna's own store for it: bounded waits, and errors in one line that never holds a key.

Endpoint, region and credentials come from boto3's own chain (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, ~/.aws, roles);
nothing here reads, prints or stores them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from mmtuna.spaces.errors import InputError
from mmtuna.studies.patience import Result, repeat
from mmtuna.studies.spec.s3_location import Location

# Together at most about 20 s for a server that takes no connection, which is what `mmtuna check` may need.
_CONNECT_SECONDS, _READ_SECONDS, _TRIES = 5, 30, 3
_FIRST_PAUSE = 0.5
_NOT_ACCEPTED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId")
_DENIED = ("AccessDenied", "AllAccessDisabled", "403")
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "404")
_NOT_THERE = ("NoSuchKey", "404")
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")
_WAY_OUT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use ~/.aws or a role"


class S3Error(InputError):
    """S3 did not do what was asked. `passing`: the same call may succeed later, as the server is away or busy."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@functools.cache
def client() -> Any:
    """The S3 client of this process, which all threads share; InputError where boto3 is missing or set up wrongly."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise InputError("[study] artifacts: boto3 is not installed: pip install 'mmtuna[s3]'") from None
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "max_attempts": _TRIES},
        max_pool_connections=20,
        tcp_keepalive=True,
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except ValueError:
        raise InputError("AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) is no URL; give one such as https://HOST") from None
    except BotoCoreError as error:
        # Only the class: a message may repeat what stands in a file of credentials.
        name = type(error).__name__
        raise InputError(f"S3 is set up wrongly ({name}); check AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws") from None


class Bucket:
    """The objects of a location's bucket. Every method raises S3Error; keys are whole, with the prefix."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self._client = client()
        from optuna.artifacts import Boto3ArtifactStore

        self._store = Boto3ArtifactStore(location.bucket, self._client, avoid_buf_copy=True)

    def put(self, key: str, body: BinaryIO) -> None:
        """Stores all that `body` has left to read, whole or not at all; a large body goes in parts."""
        with self._explained("writing"):
            self._store.write(key, body)

    def put_over(self, key: str, content: bytes, etag: str | None) -> bool:
        """Stores `content` in the place of the object that has `etag`, of none for None; False where it changed.

        A server that knows no conditional writes stores it in any case.
        """
        if etag is None:
            return self._put_if(key, content, IfNoneMatch="*")
        if self._put_if(key, content, IfMatch=etag):
            return True
        # Ceph compares what stands between the quotes with all of the header. Looked at first, so that a server to
        # which a header without quotes says nothing does not put this over another's.
        return self._etag(key) == etag and self._put_if(key, content, IfMatch=etag.strip('"'))

    def _put_if(self, key: str, content: bytes, **condition: str) -> bool:
        from botocore.exceptions import ClientError

        where = {"Bucket": self.location.bucket, "Key": key, "Body": content}
        with self._explained("writing"):
            try:
                self._client.put_object(**where, **condition)
            except ClientError as error:
                if _code(error) in _CHANGED:
                    return False
                if _code(error) not in ("NotImplemented", "501"):
                    raise
                self._client.put_object(**where)
        return True

    def get(self, key: str, largest: int) -> tuple[bytes, str] | None:
        """Content and etag, or None where there is no such object or it has more than `largest` bytes."""
        from botocore.exceptions import ClientError

        with self._explained("reading"):
            try:
                answer = self._client.get_object(Bucket=self.location.bucket, Key=key)
            except ClientError as error:
                if _code(error) in _NOT_THERE:
                    return None
                raise
            with contextlib.closing(answer["Body"]) as body:
                content: bytes = body.read(largest + 1)
        return (content, str(answer["ETag"])) if len(content) <= largest else None

    def chunks(self, key: str, size: int = 1 << 20) -> Iterator[bytes] | None:
        """The content in pieces of `size` bytes, or None where there is no such object."""
        from optuna.artifacts.exceptions import ArtifactNotFound

        with self._explained("reading"):
            try:
                body = self._store.open_reader(key)
            except ArtifactNotFound as error:
                cause = error.__cause__ or error
                if _code(cause) in _NOT_THERE:
                    return None
                raise cause from None  # the bucket itself is gone
        return self._pieces(body, size)

    def _pieces(self, body: BinaryIO, size: int) -> Iterator[bytes]:
        with contextlib.closing(body):
            while True:
                with self._explained("reading"):
                    piece = body.read(size)
                if not piece:
                    return
                yield piece

    def holds(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._etag(key) is not None

    def _etag(self, key: str) -> str | None:
        from botocore.exceptions import ClientError

        with self._explained("reading"):
            try:
                return str(self._client.head_object(Bucket=self.location.bucket, Key=key)["ETag"])
            except ClientError as error:
                if _code(error) in _NOT_THERE:
                    return None
                raise

    def keys(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`; one request for 1,000 of them."""
        with self._explained("listing"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.location.bucket, Prefix=prefix)
            return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def delete(self, key: str) -> None:
        """Deletes an object; one that is gone already is no error."""
        with self._explained("deleting"):
            self._store.remove(key)

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise explain(error, self.location, _address(self._client), doing) from None


def explain(error: BaseException, location: Location, address: str, doing: str) -> S3Error:
    """What boto3 raised, in one line: the cause by its name, without the text of the error, which may repeat keys."""
    from botocore import exceptions as known

    head, code, name = f"[study] artifacts = {location}", _code(error), type(error).__name__
    if code == "NoSuchBucket":
        return S3Error(f"{head}: there is no such bucket at {address}; create it, or name another")
    if code in _DENIED:
        rights = "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"
        return S3Error(f"{head}: access denied when {doing}; the credentials in use need {rights} there")
    if code in _NOT_ACCEPTED:
        return S3Error(f"{head}: {address} does not accept the credentials ({code}); renew them: {_WAY_OUT}")
    if isinstance(error, known.NoCredentialsError):
        return S3Error(f"{head}: no credentials found; {_WAY_OUT}")
    if isinstance(error, known.CredentialRetrievalError | known.TokenRetrievalError):
        return S3Error(f"{head}: the credentials cannot be had ({name}); {_WAY_OUT}")
    if isinstance(error, known.SSLError):
        return S3Error(f"{head}: no TLS connection with {address}; check AWS_ENDPOINT_URL_S3 and AWS_CA_BUNDLE")
    if isinstance(error, known.HTTPClientError | known.ConnectionError | known.IncompleteReadError):
        way = "start it, or check AWS_ENDPOINT_URL_S3 and the network"
        return S3Error(f"{head}: {address} does not answer when {doing} ({name}); {way}", passing=True)
    if code:
        passing = _status(error) >= 500 or code in ("SlowDown", "RequestTimeout", "RequestTimeTooSkewed")
        way = "check the bucket and AWS_ENDPOINT_URL_S3"
        return S3Error(f"{head}: {address} answers {code} when {doing}; {way}", passing=passing)
    return S3Error(f"{head}: {name} when {doing}; check AWS_ENDPOINT_URL_S3 and AWS_REGION")


def prove(location: Location, name: str) -> None:
    """Writes, reads, lists and deletes a small object of study `name`; S3Error says which of them cannot be done."""
    bucket = Bucket(location)
    key, content = location.key(name, f".check-{uuid.uuid4().hex[:12]}"), b"mmtuna check"
    bucket.put(key, io.BytesIO(content))
    try:
        found = bucket.get(key, len(content))
        if found is None or found[0] != content or key not in bucket.keys(key):
            raise S3Error(f"[study] artifacts = {location}: what was written is not read back; take another bucket")
    finally:
        bucket.delete(key)


def patiently(call: Callable[[], Result], seconds: float, stop: threading.Event) -> Result:
    """`call()`, repeated while S3 is away, for `seconds` at most and for 5 s once `stop` is set; then its S3Error."""

    def passes(error: Exception) -> bool:
        return isinstance(error, S3Error) and error.passing

    # One try alone may take as long as boto3's own tries: the time counts from the first one's start.
    return repeat(call, passes, limit=seconds, first_pause=_FIRST_PAUSE, stop=stop, since=time.monotonic())


def _code(error: BaseException | None) -> str:
    """The code that the server gave, "" where there is none or it is no plain word."""
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else ""


def _status(error: BaseException) -> int:
    return int((getattr(error, "response", None) or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _address(s3: Any) -> str:
    """Scheme, host and port of the server: the rest of an endpoint's URL may hold a password."""
    parts = urlsplit(s3.meta.endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

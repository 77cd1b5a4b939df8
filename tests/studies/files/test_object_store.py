"""S3 that is away, refuses or is not there: every error by its cause."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.studies import patience
from mmtuna.studies.files import bucket as s3_bucket
from mmtuna.studies.files.bucket import Bucket, S3Error, client, patiently, prove
from mmtuna.studies.spec.s3_location import parse_location
from tests.conftest import forget_client
from tests.s3 import KEY, SECRET, S3Server


def check_fails(location: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        prove(parse_location(location), "s")
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert SECRET not in message
    assert KEY not in message


def test_what_can_be_written_is_told_and_left_empty(location: str) -> None:
    prove(parse_location(location), "s")
    assert Bucket(parse_location(location)).keys("") == []


def test_a_bucket_that_is_not_there(location: str, s3_server: S3Server) -> None:
    check_fails("s3://no-such-bucket/x", f"there is no such bucket at {s3_server.url}; create it, or name another")
    with pytest.raises(S3Error, match="there is no such bucket"):
        list(Bucket(parse_location("s3://no-such-bucket")).chunks("x") or ())


def test_a_server_that_is_not_there(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_bucket, "_TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{SECRET.replace('/', '')}@127.0.0.1:9")
    forget_client()
    with pytest.raises(S3Error) as caught:
        prove(parse_location(location), "s")
    assert "http://127.0.0.1:9 does not answer when writing (EndpointConnectionError); start it" in str(caught.value)
    assert caught.value.passing
    assert SECRET.replace("/", "") not in str(caught.value)


def test_no_credentials(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_client()
    check_fails(location, "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use ~/.aws")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    forget_client()
    check_fails(location, "S3 is set up wrongly (PartialCredentialsError); check AWS_ACCESS_KEY_ID, AWS_PROFILE")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_client()
    check_fails(location, "S3 is set up wrongly (ProfileNotFound); check AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws")


REFUSALS = [
    ("PutObject", "AccessDenied", "access denied when writing; the credentials in use need s3:GetObject, "),
    ("GetObject", "AccessDenied", "access denied when reading"),
    ("ListObjectsV2", "AccessDenied", "access denied when listing"),
    ("DeleteObject", "AccessDenied", "access denied when deleting"),
    ("PutObject", "InvalidAccessKeyId", "does not accept the credentials (InvalidAccessKeyId); renew them"),
    ("PutObject", "SignatureDoesNotMatch", "does not accept the credentials (SignatureDoesNotMatch)"),
    ("PutObject", "InternalError", "answers InternalError when writing"),
    ("PutObject", f"Odd {SECRET}", "ClientError when writing"),
]


def test_what_the_server_refuses(location: str) -> None:
    from botocore.exceptions import ClientError

    refused = ("", "")

    def refuse(model: Any, **_: Any) -> None:
        operation, code = refused
        error = {"Code": code, "Message": f"{KEY} {SECRET}", "AWSAccessKeyId": KEY, "StringToSign": SECRET}
        if model.name == operation:
            raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 500}}, operation)

    client().meta.events.register("before-call.s3", refuse)
    for operation, code, expected in REFUSALS:
        refused = (operation, code)
        check_fails(location, expected)


def test_boto3_is_missing(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_boto3(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "boto3":
            raise ImportError(name)
        return real(name, *rest)

    forget_client()
    monkeypatch.setattr(builtins, "__import__", without_boto3)
    check_fails(location, "[study] artifacts: boto3 is not installed: pip install 'mmtuna[s3]'")


def test_no_url(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost")
    forget_client()
    check_fails(location, "AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) is no URL; give one such as https://HOST")


def test_an_s3_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(s3_bucket, "_FIRST_PAUSE", 0.01)
    answers: list[Any] = [S3Error("away", passing=True), S3Error("away", passing=True), "there"]

    def call() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(call, 60, threading.Event()) == "there"
    answers = [S3Error("denied"), "there"]
    with pytest.raises(S3Error, match="denied"):
        patiently(call, 60, threading.Event())
    answers = 100 * [S3Error("away", passing=True)]
    with pytest.raises(S3Error, match="away"):
        patiently(call, 0.05, threading.Event())
    monkeypatch.setattr(patience, "STOPPING_SECONDS", 0.05)
    stop = threading.Event()
    stop.set()
    with pytest.raises(S3Error, match="away"):
        patiently(call, 60, stop)

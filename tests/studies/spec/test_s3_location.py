"""Where in S3 a study's files lie, as the spec says it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec import StudySpec
from tests.s3 import KEY, SECRET


@pytest.mark.parametrize("text", ["s3://abc", "s3://a.b-c/x/y", "s3://abc/x/"])
def test_locations(spec_of: Callable[..., StudySpec], text: str) -> None:
    spec = spec_of(f'artifacts = "{text}"')
    assert spec.study.artifacts == text.rstrip("/")
    assert "artifacts" not in json.dumps(spec.describe())
    assert spec_of().study.artifacts is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bucket/prefix", "[study] artifacts is wrong: give s3://BUCKET or s3://BUCKET/PREFIX"),
        ("https://bucket.s3.amazonaws.com", "give s3://BUCKET"),
        ("s3://ab", "no bucket can be called 'ab': 3 to 63 lower-case letters"),
        ("s3://Upper", "no bucket can be called"),
        ("s3://a..b", "no bucket can be called"),
        ("s3://-abc", "no bucket can be called"),
        ("s3://192.168.0.1/x", "no bucket can be called"),
        ("s3://" + "a" * 64, "no bucket can be called"),
        ("s3://bucket/a//b", "the prefix 'a//b' is none"),
        ("s3://bucket/../b", "the prefix '../b' is none"),
        ("s3://bucket/a b", "the prefix 'a b' is none"),
        ("s3://bucket/" + "a" * 201, "up to 200 characters"),
        (f"s3://{KEY}:{SECRET}@bucket/x", "give s3://BUCKET or s3://BUCKET/PREFIX without host or credentials"),
        ("s3://host:9000/bucket", "AWS_ENDPOINT_URL_S3 names a server"),
    ],
)
def test_wrong_locations(spec_of: Callable[..., StudySpec], text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        spec_of(f'artifacts = "{text}"')
    assert expected in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)

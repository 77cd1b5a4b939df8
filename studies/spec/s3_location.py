"""Where in S3 a study keeps its files: s3://BUCKET or s3://BUCKET/PREFIX, checked without the network."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmtuna.spaces.errors import InputError

SCHEME = "s3://"
_FORM = "s3://BUCKET or s3://BUCKET/PREFIX"
# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}")
# The characters that S3 calls safe in a key.
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(?:/[A-Za-z0-9!_.*'()-]+)*")
_LONGEST_PREFIX = 200  # a key has 1,024 bytes, and a trial's own files need the rest


@dataclass(frozen=True)
class Location:
    """A bucket and the prefix of all keys in it, which is empty or has no slash at its ends."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, *parts: str) -> str:
        """The key of `parts` below the prefix."""
        return "/".join([self.prefix, *parts] if self.prefix else parts)


def parse_location(text: str) -> Location:
    """The location that `text` names; InputError, which repeats no credentials, where it names none."""
    rest = text.removeprefix(SCHEME)
    bucket, _, prefix = rest.partition("/")
    if "@" in text or ":" in bucket:
        raise InputError(
            f"give {_FORM} without host or credentials: AWS_ENDPOINT_URL_S3 names a server, and credentials belong in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws or in a role"
        )
    if rest == text:
        raise InputError(f"give {_FORM}")
    if not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket):
        raise InputError(
            f"no bucket can be called {bucket[:80]!r}: 3 to 63 lower-case letters, digits, hyphens and single dots, "
            "with a letter or digit at both ends"
        )
    prefix = prefix.rstrip("/")
    dotted = any(part in (".", "..") for part in prefix.split("/"))
    if prefix and (not _PREFIX.fullmatch(prefix) or dotted or len(prefix) > _LONGEST_PREFIX):
        raise InputError(
            f"the prefix {prefix[:80]!r} is none: take letters, digits and !_.*'()- with single slashes between, up to "
            f"{_LONGEST_PREFIX} characters"
        )
    return Location(bucket, prefix)

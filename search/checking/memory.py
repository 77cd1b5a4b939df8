"""What a command found out and the next one need not ask again: small files in the cache.

Each is named by all that the answer depends on, the versions of what is installed and mmtuna's own code among it. A
file that is missing, damaged or cannot be written costs the question once more, and no error.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmtuna.objectives
import mmtuna.search
import mmtuna.spaces
import mmtuna.studies
from mmtuna.objectives.weights import cache_folder
from mmtuna.search.versions import versions
from mmtuna.spaces.files import write_whole


def place_of(kind: str, *question: Any) -> Path:
    """Where the answer to such a question is kept; `kind` is the folder, the question what JSON can hold."""
    content = json.dumps([question, versions(), _own_code()], sort_keys=True, default=str)
    return cache_folder() / kind / hashlib.sha256(content.encode()).hexdigest()


def recall(place: Path) -> Any:
    """What is kept at the place, None where there is nothing that can be read."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep(place: Path, answer: Any) -> None:
    """Keeps an answer, which JSON can hold, where the cache can be written."""
    try:
        write_whole(place, json.dumps(answer))
    except OSError:
        return


def once(kind: str, question: Any, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `ask` answers, or did before; what it raises is not kept. The answer as JSON gives it back: lists for
    tuples."""
    place = place_of(kind, question)
    known = recall(place)
    if isinstance(known, dict):
        return known
    answer = ask()
    keep(place, answer)
    return answer


@functools.cache
def _own_code() -> str:
    """Tells one state of mmtuna's own modules from another: a checkout changes under the same version."""
    rooms = [*mmtuna.__path__]
    for room in (mmtuna.spaces, mmtuna.objectives, mmtuna.studies, mmtuna.search):
        rooms += room.__path__
    files = sorted({file for room in rooms for file in Path(room).rglob("*.py")})
    stats = [(str(file), status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()

"""A config as a Python file: what `tools/train.py` reads."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

from mmtuna.objectives.config.inheritance import read_plain
from mmtuna.spaces.files import write_whole


def config_text(cfg: dict[str, Any], header: str = "") -> str:
    """`cfg` as Python source, one assignment a key, with `header` as a comment on top."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    body = (f"{key} = {pprint.pformat(value, width=110, sort_dicts=False)}\n" for key, value in cfg.items())
    return comment + "".join(body)


def write_config(cfg: dict[str, Any], path: Path, header: str = "") -> None:
    """Writes `cfg` to `path`, whole or not at all."""
    write_whole(path, config_text(cfg, header))


def read_config(path: Path) -> dict[str, Any]:
    """Reads back what `write_config` wrote: values only, nothing is run; InputError for anything else in it."""
    return read_plain(path)

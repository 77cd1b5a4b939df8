"""`mmtuna init`: a commented study.toml, from a folder of images and masks or from an MMSegmentation config."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives.trial_files import StudyFolder
from mmtuna.search.proposals.config import propose_from_config
from mmtuna.search.proposals.folder import propose_from_folder
from mmtuna.search.proposals.named import check_named
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.files import write_whole
from mmtuna.spaces.presets import PRESETS
from mmtuna.studies.spec.fields import check_field, parse_value
from mmtuna.studies.spec.template import write_commented

_TABLES = ("study", "data", "model", "space", "train", "limits", "resources")


def init(
    folder: Path,
    root: Path | None,
    classes: Sequence[str],
    preset: str | None,
    config: Path | None = None,
    *,
    trust_code: bool = False,
    changes: Sequence[str] = (),
) -> None:
    """Writes DIR/study.toml, and says what it took and why; `changes` are TABLE.FIELD=VALUE, before all proposed."""
    if preset is not None and preset not in PRESETS:
        raise InputError(f"--preset {preset} is unknown; use {' or '.join(PRESETS)}")
    path = folder / "study.toml"
    if path.exists():
        raise InputError(f"{path}: exists already; remove it, or give another folder")
    own = _changes(changes)
    settled = own.get("data", {})
    if classes and list(classes) != settled.get("classes", list(classes)):
        raise InputError("--classes and --set data.classes name other classes; give one of them")
    if config is not None and preset is not None:
        raise InputError(
            "--preset is for --data: a config's space is written around its own values; edit [space] there"
        )
    if config is not None:
        proposal = propose_from_config(config, folder, root=root, classes=classes, trust_code=trust_code, given=settled)
    elif root is not None:
        proposal = propose_from_folder(root, classes=classes, preset=preset or "paper", given=settled)
    else:
        raise InputError("init: give --data ROOT, the folder of the data, or --config CONFIG, an MMSegmentation config")
    tables = {name: proposal.tables.get(name, {}) | own.get(name, {}) for name in _TABLES}
    data = tables["data"]
    check_named(data, settled)
    places = {key: data.get(key, key) for key in ("images", "masks")}
    among = StudyFolder(folder).lies_among(Path(data["root"]), places)
    if among is not None and "folder" not in tables["study"]:
        tables["study"]["folder"] = apart = str(among[1].parent / "runs" / folder.resolve().name)
        proposal.said.append(f"study: folder {apart}, not among the images, where what trials write would be data")
    write_commented(path, data_root=data.pop("root"), classes=data.pop("classes"), values=tables)
    for file, names in proposal.lists.items():
        write_whole(file, "".join(f"{name}\n" for name in names))
    for line in proposal.said:
        print(line)
    print(f"{path}; next: mmtuna check {shlex.quote(str(path))}")


def _changes(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The tables that `--set TABLE.FIELD=VALUE` names; a VALUE that is no TOML is text."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        table, dot, name = key.strip().partition(".")
        if not equals or not dot or not name:
            raise InputError(f"--set {text}: give TABLE.FIELD=VALUE, such as study.trials=50")
        if table not in _TABLES:
            near = difflib.get_close_matches(table, _TABLES, n=1)
            known = near[0] if near else ", ".join(_TABLES)
            raise InputError(f"--set {text}: there is no table [{table}]; use {known}")
        found.setdefault(table, {})[name] = given = parse_value(value.strip())
        try:
            check_field(table, name, given)
        except InputError as error:
            raise InputError(f"--set {text}: {error}") from None
    return found

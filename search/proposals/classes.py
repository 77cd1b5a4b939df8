"""Which classes there are, by what the masks of a folder hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmtuna.objectives.data.dataset import Code, some
from mmtuna.objectives.data.reading import held_codes, strict_decoders
from mmtuna.objectives.data.split import CLASS_LIST
from mmtuna.objectives.predict import BadImageError
from mmtuna.search.proposals.places import file_in
from mmtuna.search.proposals.proposal import Proposal
from mmtuna.search.proposals.smoothing import FEWEST, look_smoothed
from mmtuna.spaces.errors import InputError

_READ = 2000
"""Masks that are read at most, evenly spread."""
_LOOKED_AT = 20
"""Masks whose borders are looked at, at most."""
_SHOWN = 8
"""Values or colours that a line names at most."""
_LISTS = (CLASS_LIST, "labels.txt")
_ADE = ("ADE_train_", "ADE_val_")
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_BLACK = "#000000"
_ONE = "#010101"
"""The colour of 1 in a grey mask, which nobody draws."""


Held = Mapping[str, Mapping[Code, int]]
"""Mask file, relative to the root -> the pixels of each value or colour that it holds."""


def propose_classes(
    root: Path, held: Held, named: Sequence[str], given: Mapping[str, Any], proposal: Proposal, *, whole: bool = True
) -> dict[str, Any]:
    """Fields of `[data]` that say what the masks hold: classes, and values or reduce_zero_label where these are needed.

    Args:
        named: names of the classes, where a person gave them; else those of classes.txt or labels.txt in `root`.
        given: fields of `[data]` that a person has settled.
        whole: whether `held` is of all masks; a class that is in none is refused then, as check refuses it, else told.

    Raises InputError where it is ambiguous, with the options that decide.
    """
    where = ""
    if not named:
        listed = next((place for name in _LISTS if (place := file_in(root, name))), None)
        named = _lines(root / listed) if listed is not None else []
        where = f" ({listed} names {len(named)})" if named else ""
        proposal.said += [f"classes: their names are those in {listed}"] if named else []
    found = _what_masks_hold(root, held, named, given, proposal)
    absent = _absent(held, {**given, **found})
    if absent and not whole:
        proposal.said.append(
            f"classes: {some(absent)} in none of the {len(held)} masks that were read; check reads all"
        )
    elif absent:
        raise InputError(
            f"{root}: class {some(absent)} in none of the {len(held)} masks{where}; name only those that masks hold, "
            "or say what each class is there with --set data.values=[...]"
        )
    return found


def _what_masks_hold(
    root: Path, held: Held, named: Sequence[str], given: Mapping[str, Any], proposal: Proposal
) -> dict[str, Any]:
    if {"values", "reduce_zero_label", "ignore_index"} & set(given):
        return {"classes": list(named) or _settled_names(held, given)}
    codes = sorted({code for found in held.values() for code in found}, key=str)
    if len(named) != len(codes):
        _refuse_smoothed(root, held, codes)
    if any(isinstance(code, str) for code in codes):
        _refuse_numbers_among_colours(root, held)
        return _of_colours(root, [str(code) for code in codes], named, proposal)
    return _of_values(root, held, sorted(int(code) for code in codes), named, proposal)


def _absent(held: Held, data: Mapping[str, Any]) -> list[str]:
    """The classes, number and name, that no mask holds, by what the fields of `[data]` say of them."""
    codes = {code for found in held.values() for code in found}
    first = 1 if data.get("reduce_zero_label") else 0
    means = data.get("values") or range(first, first + len(data["classes"]))
    listed = [code if isinstance(code, list | tuple) else [code] for code in means]
    if {isinstance(code, str) for code in codes} != {isinstance(code, str) for of_class in listed for code in of_class}:
        return []  # a person's colours of palettes that were read by their indices, which check reads anew
    shown = {str(code) for code in codes}
    return [
        f"{number} ({name})"
        for number, (name, of_class) in enumerate(zip(data["classes"], listed, strict=False))  # the spec counts them
        if shown.isdisjoint(str(code).lower() for code in of_class)
    ]


def _lines(path: Path) -> list[str]:
    """The names in a list of classes; lines that begin with # are remarks, unless they are a colour."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a class a line, or --classes a,b,...") from None
    return [line for line in lines if line and (not line.startswith("#") or _COLOUR.fullmatch(line))]


def read_held(root: Path, masks: Sequence[str], proposal: Proposal) -> Held:
    """What each of these files, relative to `root`, holds, of `_READ` at most; InputError for one that is no mask.

    Masks with palettes hold the values, unless one value has several colours: then they hold the colours. So do grey
    masks and palettes among RGB masks, as a study whose values are colours reads them.
    """
    chosen = masks[:: -(-len(masks) // _READ)]
    found = _codes_of(root, chosen)
    valued = [file for file, (codes, _) in found.items() if not any(isinstance(code, str) for code in codes)]
    if len(valued) < len(found):
        if valued:
            proposal.said.append(
                f"classes: {len(found) - len(valued)} of {len(found)} masks are RGB, so the colours of the others "
                f"count too ({some(valued)})"
            )
            found |= _codes_of(root, valued, in_colour=True)
        return {file: codes for file, (codes, _) in found.items()}
    colours = {pair for _, palette in found.values() for pair in palette.items()}
    if len(colours) == len({value for value, _ in colours}):
        return {file: codes for file, (codes, _) in found.items()}
    if not all(set(codes) <= set(palette) for codes, palette in found.values()):
        raise InputError(f"{root}: the masks' palettes give one value several colours, and some masks have no palette")
    proposal.said.append("classes: the masks' palettes differ from file to file, so their colours count")
    return {
        file: {palette[int(code)]: count for code, count in codes.items()} for file, (codes, palette) in found.items()
    }


def _codes_of(
    root: Path, files: Sequence[str], *, in_colour: bool = False
) -> dict[str, tuple[dict[Code, int], dict[int, str]]]:
    """`held_codes` of each file; InputError for one that is no mask."""

    def look(file: str) -> tuple[dict[Code, int], dict[int, str]]:
        try:
            return held_codes((root / file).read_bytes(), in_colour=in_colour)
        except (BadImageError, OSError) as error:
            raise InputError(f"{root / file}: {error}") from None
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            raise InputError(f"{root / file}: cannot be decoded ({error}); copy or export the file again") from None

    with strict_decoders(), ThreadPoolExecutor(max(4, os.cpu_count() or 4)) as pool:
        return dict(zip(files, pool.map(look, files), strict=True))


def _settled_names(held: Held, given: Mapping[str, Any]) -> list[str]:
    """Names for the classes that a person's own fields make."""
    if given.get("values") is not None:
        return _names(list(range(len(given["values"]))))
    first, ignored = (1 if given.get("reduce_zero_label") else 0), given.get("ignore_index", 255)
    values = [int(code) for found in held.values() for code in found if isinstance(code, int) and code != ignored]
    return _names(list(range(first, max(values, default=first) + 1)), background=not first)


def _names(values: Sequence[int], *, background: bool = True) -> list[str]:
    if background and len(values) == 2:
        return ["background", "foreground"]
    return [("background" if background and not place else f"class {value}") for place, value in enumerate(values)]


def _refuse_smoothed(root: Path, held: Held, codes: Sequence[Code]) -> None:
    """Greys between the classes are no classes, though nothing but where they lie tells."""
    if len(codes) < FEWEST:
        return
    looked_at = list(held)[:: -(-len(held) // _LOOKED_AT)]
    in_colour = any(isinstance(code, str) for code in codes)
    with strict_decoders():
        smoothed = look_smoothed(((root / file).read_bytes() for file in looked_at), in_colour=in_colour)
    if smoothed:
        ordered = sorted(codes, key=lambda code: (isinstance(code, str), code))
        raise InputError(
            f"{root}: {len(held)} masks hold {_shown(ordered)}, most of them along borders or as noise alone, so they "
            "look interpolated; threshold them, or resize by nearest neighbour; for classes all the same give "
            "--set data.values=[...]"
        )


def _shown(codes: Sequence[Code]) -> str:
    more = f", ... ({len(codes)} values)" if len(codes) > _SHOWN else ""
    return ", ".join(map(str, codes[:_SHOWN])) + more


def _listed(values: Sequence[int]) -> str:
    """As a person would give them; of many, the ends."""
    return str(list(values)) if len(values) <= _SHOWN else f"[{values[0]}, {values[1]}, ..., {values[-1]}]"


def _of_colours(root: Path, colours: list[str], named: Sequence[str], proposal: Proposal) -> dict[str, Any]:
    ordered = sorted(colours, key=lambda colour: (colour != _BLACK, colour))
    if len(ordered) < 2:
        raise InputError(f"{root}: all masks are of one colour, {ordered[0]}; there is nothing to tell apart")
    names = list(named) or ["background" if colour == _BLACK else colour for colour in ordered]
    if not named and len(names) == 2 and ordered[0] == _BLACK:
        names[1] = "foreground"
    if len(names) != len(ordered):
        shown = ", ".join(ordered[:_SHOWN])
        raise InputError(
            f"{root}: the masks hold {len(ordered)} colours ({shown}) and {len(names)} classes are named; say which is "
            f"which with --set 'data.values=[\"{ordered[0]}\", ...]', in the order of the classes"
        )
    proposal.said.append(f"classes: {_told(names)}, by the colours of the masks, {', '.join(ordered[:_SHOWN])}")
    rgb = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in ordered]
    return {"classes": names, "values": ordered, "palette": rgb}


def _of_values(root: Path, held: Held, values: list[int], named: Sequence[str], proposal: Proposal) -> dict[str, Any]:
    counted = [value for value in values if value != 255]
    read = f"{len(held)} masks hold {_shown(values)}"
    if values == [0, 255]:
        names = list(named) or ["background", "foreground"]
        proposal.said.append(f"classes: {_told(names)}; {read}, so 255 is the second class")
        return _checked(root, names, [0, 255], read)
    if len(counted) < 2:
        raise InputError(f"{root}: {read}, so there are no two classes to tell apart; is this the folder of the masks?")
    _refuse_two_codings(root, held, read)
    ignored = ", 255 is ignored" if 255 in values else ""
    if counted == list(range(len(counted))):
        return _of_indices(root, held, len(counted), named, f"{read}{ignored}", proposal)
    if counted == list(range(1, len(counted) + 1)) and len(named) in (0, len(counted)):
        names = list(named) or _names(counted, background=False)
        proposal.said.append(f"classes: {_told(names)}; {read}, so classes begin at 1 and 0 is ignored")
        return {"classes": names, "reduce_zero_label": True}
    if named and counted[-1] < len(named):
        proposal.said.append(f"classes: {_told(named)}; {read}{ignored}")
        return {"classes": list(named)}
    if 255 in values and len(named) != len(counted):
        raise InputError(
            f"{root}: {read}, and 255 may be a class or ignored; say which with --set 'data.values={_listed(values)}' "
            f"or --set 'data.values={_listed(counted)}'"
        )
    names = list(named) or _names(counted, background=0 in counted)
    proposal.said.append(f"classes: {_told(names)}; {read}, one a class{ignored}")
    return _checked(root, names, counted, read)


def _of_indices(
    root: Path,
    held: Held,
    count: int,
    named: Sequence[str],
    read: str,
    proposal: Proposal,
) -> dict[str, Any]:
    """Masks of 0, 1, ...: 0 is a class, unless names or files show that it means unlabelled."""
    of_ade = all(Path(file).name.startswith(_ADE) for file in held)
    if len(named) == count - 1 >= 2 or (of_ade and len(named) != count and count > 2):
        names = list(named) or _names(list(range(1, count)), background=False)
        why = "the files are ADE20K's" if of_ade else f"{len(names)} classes are named"
        if len(names) < count - 1:
            raise InputError(f"{root}: {read}, and {len(names)} classes are named; name {count - 1}")
        proposal.said.append(f"classes: {_told(names)}; {read}, and {why}, so 0 is ignored (reduce_zero_label)")
        return {"classes": names, "reduce_zero_label": True}
    names = list(named) or _names(list(range(count)))
    if len(names) < count:
        raise InputError(
            f"{root}: {read}, and {len(names)} classes are named; name {count}, or {count - 1} to ignore 0"
        )
    zero = "; 0 is taken as a class, where it means unlabelled: --set data.reduce_zero_label=true" if count > 2 else ""
    proposal.said.append(f"classes: {_told(names)}; {read}{zero}")
    return {"classes": names}


def _refuse_two_codings(root: Path, held: Held, read: str) -> None:
    """Some masks of 0/255 among masks of 0/1: nothing tells whether 255 is the class or ignored there."""
    coded = [file for file, found in held.items() if set(found) == {0, 255}]
    plain = [file for file, found in held.items() if 1 in found]
    if coded and plain and not any(255 in held[file] for file in plain) and all(set(held[f]) <= {0, 1} for f in plain):
        raise InputError(
            f"{root}: {read}, but {len(coded)} of them 0 and 255 alone ({coded[0]}); say what 255 is there with "
            "--set 'data.values=[0, [1, 255]]' or, if it is ignored, --set 'data.values=[0, 1]'"
        )


def _refuse_numbers_among_colours(root: Path, held: Held) -> None:
    """Some grey masks of 0, 1, ... among coloured ones: nothing tells which colour each number is."""
    numbered = [file for file, found in held.items() if _ONE in found]
    if numbered:
        raise InputError(
            f"{root}: {len(numbered)} masks hold the value 1 ({some(numbered)}) where others hold colours; say which "
            f'colour that is with --set \'data.values=["{_BLACK}", ["#ffffff", "{_ONE}"]]\''
        )


def _checked(root: Path, names: list[str], values: list[int], read: str) -> dict[str, Any]:
    if len(names) != len(values):
        raise InputError(
            f"{root}: {read}, and {len(names)} classes are named; name {len(values)}, or say what each holds with "
            "--set data.values=[...]"
        )
    return {"classes": names, "values": values}


def _told(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more

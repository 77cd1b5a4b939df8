"""Which files of a folder are images, and which are their masks: by names, and by what a few of them hold."""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mmtuna.objectives.data.dataset import MASK_EXTENSIONS, before_star, mask_name, walk
from mmtuna.objectives.predict import SUFFIXES
from mmtuna.search.proposals.places import side_of
from mmtuna.spaces.errors import InputError

_DEPTH = 4
"""Folders below the root that may be an image folder or a mask folder."""
_PLACES = 100
"""Of these the ones with the most files: one with few cannot hold the most pairs."""
_SAMPLED = 40
"""Names by which two folders are compared, before the best are compared by all."""
_LOOKED_AT = 3
_TOLD = 3
"""Pairs of further folders that are told at most."""
_SEPARATORS = re.compile(r"[._-]")
_OF_MASKS = re.compile(r"(^|[/_. -])gt|mask|label|annot|ann_dir|truth|segm|manual|trainids")
_BESIDE = re.compile("colou?r|instance|object|overlay|vis|depth|prob|pred|edge|boundar|contour|polygon")
"""Words of pictures of masks, and of other things that are drawn beside them."""


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """`[data] images`, `masks` and both suffixes, and the names of the images that have a mask by them."""

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    names: tuple[str, ...]

    def fields(self) -> dict[str, str]:
        """As `[data]` has them."""
        return {name: getattr(self, name) for name in ("images", "masks", "image_suffix", "mask_suffix")}

    def image(self, name: str) -> str:
        """The image's file, relative to the root."""
        return f"{before_star(self.images)}/{name}{self.image_suffix}"

    def mask(self, name: str) -> str:
        """The mask's file, relative to the root."""
        return f"{mask_name(name, self.images, self.masks)}{self.mask_suffix}"


def find_pairing(root: Path, given: Mapping[str, object]) -> tuple[Pairing, list[Pairing]]:
    """The image folder and the mask folder under `root` with the most pairs of one name, and what is left out by them.

    `given` are fields of `[data]` that a person has settled. Raises InputError where no image has a mask, or where
    several are equally good or each of another side, with the options that decide.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the data set's root folder")
    files = [file for file in walk(root) if PurePosixPath(file).suffix.lower() in MASK_EXTENSIONS]
    everything = list(_candidates(_places(files)))
    found = [pair for pair in everything if all(given.get(k, v) == v for k, v in pair.fields().items())]
    if not found:
        raise InputError(
            f"{root}: none of its {len(files)} image files has a mask of the same name beside it or in another folder; "
            "name both the same, such as images/a.jpg and masks/a.png"
        )
    best = _best(root, found)
    if len(best) > 1:
        raise InputError(f"{root}: {_several(best)}")
    left_out = _left_out(root, best[0], everything)
    if not {"images", "masks"} & set(given):
        sides = [pair for pair in left_out if _are_of_two_sides(best[0], pair)]
        if sides:
            raise InputError(f"{root}: {_each_by_itself([*best, *sides])}")
    return best[0], left_out


def _best(root: Path, found: Sequence[Pairing]) -> list[Pairing]:
    """Those with the most pairs whose masks may well be masks."""
    most = max(len(pair.names) for pair in found)
    return _masks_alone(root, _shallowest([pair for pair in found if len(pair.names) == most]))


def _left_out(root: Path, chosen: Pairing, everything: Sequence[Pairing]) -> list[Pairing]:
    """Pairs of other files than the chosen ones, the most first.

    Those of the same names count where their folders are another side's; else they are pictures of the same masks.
    """
    names, taken = _last_parts(chosen), _files(chosen)
    left: list[Pairing] = []
    rest = [pair for pair in everything if _are_of_two_sides(chosen, pair) or names.isdisjoint(_last_parts(pair))]
    while len(left) < _TOLD and (rest := [pair for pair in rest if taken.isdisjoint(_files(pair))]):
        left.append(_best(root, rest)[0])
        taken |= _files(left[-1])
    return left


def _files(pair: Pairing) -> set[str]:
    return {_plain(file) for name in pair.names for file in (pair.image(name), pair.mask(name))}


def _last_parts(pair: Pairing) -> set[str]:
    return {name.rpartition("/")[2] for name in pair.names}


def _are_of_two_sides(one: Pairing, other: Pairing) -> bool:
    """Whether both are of one side in images and masks, and these are two: `train_images` and `val_images`."""
    a, b = ({side_of(place) for place in (pair.images, pair.masks)} for pair in (one, other))
    return len(a) == len(b) == 1 and a != b and None not in a | b


def _several(best: Sequence[Pairing]) -> str:
    """What is ambiguous, and the options that decide."""
    first = best[0]
    apart = [key for key, value in first.fields().items() if any(other.fields()[key] != value for other in best)]
    ways = f"say which with {_options(best, apart)}"
    count = len(first.names)
    if apart == ["image_suffix"] and len({name for pair in best for name in pair.names}) == count * len(best):
        suffixes = " and ".join(pair.image_suffix for pair in best)
        return f"images end in {suffixes}, {count} each, and a data set has one; save all as one, or {ways}"
    if {"images", "masks"} <= set(apart) and len(set().union(*map(_files, best))) == 2 * count * len(best):
        return _each_by_itself(best)
    if {"masks", "mask_suffix"} & set(apart):
        return f"{count} images have several masks each; {ways}"
    return f"{count} masks have several images each; {ways}"


def _each_by_itself(pairs: Sequence[Pairing]) -> str:
    """Pairs in folders of their own, which no `[data]` can say together, and what can be done."""
    shown = ", ".join(f"{pair.images} with {pair.masks} ({len(pair.names)} pairs)" for pair in pairs[:4])
    return (
        f"images lie in several folders, each with masks of its own: {shown}; a data set has one folder of each, so "
        f"{laid_out(pairs)}, or take one alone with {_options(pairs, ['images', 'masks'])}"
    )


def laid_out(pairs: Sequence[Pairing]) -> str:
    """How a person lays out files of several folders so that a study takes all."""
    sides = [side_of(pair.images) for pair in pairs[:3]]
    named = list("abc") if None in sides or len(set(sides)) < len(sides) else sides
    places = ", ".join(f"{kind}/{side}" for kind in ("images", "masks") for side in named[: len(pairs)])
    one = len({(pair.image_suffix, pair.mask_suffix) for pair in pairs}) == 1
    return f"lay all out as {places} (links do)" + ("" if one else ", with one suffix for images and one for masks")


def _options(pairs: Sequence[Pairing], keys: Sequence[str]) -> str:
    shown = (" ".join(f"--set data.{key}={pair.fields()[key]}" for key in keys) for pair in pairs[:4])
    return ", or ".join(shown)


Files = Mapping[str, Sequence[str]]
"""Folder, relative to a place -> the names of its files, sorted."""


def _places(files: Iterable[str]) -> dict[str, Files]:
    """Every folder that files lie in or below, and every pattern of folders with one `*`, with its files."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    stars: dict[str, set[str]] = defaultdict(set)
    for file in files:
        *above, name = file.split("/")
        for depth in range(min(len(above), _DEPTH) + 1):
            place = "/".join(above[:depth]) or "."
            found[place]["/".join(above[depth:])].append(name)
            for at in range(depth - 1):
                pattern = "/".join((*above[:at], "*", *above[at + 1 : depth]))
                stars[pattern].add(above[at])
                found[pattern]["/".join((above[at], *above[depth:]))].append(name)
    kept = {place: folders for place, folders in found.items() if "*" not in place or len(stars[place]) > 1}
    largest = sorted(kept, key=lambda place: -sum(map(len, kept[place].values())))[:_PLACES]
    return {place: {folder: sorted(names) for folder, names in kept[place].items()} for place in largest}


def _candidates(places: Mapping[str, Files]) -> Iterator[Pairing]:
    """Every way to take one place's files as images and another's as masks that gives the most pairs for the two."""
    for images, image_files in places.items():
        for suffix in _suffixes(image_files):
            listed = [
                (folder, name.removesuffix(suffix))
                for folder, names in image_files.items()
                for name in names
                if name.endswith(suffix) and name != suffix
            ]
            sample = listed[:: max(1, len(listed) // _SAMPLED)]
            for masks, mask_files in places.items():
                if ("*" in images) != ("*" in masks) or (images != masks and _nested(images, masks)):
                    continue
                own = suffix if images == masks else None
                for mask_suffix in _remainders(sample, mask_files, own):
                    pairs = [
                        f"{folder}/{name}" if folder else name
                        for folder, name in listed
                        if _holds(mask_files.get(folder, ()), f"{name}{mask_suffix}")
                    ]
                    names = tuple(_below_star(name, images) for name in sorted(pairs))
                    yield Pairing(images=images, masks=masks, image_suffix=suffix, mask_suffix=mask_suffix, names=names)


def _below_star(name: str, images: str) -> str:
    """A name as a data set has it, which starts before the `*`."""
    if "*" not in images:
        return name
    first, _, rest = name.partition("/")
    return f"{first}/{images.partition('*')[2].strip('/')}/{rest}"


def _nested(one: str, other: str) -> bool:
    a, b = (() if place == "." else PurePosixPath(place).parts for place in (one, other))
    return a[: len(b)] == b or b[: len(a)] == a


def _suffixes(files: Files) -> list[str]:
    """What the images of a place may end in: an extension alone, or with words before it that all of them share."""
    names = [name for listed in files.values() for name in listed]
    extensions = Counter(PurePosixPath(name).suffix for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES)
    found = []
    for extension, total in extensions.items():
        found.append(extension)
        endings = Counter(ending for name in names if name.endswith(extension) for ending in _endings(name, extension))
        found += [ending for ending, count in endings.items() if count > 1 and count >= 0.3 * total]
    return found


def _endings(name: str, extension: str) -> Iterator[str]:
    """The ends of a name that begin at a separator, its extension alone left out, up to three words of them."""
    stem = name.removesuffix(extension)
    at = [match.start() for match in _SEPARATORS.finditer(stem) if match.start()]
    yield from (name[start:] for start in at[-3:])


def _remainders(sample: Sequence[tuple[str, str]], files: Files, own: str | None) -> list[str]:
    """What follows the images' names in the names of a place's files, for at least half of the sample."""
    counts: Counter[str] = Counter()
    for folder, name in sample:
        listed = files.get(folder, ())
        for place in range(bisect.bisect_left(listed, name), len(listed)):
            if not listed[place].startswith(name):
                break
            rest = listed[place].removeprefix(name)
            if rest and _SEPARATORS.match(rest) and rest != own:
                counts[rest] += 1
    return [rest for rest, count in counts.items() if count >= max(1, len(sample) / 2)]


def _holds(names: Sequence[str], name: str) -> bool:
    at = bisect.bisect_left(names, name)
    return at < len(names) and names[at] == name


def _shallowest(pairs: Sequence[Pairing]) -> list[Pairing]:
    """Of folders within each other the outermost, of one for both the innermost; the shortest suffix of the images."""

    def rank(pair: Pairing) -> tuple[int, int]:
        depth = sum(len(PurePosixPath(place).parts) for place in (pair.images, pair.masks))
        return -depth if pair.images == pair.masks else depth, len(pair.image_suffix)

    groups: dict[tuple[str, ...], list[Pairing]] = defaultdict(list)
    for pair in pairs:
        groups[_plain(pair.image(pair.names[0])), _plain(pair.mask(pair.names[0]))].append(pair)
    kept: list[Pairing] = []
    for group in groups.values():
        least = min(map(rank, group))
        kept += [pair for pair in group if rank(pair) == least]
    return kept


def _plain(file: str) -> str:
    return PurePosixPath(file).as_posix()


def _masks_alone(root: Path, pairs: list[Pairing]) -> list[Pairing]:
    """Those whose masks are named so, hold less than their images, and are no pictures of masks; sorted."""
    held: dict[str, float] = {}  # by file

    def levels(path: str) -> float:
        if path not in held:
            held[path] = _levels(root / path)
        return held[path]

    def is_told(pair: Pairing) -> bool:
        names = pair.names[:: max(1, len(pair.names) // _LOOKED_AT)][:_LOOKED_AT]
        return sum(levels(pair.image(name)) for name in names) > sum(levels(pair.mask(name)) for name in names)

    for better in (_is_of_one_side, _is_named_so, is_told, _is_nothing_else, _is_of_cityscapes):
        pairs = [pair for pair in pairs if better(pair)] or pairs
    return sorted(pairs, key=lambda pair: tuple(pair.fields().values()))


def _is_of_one_side(pair: Pairing) -> bool:
    return side_of(pair.images) == side_of(pair.masks)


def _is_named_so(pair: Pairing) -> bool:
    """Whether the masks are named as masks, and the images are not."""
    images, masks = (f"{place}{suffix}".lower() for place, suffix in _ends(pair))
    return bool(_OF_MASKS.search(masks)) and not _OF_MASKS.search(images)


def _is_nothing_else(pair: Pairing) -> bool:
    return not any(_BESIDE.search(f"{place}{suffix}".lower()) for place, suffix in _ends(pair))


def _is_of_cityscapes(pair: Pairing) -> bool:
    """Cityscapes' own indices of classes, beside its masks of all its labels."""
    return "trainids" in pair.mask_suffix.lower()


def _ends(pair: Pairing) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.images, pair.image_suffix), (pair.masks, pair.mask_suffix)


def _levels(path: Path) -> float:
    """How many colours a file holds; infinite for what compression has altered or what cannot be read."""
    try:
        with Image.open(path) as image:
            if image.format in ("JPEG", "MPO"):
                return float("inf")
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        return float("inf")
    return float(len(np.unique(pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels.ravel(), axis=0)))

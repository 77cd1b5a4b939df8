"""How a spec says where images and masks lie: one folder of each for both sides, and what each side adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

Parts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Folders:
    """`[data] images` and `masks`, relative to the root, and the folder of each side within both ("" where shared).

    `images` and `masks` may hold a `*` in the place of that folder; `top` is where the images' names start.
    """

    images: str
    masks: str
    train: str
    val: str

    @property
    def top(self) -> str:
        return self.images.partition("*")[0].rstrip("/") or "." if "*" in self.images else self.images


def common_folders(train: tuple[str, str], val: tuple[str, str]) -> Folders | None:
    """The folders of two sides, each given as (images, masks) relative to the root; None where a spec cannot say it."""
    a, c, b, d = (PurePosixPath(folder).parts for folder in (*train, *val))
    return _with_the_same_end(a, c, b, d) or _with_one_apart(a, c, b, d)


def _with_the_same_end(a: Parts, c: Parts, b: Parts, d: Parts) -> Folders | None:
    """images/train and masks/train: what the sides add stands last, the same in both."""
    shared = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    for at in range(shared, -1, -1):
        tail, other = a[at:], b[at:]
        top, same = c[: len(c) - len(tail)], d[: len(d) - len(other)]
        if top == same and c[len(top) :] == tail and d[len(same) :] == other and bool(tail) == bool(other):
            return Folders(images=_joined(a[:at]), masks=_joined(top), train="/".join(tail), val="/".join(other))
    return None


def _with_one_apart(a: Parts, c: Parts, b: Parts, d: Parts) -> Folders | None:
    """train/images and train/masks: one folder along the way is the side's, the same in both."""
    apart = [_differing(a, b), _differing(c, d)]
    if (len(a), len(c)) != (len(b), len(d)) or any(len(places) != 1 for places in apart):
        return None
    (i,), (j,) = apart
    if (a[i], b[i]) != (c[j], d[j]) or a[-1] == a[i] or c[-1] == c[j]:
        return None
    images, masks = _joined((*a[:i], "*", *a[i + 1 :])), _joined((*c[:j], "*", *c[j + 1 :]))
    return Folders(images=images, masks=masks, train=a[i], val=b[i])


def _differing(one: Parts, other: Parts) -> list[int]:
    return [at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y]


def _joined(parts: Sequence[str]) -> str:
    return "/".join(parts) or "."


def relative_names(files: Sequence[str], top: Path, suffix: str) -> tuple[str, ...] | None:
    """Paths as names relative to `top` without `suffix`; None where one lies elsewhere or ends otherwise."""
    names = []
    for file in files:
        if not file.endswith(suffix) or not Path(file).is_relative_to(top):
            return None
        names.append(Path(file).relative_to(top).as_posix().removesuffix(suffix))
    return tuple(names)

"""The test images that a config declares, as far as a study can set them aside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmtuna.objectives.data.dataset import mask_name, some
from mmtuna.objectives.declared import Declared
from mmtuna.search.proposals.classes import read_held
from mmtuna.search.proposals.layout import Folders, relative_names
from mmtuna.search.proposals.proposal import Proposal
from mmtuna.spaces.errors import InputError

_ALIKE = ("image_suffix", "mask_suffix", "classes", "reduce_zero_label", "ignore_index", "label_map")


def held_out(
    test: Declared, sides: Mapping[str, Declared], root: Path, folders: Folders, names: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Names of the test images; () where they are those that validate.

    Args:
        sides: what the config declares for "train" and "val".
        root: of the data, with `folders` below it.
        names: the images of "train" and "val".

    Raises InputError where `[data] test` cannot take them, with the reason alone.
    """
    if set(test.pairs) == set(sides["val"].pairs):
        return ()
    other = next((field for field in _ALIKE if getattr(test, field) != getattr(sides["train"], field)), None)
    if other is not None:
        raise InputError(f"its {other} is not that of training")
    found = relative_names([image for image, _ in test.pairs], root / folders.top, test.image_suffix)
    if not found:
        raise InputError(f"it has no images in {root / folders.top}")
    _check_files(test, root, folders, found)
    seen = [name for name in found if name in {*names["train"], *names["val"]}]
    if seen:
        raise InputError(f"{len(seen)} of its {len(found)} images train or validate too ({some(seen)})")
    _check_masks(test, root)
    return found


def _check_files(test: Declared, root: Path, folders: Folders, names: Sequence[str]) -> None:
    """Each image must be there, and its mask where those of the other sides are."""
    for name, (_, mask) in zip(names, test.pairs, strict=True):
        sought = root / f"{mask_name(name, folders.images, folders.masks)}{test.mask_suffix}"
        if not mask or os.path.normpath(mask) != os.path.normpath(sought):
            raise InputError(f"its masks do not lie in {folders.masks} by their images' names ({name})")
    lacking = [name for name, pair in zip(names, test.pairs, strict=True) if not all(map(os.path.isfile, pair))]
    if lacking:
        raise InputError(f"{len(lacking)} of its {len(names)} images or their masks are not there ({some(lacking)})")


def _check_masks(test: Declared, root: Path) -> None:
    """Masks of one value, as where the truth is kept back, measure nothing; check refuses them."""
    held = read_held(root, [os.path.relpath(mask, root) for _, mask in test.pairs], Proposal())
    codes = {code for found in held.values() for code in found}
    counted = codes - {test.ignore_index} - ({0} if test.reduce_zero_label else set())
    if len(counted) < 2:
        raise InputError(f"its masks hold {', '.join(map(str, sorted(codes, key=str)))} alone")

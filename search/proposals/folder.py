"""A spec's tables from a folder of images and masks: what lies where, which side it is on, what the masks hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtuna.objectives import predict
from mmtuna.objectives.data.dataset import Dataset, some, walk
from mmtuna.objectives.data.reading import strict_decoders
from mmtuna.objectives.data.split import Split, by_image, by_subject, listed, published
from mmtuna.search.proposals.classes import Held, propose_classes, read_held
from mmtuna.search.proposals.pairing import Pairing, find_pairing, laid_out
from mmtuna.search.proposals.places import TEST, TRAIN, VAL, file_in
from mmtuna.search.proposals.proposal import Proposal
from mmtuna.spaces.errors import InputError
from mmtuna.studies.spec.tables import plain_folder

_SUBJECTS = "subjects.csv"
_SAMPLED = 20
_SEEDS = 50
_ASIDE = "--set data.split=random"
_WAYS = f"--set data.split=folders --set data.train=TRAIN --set data.val=VAL, or {_ASIDE}"


def propose_from_folder(
    root: Path, *, classes: Sequence[str] = (), preset: str = "paper", given: Mapping[str, Any] | None = None
) -> Proposal:
    """The tables for the data in `root`, by what lies there.

    Args:
        classes: names, where they are known; those in `given` come before them.
        given: fields of `[data]` that a person has settled; nothing else is proposed for them.

    Raises InputError, in one line, where no masks are found or several readings are equally good, with the options
    that decide.
    """
    given, proposal = _plain(given or {}), Proposal()
    pairing, left_out = find_pairing(root, given)
    data: dict[str, Any] = {"root": str(root.resolve()), **pairing.fields()}
    proposal.said.append(
        f"data: {len(pairing.names)} pairs of one name, images in {pairing.images} (*{pairing.image_suffix}), masks in "
        f"{pairing.masks} (*{pairing.mask_suffix})"
    )
    for other in left_out:
        proposal.said.append(
            f"data: {len(other.names)} pairs are left out, images in {other.images} (*{other.image_suffix}), masks in "
            f"{other.masks} (*{other.mask_suffix}); to take them too {laid_out([pairing, other])}"
        )
    data |= _split(root, pairing, given, proposal)
    _tell_of_the_unpaired(root, pairing, data | dict(given), proposal)
    _leave_out_subjects(root, pairing, data, given, proposal)
    masks = [pairing.mask(name) for name in _on_a_side(pairing, data | dict(given))]
    held = read_held(root, masks, proposal)
    _leave_out_blank_test(root, pairing, data, held, proposal)
    data |= propose_classes(root, held, given.get("classes", classes), given, proposal, whole=len(held) == len(masks))
    data |= _rule(root, pairing, given, proposal)
    data |= _split_seed(root, pairing, held, data | dict(given), proposal)
    proposal.tables |= {"data": data, "space": {"preset": preset}}
    return proposal


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a person settled, with `train/` and `./train` as `train` wherever a field names a folder."""
    folders = ("images", "masks", *(("train", "val", "test") if given.get("split") == "folders" else ()))
    return {
        name: plain_folder(value) if name in folders and isinstance(value, str) else value
        for name, value in given.items()
    }


def _split(root: Path, pairing: Pairing, given: Mapping[str, Any], proposal: Proposal) -> dict[str, Any]:
    """Subjects, and the sides: lists before folders before subjects before chance."""
    subjects = given.get("subjects", file_in(root, _SUBJECTS))
    found: dict[str, Any] = {"subjects": subjects} if subjects is not None else {}
    if {"split", "train", "val"} & set(given):
        return found
    lists, fault = _lists(root, pairing)
    if lists is not None:
        proposal.said.append(f"split: lists {lists['train']} and {lists['val']}")
        return {**found, "split": "lists", **lists, **_listed_test(root, pairing, lists, given, proposal)}
    folders = _folders(root, pairing)
    if folders is not None:
        train, val = (sum(name.startswith(f"{folder}/") for name in pairing.names) for folder in folders)
        proposal.said.append(f"split: folders {folders[0]} ({train} images) and {folders[1]} ({val})")
        proposal.said += [f"split: lists are left aside, {fault}"] if fault else []
        sides = {"split": "folders", "train": folders[0], "val": folders[1]}
        return {**found, **sides, **_test_folder(root, pairing, given, proposal)}
    if fault:
        raise InputError(f"{fault}; or leave the lists aside with {_ASIDE}")
    if found:
        proposal.said.append(f"split: by subject, as {subjects} names them; a fifth validates")
        return {**found, "split": "subject"}
    proposal.said.append(
        "split: by chance, a fifth validates, since there are no lists, folders train and val, or subjects"
    )
    return {"split": "random"}


def _tell_of_the_unpaired(root: Path, pairing: Pairing, data: Mapping[str, Any], proposal: Proposal) -> None:
    """What check refuses where no lists say which images count: images without masks, and masks without images."""
    split = data.get("split", "lists")
    if split == "lists":
        return
    sides = [str(data[side]) for side in ("train", "val", "test") if side in data] if split == "folders" else []
    dataset = _dataset(root, pairing, folders=sides)
    lonely = [pairing.image(name) for name in sorted(set(dataset.names) - set(pairing.names))]
    strays = [pairing.mask(name) for name in dataset.stray_masks()]
    for files, what in ((lonely, "images have no mask"), (strays, "masks have no image")):
        if files:
            proposal.said.append(f"data: {len(files)} {what} ({some(files)}); check refuses them")


def _leave_out_subjects(
    root: Path, pairing: Pairing, data: dict[str, Any], given: Mapping[str, Any], proposal: Proposal
) -> None:
    """Where the sides are settled without them, a file of subjects that does not fit the images is left out."""
    if "subjects" not in data:
        return
    try:
        _dataset(root, pairing, subjects=data["subjects"])
    except InputError as error:
        if "subjects" in given or str(given.get("split", data.get("split"))).startswith("subject"):
            raise
        del data["subjects"]
        proposal.said.append(f"subjects: left out, {error}")


def _dataset(root: Path, pairing: Pairing, **fields: Any) -> Dataset:
    """The data set as far as its names go, whatever its classes are."""
    fields |= pairing.fields()
    return Dataset.open(root, classes=("a", "b"), **fields)


def _lists(root: Path, pairing: Pairing) -> tuple[dict[str, str] | None, str]:
    """The first train.txt and val.txt in one folder that the reader of lists takes, or what is wrong with the first.

    Lists whose images all have masks come before others, which VOC has beside them; splits/ comes before other folders.
    """
    files = [file for file in walk(root) if os.path.basename(file).lower() in ("train.txt", "val.txt")]
    starts = {file.removesuffix(os.path.basename(file)) for file in files if (root / file).is_file()}
    if not starts:
        return None, ""
    dataset, names = _dataset(root, pairing), set(pairing.names)
    taken, faults = [], []
    for start in sorted(starts, key=lambda start: (start.lower() != "splits/", start)):
        there = {side: file_in(root / start, f"{side}.txt") for side in ("train", "val")}
        sides = {side: f"{start}{name}" for side, name in there.items() if name is not None}
        try:
            split = _published(dataset, sides)
        except InputError as error:
            faults.append((len(sides) < len(there), str(error)))
            continue
        taken.append((not names.issuperset((*split.train, *split.val)), sides))
    if taken:
        return min(taken, key=lambda place: place[0])[1], ""
    return None, min(faults, key=lambda fault: fault[0])[1]


def _published(dataset: Dataset, sides: Mapping[str, str]) -> Split:
    """The split of the lists by their side; InputError where one of the two is not there."""
    if len(sides) == 2:
        return published(dataset, sides["train"], sides["val"])
    ((there, file),) = sides.items()
    lacking = "val" if there == "train" else "train"
    raise InputError(
        f"{dataset.root / file}: there is no {lacking}.txt beside it; write one, or name another list with "
        f"--set data.{there}={file} --set data.{lacking}=FILE"
    )


def _listed_test(
    root: Path, pairing: Pairing, lists: Mapping[str, str], given: Mapping[str, Any], proposal: Proposal
) -> dict[str, str]:
    """`test`, where a list for it lies beside the two others and names images with masks that these do not."""
    start = lists["train"].removesuffix(os.path.basename(lists["train"]))
    there = file_in(root / start, "test.txt")
    if "test" in given or there is None:
        return {}
    file = f"{start}{there}"
    dataset = _dataset(root, pairing)
    try:
        names = listed(dataset, file)
        maskless = [name for name in names if name not in set(pairing.names)]
        if maskless:
            raise InputError(f"{root / file}: {some(maskless)} without a mask")
        sides = published(dataset, lists["train"], lists["val"])
        Split(train=sides.train, val=sides.val, test=names, source=file)
    except InputError as error:
        proposal.said.append(f"test: {file} is left out, {error}; [data] test takes such a list")
        return {}
    proposal.said.append(f"test: list {file} ({len(names)} images), which no trial sees ([data] test)")
    return {"test": file}


def _test_folder(root: Path, pairing: Pairing, given: Mapping[str, Any], proposal: Proposal) -> dict[str, str]:
    """`test`, where one folder beside those of the two sides is named so; other folders are told."""
    counts = Counter(name.partition("/")[0] for name in pairing.names if "/" in name)
    tests = [folder for folder in sorted(counts) if folder.lower() in TEST]
    field = {"test": tests[0]} if len(tests) == 1 and "test" not in given else {}
    for folder in field.values():
        proposal.said.append(f"test: folder {folder} ({counts[folder]} images), which no trial sees ([data] test)")
    settled = field.get("test", given.get("test"))
    rest = [f for f in sorted(counts) if f != settled and f.lower() not in (*TRAIN, *VAL)]
    if rest:
        takes = "" if settled else "; [data] test takes one such folder"
        proposal.said.append(f"split: images in {some(rest)} are on no side{takes}")
    maskless = {name.partition("/")[0] for name in _dataset(root, pairing).names if "/" in name} - set(counts)
    if maskless:
        proposal.said.append(f"split: images in {some(sorted(maskless))} have no masks and are on no side")
    return field


def _leave_out_blank_test(root: Path, pairing: Pairing, data: dict[str, Any], held: Held, proposal: Proposal) -> None:
    """Test masks of one value, as where the truth is kept back, measure nothing; check refuses them."""
    test = data.get("test")
    if test is None:
        return
    in_folder = [name for name in pairing.names if name.startswith(f"{test}/")]
    names = listed(_dataset(root, pairing), test) if data["split"] == "lists" else in_folder
    found = [code for name in names for code in held.get(pairing.mask(name), ())]
    if len(set(found)) == 1:
        del data["test"]
        proposal.said[:] = [line for line in proposal.said if not line.startswith("test: ")]
        proposal.said.append(f"test: {test} is left out, its masks hold {found[0]} alone; [data] test takes others")


def _folders(root: Path, pairing: Pairing) -> tuple[str, str] | None:
    """The folders of the two sides; InputError where there is one for training and none, or several, to validate."""
    first = sorted({name.partition("/")[0] for name in pairing.names if "/" in name})
    train = [folder for folder in first if folder.lower() in TRAIN]
    val = [folder for folder in first if folder.lower() in VAL]
    if not train and not val:
        return None
    if len(train) == len(val) == 1:
        return train[0], val[0]
    raise InputError(f"{root}: folders {some(first)}, of which one must train and one validate; say which with {_WAYS}")


def _on_a_side(pairing: Pairing, data: Mapping[str, Any]) -> Sequence[str]:
    """The names that the study will use: of folders, those of its sides."""
    if data.get("split") != "folders":
        return pairing.names
    sides = tuple(f"{data.get(side)}/" for side in ("train", "val", "test"))
    return [name for name in pairing.names if name.startswith(sides)] or pairing.names


def _split_seed(
    root: Path, pairing: Pairing, held: Held, data: Mapping[str, Any], proposal: Proposal
) -> dict[str, Any]:
    """A seed by which both sides hold every class, or else the training, where chance splits and seed 0 does not."""
    split = data.get("split")
    if split not in ("random", "subject") or "split_seed" in data:
        return {}
    fields = {**pairing.fields(), "subjects": data.get("subjects"), "ignore_index": data.get("ignore_index", 255)}
    dataset = Dataset.open(root, classes=data["classes"], **fields)
    by, share = (by_subject if split == "subject" else by_image), data.get("val_share", 0.2)
    everything = {code for found in held.values() for code in found}
    best, most = 0, (False, False)
    for seed in range(_SEEDS):
        sides = by(dataset, val_share=share, seed=seed)
        full = [
            everything == {code for name in names for code in held.get(pairing.mask(name), ())}
            for names in (sides.train, sides.val)
        ]
        if (full[0], full[0] and full[1]) > most:
            best, most = seed, (full[0], full[1])
        if all(full):
            break
    if not best:
        return {}
    who = "both sides hold" if all(most) else "training holds"
    proposal.said.append(f"split: split_seed = {best}, by which {who} every class")
    return {"split_seed": best}


def _rule(root: Path, pairing: Pairing, given: Mapping[str, Any], proposal: Proposal) -> dict[str, Any]:
    """A range for images of more than 8 bits; InputError for channels that nothing says which to take of."""
    if {"range", "channels"} & set(given):
        return {}
    for name in pairing.names[:: -(-len(pairing.names) // _SAMPLED)]:
        path = root / pairing.image(name)
        try:
            with strict_decoders():
                predict.decode(path.read_bytes())
        except predict.TooDeepError as error:
            proposal.said.append(
                f"range: the images hold {error.what}, {error.lowest} to {error.highest} in {path.name}; the training "
                "images' percentiles 0.5 and 99.5 become 0 and 255"
            )
            return {"range": "p0.5-p99.5"}
        except predict.ChannelsError as error:
            raise InputError(
                f"{path}: {error.what}; say which one or three to take with --set 'data.channels=[0, 1, 2]'"
            ) from None
        except (predict.BadImageError, OSError):
            continue  # of which check has a line for every file
    return {}

"""What predict.py takes and what it refuses, before any model is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mmtuna.objectives import predict
from mmtuna.objectives.predict import BadImageError
from tests.inputs import builders as b


def refused(data: bytes, rule: predict.Rule) -> str:
    with pytest.raises(BadImageError) as found:
        predict.decode(data, rule)
    return str(found.value)


def test_a_channel_that_is_not_there_is_asked_for_as_the_trainings_images_had_it() -> None:
    rule = {"channels": [3, 0, 1], "range": None}
    way = "save it with the 4 channels or more that the training's images had"
    assert refused(b.png(b.rgb("a")), rule) == f"has channels 0 to 2, and 3 is asked for; {way}"
    assert refused(b.png(b.grey("a")), rule) == f"has channel 0 alone, and 3 is asked for; {way}"
    assert refused(b.with_alpha("PNG")(b.rgb("a")), {}) == "has 4 channels; save it as 8-bit grey or RGB PNG"


def test_an_image_of_another_depth_than_the_trainings_is_refused() -> None:
    deep, shallow, colour = b.png(b.deep("a")), b.png(b.grey("a")), b.png(b.rgb("a"))
    rule = {"channels": None, "range": [240, 2340], "bits": 16}
    assert predict.decode(deep, rule).shape == (b.HEIGHT, b.WIDTH, 3)
    for data in (shallow, colour, b.with_alpha("PNG")(b.rgb("a"))):
        said = "has 8 bits a channel, and the training's images had 16; give the original, which has 16"
        assert refused(data, rule) == said
    said = "has 16 bits a channel, and the training's images had 8; save it with 8 bits as those were"
    assert refused(deep, {**rule, "bits": 8}) == said
    older = {"channels": None, "range": [240, 2340]}
    assert [predict.decode(data, older).shape[2] for data in (deep, shallow, colour)] == [3, 3, 3]


def test_grey_in_the_place_of_colour_is_refused_where_channels_are_taken_by_number() -> None:
    grey, colour, more = b.png(b.grey("a")), b.png(b.rgb("a")), b.with_alpha("PNG")(b.rgb("a"))
    rule = {"channels": [0], "range": None, "bits": 8, "colour": True}
    said = "has 1 channel, and the training's images were in colour; give it as those were"
    assert refused(grey, rule) == said
    assert (predict.decode(colour, rule) == predict.decode(more, rule)).all()
    said = "has 3 channels, and the training's images were grey; give it as those were"
    assert refused(colour, {**rule, "colour": False}) == said
    assert predict.decode(grey, {**rule, "colour": None}).shape[2] == 3


def test_images_are_found_in_linked_folders_and_a_ring_of_links_ends(tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for path in (top / "a.png", top / "sub/b.TIF", top / "sub/notes.txt", elsewhere / "c.png", top / ".hidden/d.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (top / "linked").symlink_to(elsewhere)
    (top / "again").symlink_to(elsewhere)
    (elsewhere / "ring").symlink_to(top)
    (top / "sub/ring").symlink_to(top / "sub")
    (top / "dead.png").symlink_to("nowhere.png")
    (top / "dead").symlink_to("nowhere")
    os.mkfifo(top / "pipe.png")
    found = predict.find_images(top)
    assert sorted(found.images) == ["a.png", "again/c.png", "dead.png", "linked/c.png", "sub/b.png"]
    assert found.others == [top / "dead", top / "pipe.png", top / "sub/notes.txt"]
    assert found.folders == {top, top / "sub", elsewhere}
    with pytest.raises(BadImageError, match="is a link to a file that is not there; put that file back"):
        predict.read_image(found.images["dead.png"])


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images/shut").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"images/shut: cannot be read \(Permission denied\); check its permissions"):
        predict.find_images(tmp_path / "images")

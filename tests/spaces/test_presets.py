import subprocess
import sys
from pathlib import Path

import pytest

from mmtuna.spaces.presets import preset
from mmtuna.spaces.settings import check_settings

PINNED = {
    "paper": "f81edbeb365b08717a6fbcd7bab706f68a4a50b0d4b3195b8a4241028ae3f051",
    "extended": "ff69c2196cb129522b7c50f69df20177a1508d890412d72ce672b16b06910305",
}
GROWN = """
from mmtuna.spaces import settings
for name in ("DECODERS", "LOSSES", "CLASS_WEIGHTED_LOSSES", "MIXED_LOSSES", "OPTIMIZERS"):
    setattr(settings, name, (*getattr(settings, name), "new"))
settings.NO_CROP = "whole"
from mmtuna.spaces.presets import preset
print(preset("paper").fingerprint(), preset("extended").fingerprint())
"""


@pytest.mark.parametrize("name", PINNED)
def test_a_preset_does_not_move(name: str) -> None:
    moved = "every study begun with it would have to go on with its own space; add a preset of another name instead"
    assert preset(name).fingerprint() == PINNED[name], moved


def test_a_larger_vocabulary_leaves_the_presets_as_they_are(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [PINNED["paper"], PINNED["extended"]]


@pytest.mark.parametrize("name", PINNED)
def test_every_choice_of_a_preset_is_one_of_the_vocabulary(name: str) -> None:
    for parameter in preset(name):
        for value in parameter.values() or [parameter.distribution.low, parameter.distribution.high]:  # type: ignore[attr-defined]
            check_settings({parameter.name: value}, "preset")

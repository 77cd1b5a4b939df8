"""A trial's settings, made once: as they are written, and as they reach training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmtuna.objectives.config.effective import effective
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import DEFAULTS, LATER_NAMES, by_present_names, check_settings


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """Settings by name (spaces.settings) and dotted config keys; `merge_settings` makes them."""

    written: Mapping[str, Value]
    """What a person and the sampler set, under today's names, and for the UNet family the paper's value of all else."""
    effective: Mapping[str, Value]
    """What the config is built from and the built Runner must show: `written` with the scale factors of a rehearsal
    applied (mmtuna.objectives.config.effective)."""

    @property
    def decoder(self) -> str:
        """The UNet's decoder, "" for another base: by it a study keeps its base configs and weights."""
        return str(self.written.get("decoder", ""))


def merge_settings(
    params: Mapping[str, Value], fixed: Mapping[str, Value], *, is_unet: bool, has_weights: bool
) -> TrialSettings:
    """The settings of one trial: sampled `params` before `fixed` ones before, for the UNet family, the paper's.

    `has_weights`: whether there is a checkpoint to start from; without one no trial starts from weights.

    Raises InputError for a name that is neither a setting nor a dotted key, and for a value that it cannot take.
    """
    named = {**fixed, **params}
    check_settings(named, "settings")
    papers = {name: value for name, value in DEFAULTS.items() if not named.keys() & set(LATER_NAMES.get(name, ()))}
    written = {**(papers if is_unet else {}), **by_present_names(named)}
    if not has_weights:
        written["initial_weights"] = "none"
    return TrialSettings(written=written, effective=effective(written))

"""From params to a complete stock MMSegmentation config. Needs mmengine's config reader, not torch."""

from mmtuna.objectives.config.base import BaseConfig, load_base
from mmtuna.objectives.config.build import build_config
from mmtuna.objectives.config.settings import TrialSettings, merge_settings
from mmtuna.objectives.config.text import config_text, read_config, write_config

__all__ = [
    "BaseConfig",
    "TrialSettings",
    "build_config",
    "config_text",
    "load_base",
    "merge_settings",
    "read_config",
    "write_config",
]

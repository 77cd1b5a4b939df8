"""From params to a complete stock MMSegmentation config. Needs mmengine's config reader, not torch."""

from mmtuna.objectives.config.base import BaseConfig, load_base
from mmtuna.objectives.config.build import build_config
from mmtuna.objectives.config.effective import effective
from mmtuna.objectives.config.text import config_text, read_config, write_config

__all__ = ["BaseConfig", "build_config", "config_text", "effective", "load_base", "read_config", "write_config"]

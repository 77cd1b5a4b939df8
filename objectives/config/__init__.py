"""From params to a complete stock MMSegmentation config. Needs mmengine's config reader, not torch."""

from objectives.config.base import BaseConfig, load_base
from objectives.config.build import build_config
from objectives.config.effective import effective
from objectives.config.text import config_text, read_config, write_config

__all__ = ["BaseConfig", "build_config", "config_text", "effective", "load_base", "read_config", "write_config"]

"""A module that takes its time to import, as torch does."""

import time

time.sleep(1.0)

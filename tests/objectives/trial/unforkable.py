"""A module whose import leaves a process that cannot fork, as where the system's limit of processes is reached."""

import errno
import os


def fork() -> int:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


os.fork = fork

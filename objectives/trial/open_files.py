"""How many files a process may have open at a time, which is what it has of images that other processes load."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import resource


def most_open_files() -> float:
    """The most that this process may be allowed; infinite where there is no limit."""
    if sys.platform == "win32":
        return float("inf")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return float("inf") if most == resource.RLIM_INFINITY else most


def allow_all_open_files() -> None:
    """Lets this process open as many as it may be allowed. The usual limit, 1024, is small for large batches."""
    if sys.platform != "win32":
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if most != resource.RLIM_INFINITY:  # some systems take no such limit here
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

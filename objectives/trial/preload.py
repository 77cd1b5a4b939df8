"""What the fork server imports once, for all children.

What fails here would end the fork server, and nobody would hear why; each child tries again and says it.
"""

import contextlib

with contextlib.suppress(Exception):
    from mmtuna.objectives.trial import child  # noqa: F401

"""What the fork server imports, once for all children."""

import contextlib

from mmtuna.objectives.trial import child  # noqa: F401

with contextlib.suppress(Exception):
    # What a Runner, its visualizer and torch's optimizers import when they are built: a second or two in every child.
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo
    import torch.utils.cpp_extension  # noqa: F401
    import yapf.yapflib.yapf_api  # noqa: F401

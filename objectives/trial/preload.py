"""What the fork server imports, once for all children."""

import contextlib

from mmtuna.objectives.insides import cuda_untouched
from mmtuna.objectives.trial import child  # noqa: F401

# torch.utils.cpp_extension asks for a GPU where it finds a CUDA toolkit.
with contextlib.suppress(Exception), cuda_untouched():
    # What a Runner, its visualizer and torch's optimizers import when they are built: a second or two in every child.
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo
    import torch.utils.cpp_extension  # noqa: F401
    import yapf.yapflib.yapf_api  # noqa: F401

"""What is told in shares of a training, in its iterations: warm-up, averages, and a base's own schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Value
from mmtuna.spaces.settings import OWN_WARM_UP

Cfg = dict[str, Any]
_PLACES = ("begin", "end", "T_max", "step_size", "total_steps")
"""Numbers of a scheduler that say when: in epochs where it counts them, else in iterations."""
_LISTS = ("milestones", "periods")
_EACH_STEP = ("Exponential", "ReduceOnPlateau")
"""Schedulers that do something at each of their steps, which an epoch has one of and an iteration another."""
_WARM_UPS = ("LinearLR", "ConstantLR")
_LEAST = 1e-9
_ENDLESS = 10**9  # MMEngine's own word for an end that is not there
WAY_OUT = "set schedule in [train] or in the space"


def warm_up_length(settings: Mapping[str, Value], iterations: int) -> int:
    """Iterations in which the rate rises before the `schedule`; 0 for none.

    InputError where `warmup` asks for one that a training of so many iterations has no room for.
    """
    share = settings.get("warmup", OWN_WARM_UP)
    # MMEngine's warm-up of a single iteration never comes to its end: the rate would stay a tenth.
    if share == OWN_WARM_UP:
        return iterations // 10 if settings["schedule"] == "cosine" and iterations >= 20 else 0
    if not share:
        return 0
    if iterations < 4:
        raise InputError(f"warmup = {share}: a training of {iterations} iterations has no room for it; take warmup = 0")
    return max(2, round(float(share) * iterations))


def average_gamma(younger: float) -> float:
    """MMEngine's `gamma` of an average of which half is younger than a share, `younger` (0 to 1), of the iterations.

    After s iterations the weights of the next enter with gamma / (gamma + s), so that those of the first x of t have a
    share of (x / t)^gamma: the power function of Karras et al. 2024 (eq. 4), at every t alike. 0.5 is the plain mean,
    beyond it the first ones weigh more. Below 1e-9 it stays as there, where no training is long enough to tell.
    """
    return math.log(0.5) / math.log1p(-max(younger, _LEAST))


def fit_schedule(cfg: Cfg, iterations: int, base_name: str) -> None:
    """Makes the base's own schedulers those of a training of `iterations`: warm-up, steps and end at equal shares.

    A training loop of iterations ends no epoch, so a scheduler that counts epochs would never step; and a warm-up that
    is longer than the training would be all of it. InputError for what cannot be put into iterations.
    """
    found = cfg.get("param_scheduler") or []
    train = cfg.get("train_cfg") or {}
    length = int(train.get("max_iters") or train.get("max_epochs") or 0)
    fitted = []
    for one in [found] if isinstance(found, Mapping) else list(found):
        own = _in_iterations(dict(one), iterations, length, not train.get("max_iters"), f"base config {base_name}")
        # MMEngine's warm-up of a single iteration never comes to its end: the rate would stay where it starts.
        if not (own["type"] in _WARM_UPS and own.get("end", _ENDLESS) - own.get("begin", 0) < 2):
            fitted.append(own)
    if found:
        cfg["param_scheduler"] = fitted


def _in_iterations(one: Cfg, iterations: int, length: int, base_by_epoch: bool, where: str) -> Cfg:
    kind, by_epoch = str(one.get("type")), bool(one.get("by_epoch", True))
    one.pop("convert_to_iter_based", None)
    one["by_epoch"] = False
    if by_epoch and kind.startswith(_EACH_STEP):
        raise InputError(f"{where}: {kind} does a step an epoch, which has no like in iterations; {WAY_OUT}")
    if by_epoch and not base_by_epoch:
        raise InputError(
            f"{where}: {kind} counts epochs (by_epoch) in a training that counts iterations, so it would never step; "
            f"give it by_epoch=False, or {WAY_OUT}"
        )
    if not by_epoch and base_by_epoch:  # how many iterations the base's own training has depends on its data
        if one.get("end", _ENDLESS) > iterations:
            raise InputError(
                f"{where}: {kind} goes on for {one.get('end', 'all')} iterations and the training for {iterations}; "
                f"train for longer, or {WAY_OUT}"
            )
        return one
    share = iterations / length
    if by_epoch and kind.startswith(("Poly", "Linear", "Constant", "CosineAnnealing")):
        one.setdefault("end", length)
    for key in _PLACES:
        if isinstance(one.get(key), int) and 0 < one[key] < _ENDLESS:
            one[key] = max(1, round(one[key] * share))
    for key in _LISTS:
        if key in one:
            one[key] = [max(1, round(place * share)) for place in one[key]]
    return one

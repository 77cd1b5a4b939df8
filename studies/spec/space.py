"""From `[space]` and `[train]` to the SearchSpace of a study."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmtuna.spaces.effects import NEEDS, default_values, why_covered, why_idle
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Float, Int, Parameter, parameter
from mmtuna.spaces.presets import preset
from mmtuna.spaces.prior import Prior, prior, split
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.spaces.settings import DEFAULTS, SETTINGS, UNET, UNET_ONLY, check_one_name, check_sampled, check_settings
from mmtuna.studies.spec.tables import SpaceTable


def assemble(table: SpaceTable, train: Mapping[str, Any], base: str) -> SearchSpace:
    """The preset without the dropped names, with `[space.params]` in it; InputError where the parts do not agree."""
    own = {name: _own_parameter(name, fields) for name, fields in _own_tables(table).items()}
    parameters = {**_preset_parameters(table, own, train), **own}
    for name in parameters:
        if name in train:
            drop = f'add drop = ["{name}"] to [space]' if name not in own else f"remove [space.params.{name}]"
            raise InputError(f"[train] {name} is fixed and [space] samples it too; {drop}, or remove it from [train]")
    check_one_name({**parameters, **train}, "[train] and [space]")
    for name in UNET_ONLY:
        if base != UNET and (name in parameters or name in train):
            raise InputError(
                f"[model] base is not unet, and {name} belongs to unet alone; "
                + (f'add drop = ["{name}"] to [space]' if name in parameters else f"remove {name} from [train]")
            )
    space = SearchSpace(list(_of_use(parameters, own, train, base).values()))
    for params in table.start:
        _check_start(params, space)
    return space


def said(table: SpaceTable) -> dict[str, Any]:
    """What a person wrote of the space, whatever its preset holds: plain data that is equal for equal specs.

    It tells a preset that is another one in this version from a spec that was changed.
    """
    own = {name: _own_parameter(name, fields).describe() for name, fields in sorted(_own_tables(table).items())}
    return {"preset": table.preset, "drop": sorted(table.drop), "params": own}


def priors(table: SpaceTable, space: SearchSpace) -> dict[str, Prior]:
    """What `[space.params.NAME] prior` says of parameters of `space`; InputError where one cannot be."""
    found = {}
    for name, fields in table.params.items():
        said_of_it = split(fields)[1]
        if said_of_it and name not in space:
            raise InputError(
                f"[space.params.{name}] prior: {name} is not searched, it is none of {', '.join(space.names)}; "
                "give choices, or low and high, beside it"
            )
        if said_of_it:
            found[name] = prior(space.parameter(name), said_of_it)
    return found


def _own_tables(table: SpaceTable) -> dict[str, dict[str, Any]]:
    """The tables `[space.params.NAME]` that say what a parameter is; others hold a prior for one of the preset's."""
    tables = {name: split(fields) for name, fields in table.params.items()}
    return {name: own for name, (own, believed) in tables.items() if own or not believed}


def _of_use(
    parameters: Mapping[str, Parameter], own: Mapping[str, Parameter], train: Mapping[str, Any], base: str
) -> dict[str, Parameter]:
    """`parameters` where they change a training; InputError for what a person wrote and no trial would feel."""
    possible = default_values(base) | {name: (value,) for name, value in train.items()}
    for name, sampled in parameters.items():
        # Where a parameter has a condition of its own, trials beyond it take the value that stood there before.
        possible[name] = (*(possible.get(name, ()) if sampled.when else ()), *(sampled.values() or ()))
    # Without any parameter the params come from a function, and nothing is known of them here.
    for name, value in train.items() if parameters else ():
        reason = why_idle(name, possible)
        if reason:
            raise InputError(f"[train] {name} = {value} changes no trial: {reason}")
    found: dict[str, Parameter] = {}
    for name, sampled in parameters.items():
        reason = why_idle(name, possible) or why_covered(name, possible)
        if reason is None:
            found[name] = _where_of_use(sampled, parameters)
        elif name in own:
            raise InputError(f"[space.params.{name}] changes no trial: {reason}")
    return found


def _where_of_use(sampled: Parameter, parameters: Mapping[str, Parameter]) -> Parameter:
    """`sampled` under the condition that it changes something: a trial names no value that it did not use."""
    need = NEEDS.get(sampled.name)
    if need is None or need.parent not in parameters:
        return sampled
    everywhere = tuple(parameters[need.parent].values() or ())
    asked = sampled.when.get(need.parent, everywhere)
    helpful = tuple(value for value in asked if need.met_by(value))
    if not helpful:
        raise InputError(
            f"[space.params.{sampled.name}] changes no trial: it needs {need}, and stands when {need.parent} = "
            f"{' | '.join(map(str, asked))}; mend the condition"
        )
    return sampled if helpful == everywhere else replace(sampled, when={**sampled.when, need.parent: helpful})


def _check_start(params: Mapping[str, Any], space: SearchSpace) -> None:
    for name, value in params.items():
        if name not in space or not space.parameter(name).contains(value):
            what = "is no parameter of the space" if name not in space else f"= {value!r} lies outside its range"
            raise InputError(f"[space] start: {name} {what}; mend it, or widen the space")
        for parent, allowed in space.parameter(name).when.items():
            if parent in params and params[parent] not in allowed:
                raise InputError(
                    f"[space] start: {name} = {value!r} changes nothing beside {parent} = {params[parent]!r}; "
                    f"remove it, or take {parent} = {' | '.join(map(str, allowed))}"
                )


def _own_parameter(name: str, fields: Mapping[str, Any]) -> Parameter:
    where = f"[space.params.{name}]"
    check_sampled((name,), where)
    if "." not in name and fields and all(isinstance(value, dict) for value in fields.values()):
        raise InputError(f'{where} holds tables; write a dotted config key in quotes: [space.params."{name}.KEY"]')
    when = fields.get("when", {})
    if not isinstance(when, dict):
        raise InputError(f'{where} when = {when!r} is wrong; write when = {{ optimizer = ["SGD"] }}')
    made = parameter(name, fields)
    if isinstance(made, Categorical):
        limits = list(made.choices)
    else:
        assert isinstance(made, Int | Float)
        limits = [made.low, made.high]
        if isinstance(made, Int) and "type" not in fields and name in SETTINGS:
            _refuse_whole_numbers(made, where)
        if isinstance(made, Float) and name in SETTINGS:
            _refuse_real_numbers(made, where)
    for value in limits:
        check_settings({name: value}, where)
    return made


def _refuse_whole_numbers(made: Int, where: str) -> None:
    # low = 0, high = 1 would try these two and nothing between, which is hardly what was meant.
    if isinstance(SETTINGS[made.name].allowed, Float):
        raise InputError(
            f"{where}: {made.name} takes real numbers; write low = {float(made.low)}, high = {float(made.high)}, or "
            'add type = "int" to try whole ones alone'
        )


def _refuse_real_numbers(made: Float, where: str) -> None:
    # The ends may be whole and allowed; what lies between them no trial could train.
    if isinstance(SETTINGS[made.name].allowed, Int):
        raise InputError(
            f"{where}: {made.name} takes whole numbers; write low = {math.ceil(made.low)}, high = "
            f'{math.floor(made.high)}, and no type, or type = "int"'
        )


def _preset_parameters(
    table: SpaceTable, own: Mapping[str, Parameter], train: Mapping[str, Any]
) -> dict[str, Parameter]:
    if table.preset is None:
        if table.drop:
            raise InputError(f"[space] drop = {list(table.drop)} without a preset; remove drop, or give a preset")
        return {}
    whole = preset(table.preset)
    for name in table.drop:
        if name not in whole:
            near = difflib.get_close_matches(name, whole.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it holds {', '.join(whole.names)}"
            raise InputError(f"[space] drop: preset {table.preset} has no {name}; {hint}")
    kept: dict[str, Parameter] = {}
    for child in whole:
        if child.name in table.drop or child.name in own:
            continue
        reached = _reachable(child, {**kept, **own}, table.drop, train)
        if reached is not None:
            kept[child.name] = reached
    return kept


def _reachable(
    child: Parameter, sampled: Mapping[str, Parameter], dropped: tuple[str, ...], train: Mapping[str, Any]
) -> Parameter | None:
    """`child` with the conditions that still have to be asked, or None where one can never hold."""
    when = {}
    for parent, allowed in child.when.items():
        if parent in sampled:
            possible = tuple(value for value in allowed if sampled[parent].contains(value))
            if not possible:
                return None
            when[parent] = possible
        elif parent not in dropped or train.get(parent, DEFAULTS[parent]) not in allowed:
            return None
    return replace(child, when=when)

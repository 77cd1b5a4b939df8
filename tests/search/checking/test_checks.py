"""Single checks of a preparation."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmtuna.objectives.config import load_base
from mmtuna.search.checking.checks import check_evaluations, check_whole_numbers
from mmtuna.search.checking.preparing import prepare
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Float, Int
from mmtuna.spaces.search_space import SearchSpace
from mmtuna.studies.spec import StudySpec

WriteSpec = Callable[..., Path]


def test_whole_ends_of_a_real_number_of_the_base_are_refused() -> None:
    key = "model.auxiliary_head.loss_decode.loss_weight"
    space = SearchSpace([Int(name=key, low=0, high=1)])
    bases = [load_base("unet", decoder="fcn")]
    with pytest.raises(InputError) as caught:
        check_whole_numbers(space, {key: {"low": 0, "high": 1}}, bases)
    assert str(caught.value) == (
        f'[space.params."{key}"]: base config unet-s5-d16_fcn_4xb4-40k_hrf-256x256 has 0.4 there, a real number; write '
        'low = 0.0, high = 1.0, or add type = "int" to try whole ones alone'
    )
    check_whole_numbers(space, {key: {"low": 0, "high": 1, "type": "int"}}, bases)
    whole = SearchSpace(
        [Int(name="model.decode_head.channels", low=8, high=64), Int(name="model.nothing", low=0, high=1)]
    )
    check_whole_numbers(whole, {}, bases)
    check_whole_numbers(SearchSpace([Float(name=key, low=0.0, high=1.0)]), {}, bases)


def test_more_evaluations_than_iterations_are_refused_where_they_were_said() -> None:
    long = SearchSpace([Int(name="iterations", low=4, high=800, step=4)])
    words = "evaluations = 9: a training of 4 iterations is evaluated 4 times at most; set evaluations to 4 or less"
    scaled = {"iterations": 40, "iteration_scale": 0.1, "evaluations": 9}
    for space, fixed in (
        (long, {"evaluations": 9}),
        (SearchSpace([]), {"iterations": 4, "evaluations": 9}),
        (SearchSpace([]), scaled),
    ):
        with pytest.raises(InputError) as caught:
            check_evaluations(space, fixed, "unet")
        assert str(caught.value) == words
    assert check_evaluations(SearchSpace([]), {"iterations": 4}, "unet") == [  # nobody said 5
        "evaluations = 5: a training of 4 iterations is evaluated 4 times, at every 1 iterations and at its end"
    ]


def test_a_number_of_evaluations_that_iterations_do_not_divide_into_is_told() -> None:
    def told(iterations: int, evaluations: int) -> list[str]:
        return check_evaluations(SearchSpace([]), {"iterations": iterations, "evaluations": evaluations}, "unet")

    assert told(10, 9) == [
        "evaluations = 9: a training of 10 iterations is evaluated 5 times, at every 2 iterations and at its end"
    ]
    assert told(10, 4) == told(400, 5) == told(7, 7) == []  # 3, 6, 9, 10; ...
    assert check_evaluations(SearchSpace([]), {"evaluations": 9}, "fcn_r50-d8_4xb2-40k_cityscapes-512x1024") == []


def test_check_holds_whole_ends_against_the_base(write_spec: WriteSpec) -> None:
    key = '[space.params."model.decode_head.loss_decode.loss_weight"]\nlow = 0\nhigh = 2'
    (problem,) = prepare(StudySpec.load(write_spec(space=key))).problems
    assert problem.endswith(
        'has 1.0 there, a real number; write low = 0.0, high = 2.0, or add type = "int" to try whole ones alone'
    )


FEW_FILES = """
from mmtuna.search.checking.checks import check_open_files
from mmtuna.spaces.search_space import SearchSpace
check_open_files(SearchSpace([]), {})
check_open_files(SearchSpace([]), {"loader_workers": 2})
"""


def test_too_few_open_files_for_processes_that_load_images_are_refused() -> None:
    """With them a training waits for a batch that never comes."""
    command = [sys.executable, "-c", FEW_FILES]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    )
    assert done.stderr.splitlines()[-1] == (
        "mmtuna.spaces.errors.InputError: loader_workers = 2: processes that load images need some 256 open files, and "
        "100 are allowed; raise the limit (ulimit -Hn), or set loader_workers = 0"
    )
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0

"""Single checks of a preparation."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from mmtuna.search.checking.checks import check_evaluations, check_sizes
from mmtuna.spaces.errors import InputError
from mmtuna.spaces.parameter import Categorical, Int
from mmtuna.spaces.search_space import SearchSpace

CROPS = SearchSpace([Categorical(name="crop", choices=("none", 64, 96))])


def test_crops_larger_than_an_image_are_padded_and_told() -> None:
    (note,) = check_sizes(CROPS, {"input_size": 96}, "unet", {(96, 64)})
    assert note.startswith("crop = 96 is larger than the shortest side of the input (64 at input_size = 96): what is")
    assert check_sizes(CROPS, {"input_size": 96}, "unet", {(96, 96)}) == []
    assert check_sizes(CROPS, {}, "fcn_r50-d8_4xb2-40k_cityscapes-512x1024", {(64, 64)}) == []  # its own sizes


def test_sides_that_the_unet_cannot_halve_are_refused() -> None:
    with pytest.raises(InputError, match=r"input_size = 72: the UNet halves its input four times .* take 64 or 80"):
        check_sizes(CROPS, {"input_size": 72}, "unet", {(96, 96)})


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

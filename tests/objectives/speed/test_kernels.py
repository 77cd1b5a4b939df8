"""What is done in the place of torch's operators gives what these give, and their gradients."""

from __future__ import annotations

from typing import Any

import pytest

SIZES = [((1, 1), (40, 24)), ((6, 3), (41, 29)), ((2, 3), (8, 12))]


@pytest.mark.parametrize("align_corners", [False, True, None])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_the_gradient_of_enlarging_is_torchs(
    torch: Any, small: tuple[int, int], large: tuple[int, int], align_corners: bool | None
) -> None:
    from mmtuna.objectives.speed.kernels import Enlarge

    generator = torch.Generator().manual_seed(0)
    found = []
    wanted = torch.randn(2, 3, *large, generator=generator)
    for enlarge in (Enlarge.apply, lambda *of: torch.nn.functional.interpolate(of[0], of[1], None, "bilinear", of[2])):
        map_ = torch.randn(2, 3, *small, generator=torch.Generator().manual_seed(1)).requires_grad_()
        made = enlarge(map_, large, align_corners)
        made.backward(wanted)
        found.append((made, map_.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-5)


def test_the_gradient_keeps_the_maps_precision(torch: Any) -> None:
    from mmtuna.objectives.speed.kernels import Enlarge

    map_ = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16).requires_grad_()
    Enlarge.apply(map_, (64, 64), False).backward(torch.ones(1, 1, 64, 64, dtype=torch.bfloat16))
    assert map_.grad.dtype == torch.bfloat16
    assert map_.grad.item() == 4096  # summed in bf16 it would be 256


@pytest.mark.parametrize("size", [1, 2, 3, 6, (2, 5), (None, 3)])
def test_pooling_is_torchs(torch: Any, size: Any) -> None:
    from mmtuna.objectives.speed.kernels import pool_channels_last

    found = []
    for pool in (pool_channels_last, torch.nn.functional.adaptive_avg_pool2d):
        map_ = torch.randn(2, 4, 13, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        map_ = map_.contiguous(memory_format=torch.channels_last).requires_grad_()
        made = pool(map_, size)
        made.square().sum().backward()
        found.append((made, map_.grad))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].is_contiguous(memory_format=torch.channels_last)


def test_on_the_cpu_all_stays_torchs(torch: Any) -> None:
    from mmtuna.objectives.speed import kernels

    map_ = torch.randn(1, 2, 2, 2).requires_grad_()
    enlarged = kernels.interpolate(map_, (32, 32), None, "bilinear", False)
    assert type(enlarged.grad_fn).__name__ == "UpsampleBilinear2DBackward0"
    pooled = kernels.adaptive_avg_pool2d(map_.contiguous(memory_format=torch.channels_last), 1)
    assert torch.equal(pooled, torch.nn.functional.adaptive_avg_pool2d(map_, 1))


def test_on_the_cpu_products_are_taken_where_a_speed_says_so(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmtuna.objectives.speed import kernels

    monkeypatch.setattr(kernels, "_by_products", {"cuda"})
    map_ = torch.randn(1, 2, 2, 2).requires_grad_()
    kernels.use_products(True)
    assert kernels.uses_products()
    assert type(kernels.interpolate(map_, (32, 32), None, "bilinear", False).grad_fn).__name__ == "EnlargeBackward"
    assert type(kernels.interpolate(map_, (7, 7), None, "bilinear", False).grad_fn).__name__ != "EnlargeBackward"
    assert type(kernels.interpolate(map_, 32).grad_fn).__name__ != "EnlargeBackward"
    kernels.use_products(False)
    assert not kernels.uses_products()


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_the_largest_is_torchs_with_ties_and_without_numbers(torch: Any, dim: int | None) -> None:
    from mmtuna.objectives.speed.kernels import argmax

    logits = torch.randint(0, 3, (4, 9, 7), generator=torch.Generator().manual_seed(0)).float()
    logits[2, 3, 4], logits[1, 5] = float("nan"), float("-inf")
    for keep in (False, True):
        assert torch.equal(argmax(logits, dim, keep), torch.argmax(logits, dim, keep))


@pytest.mark.gpu
@pytest.mark.parametrize("last", [False, True])
def test_on_a_gpu_a_trials_process_does_it_by_products(torch: Any, last: bool) -> None:
    from mmtuna.objectives.speed import kernels

    generator = torch.Generator().manual_seed(0)
    cpu = torch.randn(2, 8, 96, 80, generator=generator)
    found = []
    for device, pool, enlarge in (
        ("cpu", torch.nn.functional.adaptive_avg_pool2d, torch.nn.functional.interpolate),
        ("cuda", kernels.adaptive_avg_pool2d, kernels.interpolate),
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        map_ = cpu.to(device).contiguous(memory_format=layout).detach().requires_grad_()
        made = enlarge(pool(map_, 3), (96, 80), None, "bilinear", False)
        (made * map_.detach()).sum().backward()
        found.append((made.cpu().contiguous(), map_.grad.cpu().contiguous()))
    assert type(made.grad_fn).__name__ == "EnlargeBackward"
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)

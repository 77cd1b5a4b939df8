"""What settings do to a training, in a few figures of each; for a child, which has torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def told(cfgs: dict[str, dict[str, Any]], folder: str, mixed: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Trains each config, by name; the `mixed` ones in bf16.

    `rates`, and `steps`, how far the weights moved (L2), of each iteration; `images` that came, each as (path, least,
    largest and mean value, share of the foreground, scale); `dropped`, the share of the channels that the deciding
    head set to 0; `unlike`, how far what is saved, statistics too, lies from the last, and from the average of all
    iterations that the gamma of the config makes.
    """
    return {name: _told(cfg, folder, name, "bf16" if name in mixed else "") for name, cfg in cfgs.items()}


def _told(cfg: dict[str, Any], folder: str, name: str, precision: str) -> dict[str, Any]:
    import torch
    from mmengine.hooks import Hook

    from mmtuna.objectives.evaluation.counting import counting_metric
    from mmtuna.objectives.trial.training import build_runner, load_strictly
    from mmtuna.spaces.speed import Speed

    found: dict[str, Any] = {"rates": [], "steps": [], "images": []}
    channels = {"in": 0, "dropped": 0}
    gamma = next((hook["gamma"] for hook in cfg.get("custom_hooks", [])), 1e12)

    def count(_: Any, inputs: Any, output: Any) -> None:
        alive = inputs[0].abs().amax((2, 3)) > 0
        if runner.model.training:
            channels["in"] += int(alive.sum())
            channels["dropped"] += int((alive & (output.abs().amax((2, 3)) == 0)).sum())

    class Notes(Hook):  # type: ignore[misc]
        priority = "LOWEST"

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            found["rates"].append(runner.optim_wrapper.optimizer.param_groups[0]["lr"])
            for image, sample in zip(data_batch["inputs"], data_batch["data_samples"], strict=True):
                mask, least = sample.gt_sem_seg.data, float(image.min())
                figures = (least, float(image.max()), float(image.float().mean()), float((mask == 1).float().mean()))
                found["images"].append((Path(sample.img_path).name, *figures, float(sample.scale_factor[0])))
            self.before = flat(runner.model)

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            now = flat(runner.model)
            found["steps"].append(float((now - self.before).norm()))
            entering = gamma / (gamma + batch_idx)
            self.average = entering * whole(runner.model.state_dict()) + (1 - entering) * getattr(self, "average", 0)

    def flat(model: Any) -> Any:
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    def whole(state: Any) -> Any:
        return torch.cat([part.flatten().double() for part in state.values() if part.dtype.is_floating_point])

    speed = Speed(precision=precision)
    runner = build_runner(cfg, (), "the trial", speed, work_dir=folder, experiment_name=name)
    counting_metric(runner)
    if runner.model.decode_head.dropout is not None:
        runner.model.decode_head.dropout.register_forward_hook(count)
    notes = Notes()
    runner.register_hook(notes)
    runner.train()
    runner.save_checkpoint(folder, f"{name}.pth", save_optimizer=False, save_param_scheduler=False, by_epoch=False)
    saved = load_strictly(Path(folder) / f"{name}.pth")["state_dict"]
    kept, last = whole(saved), whole(runner.model.state_dict())
    found["dropped"] = channels["dropped"] / channels["in"] if channels["in"] else 0.0
    found["unlike"] = {"average": float((kept - notes.average).norm()), "last": float((kept - last).norm())}
    return found

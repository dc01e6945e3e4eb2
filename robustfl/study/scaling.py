"""What a scale and the user's config make of a run of the slides' protocol."""

from __future__ import annotations

from dataclasses import replace

from robustfl.study.run_spec import RunSpec

# Fields that a scale gives to every run, as they are.
SIZES = ("use_sample", "train_size", "test_size", "test_interval", "model", "precision")


def scale_spec(spec: RunSpec, base: RunSpec, protocol: str, size: dict, config: dict) -> RunSpec:
    """The spec at a scale: fewer images, a smaller model, fewer epochs, smaller batches.

    base: the protocol itself; size: the scale's entry in scales.yaml; config: config.yaml's values.
    Epochs shrink in proportion to those of the protocol, milestones, warm-up and the epochs between
    selections along with them, the learning rate in proportion to the batch (Goyal et al. 2017).
    """
    changes = {k: size[k] for k in SIZES if k in size}
    changes |= {k: config[k] for k in ("precision", "torch_compile") if config[k] is not None}
    if spec.holdout and "holdout" in size:  # a run that holds nothing out keeps everything
        changes["holdout"] = size["holdout"]

    # smaller batches, and the rate along with them
    batch = size.get("batch_size", {}).get(protocol)
    if batch:
        changes |= {"batch_size": batch, "lr": spec.lr * batch / spec.batch_size}

    # epochs of the whole protocol, of which a run has its share: the user's, else the scale's
    protocol_epochs = config["epochs"]
    if protocol_epochs is None:
        protocol_epochs = size.get("epochs", {}).get(protocol)
    if protocol_epochs is not None and protocol_epochs != base.epochs:
        epochs = max(1, round(spec.epochs * protocol_epochs / base.epochs))
        changes |= _shortened(spec, epochs)
    return replace(spec, **changes)


def _shortened(spec: RunSpec, epochs: int) -> dict:
    """The fields that count epochs, for a run of so many; each stays at 1 or more where it was."""
    shrink = epochs / spec.epochs
    warmup = max(1, round(spec.warmup * shrink)) if spec.warmup else 0
    return {
        "epochs": epochs,
        "milestones": tuple(sorted({max(1, round(m * shrink)) for m in spec.milestones})),
        "warmup": min(epochs - 1, warmup),  # at least one epoch selects
        "selection_interval": max(1, round(spec.selection_interval * shrink)),
    }

"""Shared fixtures: the project's root as working directory, and a tiny spec on the committed sample."""

from pathlib import Path

import pytest
import torch

from robustfl.spec import RunSpec

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """Two epochs of ResNet-8 on 120 sample images."""
    return RunSpec(sample=True, subset=120, test_subset=60, model="resnet8", epochs=2, batch_size=32, holdout=0.1)

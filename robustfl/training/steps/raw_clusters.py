"""Cluster-wise variance reduction on frozen features.

Source: Allen-Zhu, Yuan, Sridharan, "Exploiting the Structure: Stochastic Gradient Methods Using Raw Clusters", NIPS 2016
(ClusterSVRG). The linear layer alone is trained, on the penultimate features of the finished pretraining run, since
variance reduction wants the same function at every visit: no augmentation, no batch statistics.
With c the cluster of i, x~ the snapshot of the epoch and p_c the share of cluster c, the gradient estimate
    g = grad_i(x) - (grad_i(x~) + zeta_c) + grad(x~) + sum_c p_c zeta_c
is unbiased for any zeta; zeta = 0 is SVRG (Johnson and Zhang 2013). After a visit zeta_c = grad_i(x) - grad_i(x~).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.selection import SELECTORS, weights
from robustfl.study.run_spec import RunSpec
from robustfl.training import embeddings
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.steps.eager import EagerSteps

CLUSTERS = 10  # per class, by facility location on the features


class RawClusterSteps(EagerSteps):
    """`model` holds the pretrained features; its linear layer starts from zero, as the convex problem has no preferred
    start. The learning rate is the plan's; weight decay is the spec's; there is no momentum."""

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        super().__init__(model, data, spec, track)
        with torch.no_grad():
            features = embeddings.points(
                model, data.images, data.given_labels, "feature", spec.precision
            )
            self.setup = len(features)
            for parameter in model.fc.parameters():
                parameter.zero_()
        self.inputs = torch.cat(
            [features, features.new_ones(len(features), 1)], 1
        )  # (n, 65): the bias is a weight
        given = data.given_labels.cpu().numpy()
        points, ratio = (
            features.cpu().numpy(),
            min(1.0, CLUSTERS * int(given.max() + 1) / len(given)),
        )
        picks = SELECTORS["facility_location"](points, given, ratio, None).indices
        self.cluster = torch.from_numpy(weights.assign(points, given, picks)).to(
            features.device
        )  # (n,)
        self.share = torch.bincount(self.cluster, minlength=len(picks)) / len(given)  # p_c
        self.zeta = features.new_zeros(len(picks), model.fc.out_features, self.inputs.shape[1])

    def run_epoch(self, plan: Plan) -> torch.Tensor:
        """As EagerSteps.run_epoch; the snapshot is taken when the epoch begins."""
        self.model.eval()
        with torch.no_grad():
            self.snapshot = self._parameters()
            everything = torch.arange(len(self.inputs), device=self.inputs.device)
            self.whole = self._gradient(self.snapshot, everything).mean(0)  # grad(x~)
            self.zeta.zero_()
            self.lr = plan.lr
            totals = torch.zeros(3, dtype=torch.float64, device=plan.order.device)
            for start in range(0, len(plan.order), self.spec.batch_size):
                totals += self._batch(plan, slice(start, start + self.spec.batch_size))
        return totals

    def cost(self, points: int) -> tuple[int, int]:
        """The network is passed once, at the start, for the features (`setup`)."""
        return 0, 0

    def _batch(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        index = plan.order[at]
        parameters = self._parameters()
        logits = self.inputs[index] @ parameters.T
        estimate = self.estimate(parameters, index).mean(0) + self.spec.weight_decay * parameters
        moved = parameters - self.lr * estimate
        self.model.fc.weight.copy_(moved[:, :-1])
        self.model.fc.bias.copy_(moved[:, -1])
        given = self.data.given_labels[index]
        return self._tally(index, given, logits, F.cross_entropy(logits, given, reduction="none"))

    def estimate(self, parameters: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(b, classes, 65) the estimates g of each point, at one zeta; then zeta learns from the points' changes."""
        change = self._gradient(parameters, index) - self._gradient(self.snapshot, index)
        mean_zeta = torch.einsum("c,cij->ij", self.share.to(self.zeta.dtype), self.zeta)
        result = change - self.zeta[self.cluster[index]] + self.whole + mean_zeta
        for c in self.cluster[index].unique():
            self.zeta[c] = change[self.cluster[index] == c].mean(0)
        return result

    def _gradient(self, parameters: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(b, classes, 65) gradient of each point's cross entropy with respect to the linear layer."""
        inputs = self.inputs[index]
        residual = F.softmax(inputs @ parameters.T, 1) - F.one_hot(
            self.data.given_labels[index], parameters.shape[0]
        )
        return residual[:, :, None] * inputs[:, None, :]

    def _parameters(self) -> torch.Tensor:
        """(classes, 65) the linear layer's weight and bias, a copy."""
        return torch.cat([self.model.fc.weight, self.model.fc.bias[:, None]], 1)

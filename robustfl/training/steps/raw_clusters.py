"""Cluster-wise variance reduction on frozen features.

Source: Allen-Zhu, Yuan, Sridharan, "Exploiting the Structure: Stochastic Gradient Methods Using Raw
Clusters", NIPS 2016 (ClusterSVRG).

The linear layer alone is trained, on the penultimate features of the finished pretraining run:
variance reduction needs the same function at every visit, and so neither augmentation nor batch
statistics. With c the cluster of point i, x~ the snapshot of the epoch and p_c the share of
cluster c, the gradient estimate

    g = grad_i(x) - (grad_i(x~) + zeta_c) + grad(x~) + sum_c p_c zeta_c

is unbiased for any zeta; zeta = 0 is SVRG (Johnson and Zhang 2013). After a visit
zeta_c = grad_i(x) - grad_i(x~).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from robustfl.selection import SELECTORS, weights
from robustfl.study.run_spec import RunSpec
from robustfl.training.data import Data
from robustfl.training.epoch_plan import Plan
from robustfl.training.inference import features
from robustfl.training.resnet import last_layer
from robustfl.training.steps.eager import EagerSteps

CLUSTERS = 10  # per class, by facility location on the features


class RawClusterSteps(EagerSteps):
    """SGD on the linear layer of a pretrained `model`, with ClusterSVRG's gradient estimates.

    The layer starts from zero, since the convex problem has no preferred start. The learning rate
    is the plan's, weight decay is the spec's, and there is no momentum.
    """

    def __init__(self, model: nn.Module, data: Data, spec: RunSpec, track: bool = False) -> None:
        super().__init__(model, data, spec, track)
        self.layer = last_layer(model)
        with torch.no_grad():
            penultimate = features(model, data.images, spec.precision)
            self.setup = len(penultimate)
            for parameter in self.layer.parameters():
                parameter.zero_()
        # (n, 65): the bias is the weight of a column of ones
        self.inputs = torch.cat([penultimate, penultimate.new_ones(len(penultimate), 1)], 1)

        # the clusters, and the share p_c of each
        given = data.given_labels.cpu().numpy()
        points = penultimate.cpu().numpy()
        ratio = min(1.0, CLUSTERS * int(given.max() + 1) / len(given))
        picks = SELECTORS["facility_location"](points, given, ratio, None).indices
        owner = weights.assign(points, given, picks)
        self.cluster = torch.from_numpy(owner).to(penultimate.device)  # (n,)
        self.share = torch.bincount(self.cluster, minlength=len(picks)) / len(given)
        self.zeta = penultimate.new_zeros(len(picks), self.layer.out_features, self.inputs.shape[1])

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
        """None: images pass through the network once, at the start, for the features (`setup`)."""
        return 0, 0

    def _batch(self, plan: Plan, at: slice | torch.Tensor) -> torch.Tensor:
        index = plan.order[at]
        parameters = self._parameters()
        logits = self.inputs[index] @ parameters.T
        estimate = self.estimate(parameters, index).mean(0) + self.spec.weight_decay * parameters
        moved = parameters - self.lr * estimate
        self.layer.weight.copy_(moved[:, :-1])
        self.layer.bias.copy_(moved[:, -1])

        given = self.data.given_labels[index]
        return self._tally(index, given, logits, F.cross_entropy(logits, given, reduction="none"))

    def estimate(self, parameters: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(b, classes, 65) the estimate g of each point, all at the same zeta, which is updated
        afterwards.

        parameters: (classes, 65); index: (b,) int64.
        """
        change = self._gradient(parameters, index) - self._gradient(self.snapshot, index)
        mean_zeta = torch.einsum("c,cij->ij", self.share.to(self.zeta.dtype), self.zeta)
        result = change - self.zeta[self.cluster[index]] + self.whole + mean_zeta

        # a cluster with several points in the batch takes their mean
        for c in self.cluster[index].unique():
            self.zeta[c] = change[self.cluster[index] == c].mean(0)
        return result

    def _gradient(self, parameters: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(b, classes, 65) gradient of each point's cross entropy by the layer's parameters."""
        inputs = self.inputs[index]
        target = F.one_hot(self.data.given_labels[index], parameters.shape[0])
        residual = F.softmax(inputs @ parameters.T, 1) - target
        return residual[:, :, None] * inputs[:, None, :]

    def _parameters(self) -> torch.Tensor:
        """(classes, 65) a copy of the linear layer's weight and bias."""
        return torch.cat([self.layer.weight, self.layer.bias[:, None]], 1)

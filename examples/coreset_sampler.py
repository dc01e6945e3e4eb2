"""Train an ordinary PyTorch classifier on the 40 % of each class that its own gradients select.

The selection is made anew every epoch.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from robustfl import CoresetSampler
from robustfl.selection.sampler import Indexed

# three classes of normal points, a fifth of whose labels is wrong
torch.manual_seed(0)
labels = torch.randint(3, (1200,))
inputs = torch.randn(1200, 20) + 2 * nn.functional.one_hot(labels, 20)
noisy = torch.where(torch.rand(1200) < 0.3, torch.randint(3, (1200,)), labels)
data = TensorDataset(inputs[:900], noisy[:900])

# the sampler selects; `Indexed` tells the loop which points a batch has, to look up their weights
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
sampler = CoresetSampler(DataLoader(data, batch_size=256), model, ratio=0.4, radius=0.5, warmup=2)
loader = DataLoader(Indexed(data), batch_size=32, sampler=sampler)

for epoch in range(10):
    for x, y, index in loader:
        losses = nn.functional.cross_entropy(model(x), y, reduction="none")
        loss = (losses * sampler.weights[index]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with torch.no_grad():
        accuracy = (model(inputs[900:]).argmax(1) == labels[900:]).float().mean()
    print(
        f"epoch {epoch}: trained on {len(sampler.indices)} of {len(data)} points, "
        f"accuracy on clean labels {accuracy:.3f}"
    )

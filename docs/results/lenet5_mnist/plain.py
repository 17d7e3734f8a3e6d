"""The plain script that strided's LeNet-5 is compared with: what a course's answer looks like.

Adam 1e-3, batch 64, per-image transforms, 55,000 + 5,000 images, 10 epochs, the best by validation.

    python docs/results/lenet5_mnist/plain.py data
"""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

torch.manual_seed(0)
transform = transforms.Compose(
    [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
)
train_and_val = datasets.MNIST(sys.argv[1], train=True, transform=transform)
test = datasets.MNIST(sys.argv[1], train=False, transform=transform)
train, val = random_split(train_and_val, [55_000, 5_000])
train_loader = DataLoader(train, batch_size=64, shuffle=True, num_workers=2)
val_loader = DataLoader(val, batch_size=1000, num_workers=2)
test_loader = DataLoader(test, batch_size=1000, num_workers=2)

model = nn.Sequential(
    nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
    nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
    nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
    nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()


@torch.no_grad()
def accuracy(loader: DataLoader) -> float:
    """Fraction of a loader's images that are classified rightly."""
    model.eval()
    hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
    return hits / len(loader.dataset)


start = time.time()
best, best_state = 0.0, {}
for epoch in range(10):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    val_accuracy = accuracy(val_loader)
    print(f"epoch {epoch} val {val_accuracy:.4f} {time.time() - start:.1f} s", flush=True)
    if val_accuracy > best:
        best = val_accuracy
        best_state = {k: v.clone() for k, v in model.state_dict().items()}
seconds = time.time() - start
model.load_state_dict(best_state)
print(f"test accuracy {accuracy(test_loader):.4f}, training {seconds:.1f} s")

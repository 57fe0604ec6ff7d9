# SPDX-License-Identifier: Apache-2.0
"""The model, the data and the training; nothing in here knows of Flower."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

# Of 1797 images of 8 x 8 pixels; the server evaluates on the last ones.
N_TEST_IMAGES = 360
MAX_PIXEL = 16.0


class Net(nn.Module):
    """A small convolutional network for 8 x 8 grey-scale images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(32 * 2 * 2, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit per class."""
        features = self.pool(torch.relu(self.conv1(images)))
        features = self.pool(torch.relu(self.conv2(features)))
        return self.fc2(torch.relu(self.fc1(features.flatten(1))))


def load_images() -> tuple[TensorDataset, TensorDataset]:
    """Return training and test images, shuffled once and for all."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / MAX_PIXEL
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    dataset = images[order], labels[order]
    train = TensorDataset(*(part[:-N_TEST_IMAGES] for part in dataset))
    test = TensorDataset(*(part[-N_TEST_IMAGES:] for part in dataset))
    return train, test


def load_data(
    partition_id: int, num_partitions: int, batch_size: int
) -> tuple[DataLoader, DataLoader]:
    """Return the training and validation images of one client."""
    train, _ = load_images()
    own = range(partition_id, len(train), num_partitions)
    n_validation = len(own) // 5
    return (
        DataLoader(
            torch.utils.data.Subset(train, own[n_validation:]),
            batch_size=batch_size,
            shuffle=True,
        ),
        DataLoader(torch.utils.data.Subset(train, own[:n_validation]), batch_size=batch_size),
    )


def load_test_data() -> DataLoader:
    """Return the images that the server evaluates on."""
    _, test = load_images()
    return DataLoader(test, batch_size=len(test))


def train(
    net: nn.Module, loader: DataLoader, epochs: int, lr: float, device: torch.device
) -> float:
    """Train in place and return the mean loss."""
    net.to(device).train()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    total = 0.0
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / (epochs * len(loader))


def test(net: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float]:
    """Return mean loss and accuracy."""
    net.to(device).eval()
    criterion = nn.CrossEntropyLoss(reduction="sum")
    loss, n_correct, n_images = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = net(images.to(device))
            loss += criterion(logits, labels.to(device)).item()
            n_correct += int((logits.argmax(1).cpu() == labels).sum())
            n_images += len(labels)
    return loss / n_images, n_correct / n_images

"""The networks Blindsight ships, as plain PyTorch modules.

Each takes float32 (N, C, H, W) = (x / 255 - mean) / std and returns logits (N, 10). They are small on
purpose: in the secure run a ReLU costs about 28 bytes and every tensor that feeds a linear layer is opened
once, so few wide early activations matter more than few weights.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """MNIST: two 5x5 convolutions with max-pooling and two fully connected layers (LeCun et al. 1998, with
    ReLU).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5)
        self.conv2 = nn.Conv2d(8, 16, 5)
        self.fc1 = nn.Linear(256, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def _conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout))


class FashionNet(nn.Module):
    """Fashion-MNIST: three 3x3 convolutions with batch normalisation and max-pooling, one fully connected
    layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(_conv_bn(1, 16), nn.ReLU(), nn.MaxPool2d(2)),
            *(_conv_bn(16, 32), nn.ReLU(), nn.MaxPool2d(2)),
            *(_conv_bn(32, 64), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(576, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class Residual(nn.Module):
    """Basic residual block (He et al. 2016): two 3x3 convolutions and a 1x1 shortcut where the shape changes."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(cin, cout, 3, stride)
        self.second = _conv_bn(cout, cout)
        self.shortcut = nn.Identity() if stride == 1 and cin == cout else _conv_bn(cin, cout, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class CompactResNet(nn.Module):
    """CIFAR-10: a 16-channel stem and five residual blocks down to 4 x 4, 14 M multiplications a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv_bn(3, 16), nn.ReLU())
        self.blocks = nn.Sequential(
            Residual(16, 32, 2),
            Residual(32, 32, 1),
            Residual(32, 64, 2),
            Residual(64, 64, 1),
            Residual(64, 96, 2),
        )
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class VGG16(nn.Module):
    """CIFAR-10: VGG-16 (Simonyan and Zisserman 2015, configuration D) with batch normalisation; thirteen 3x3
    convolutions, five max-pools down to 1 x 1, and a 512-512-10 classifier: 313 M multiplications a picture.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(depth):
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(512, 512), nn.ReLU()),
            *(nn.Linear(512, 512), nn.ReLU()),
            nn.Linear(512, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))

    def coarse(self, x: Tensor) -> Tensor:
        """Logits of pictures of half the size, for the first part of a training: all but the last pool."""
        return self.classifier(self.features[:-1](x).flatten(1))

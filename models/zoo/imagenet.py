"""VGG-16 in torchvision's layout (its `vgg16`), so that its state dicts load: 1000 classes, 224 x 224 pictures."""

from __future__ import annotations

from torch import Tensor, nn

from .vgg224 import CLASSES, HIDDEN, WIDTHS


class VGG16(nn.Module):
    """Configuration D of Simonyan and Zisserman (ICLR 2015): `features`, `avgpool` (the identity at 224), `classifier`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in WIDTHS:
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(49 * channels, HIDDEN), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout()),
            nn.Linear(HIDDEN, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))

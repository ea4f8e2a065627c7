"""Small models with the habits that other people's models have."""

import pytorch_lightning as lightning
import torch
from torch import nn

from diffstab.nets import CNN


class Shared(nn.Module):
    """One module under two names, one that runs twice, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.alias = self.first
        self.relu = nn.ReLU()
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = self.relu(self.relu(self.first(x)) - 0.1)
        return self.head(x.mean((2, 3)))


class DictOutput(nn.Module):
    """Logits and features in a dictionary; the features' module puts out a tuple."""

    def __init__(self):
        super().__init__()
        self.features = Pair()
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        features, _ = self.features(x)
        return {"logits": self.head(features), "more": {"features": features}}


class Pair(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x


class Tokens(nn.Module):
    """A transformer of equal blocks on patches, with a class token."""

    def __init__(self, blocks=3):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.encoder(torch.cat([self.token.expand(len(x), 1, 8), x], 1))
        return self.head(x[:, 0])


class Lit(lightning.LightningModule):
    """A Lightning module with hyper-parameters, a metric's buffer beside the net, and a net in `model`."""

    def __init__(self, channels, out_features=5):
        super().__init__()
        self.save_hyperparameters()
        self.model = CNN(3, (channels,), out_features=out_features)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        return self.model(x)


def needs_sizes(channels, *, outputs=2):
    return CNN(3, (channels,), out_features=outputs)


def function_of_means():
    return lambda images: images.mean((2, 3))


def broken():
    raise RuntimeError("no such luck")


NUMBER = 3
READY = nn.Flatten()

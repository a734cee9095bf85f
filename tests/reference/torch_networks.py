"""The networks of the comparison in plain PyTorch. Imported in the reference environment alone.

Each takes the weights of its Keras twin as a list of layers in the order of the computation, and
each layer as the arrays of `layer.get_weights()`.
"""

import torch
from torch import nn
from torch.nn import functional


class Weights:
    """The arrays of a Keras model, handed out layer by layer."""

    def __init__(self, archive):
        self._archive = archive
        self._next = 0

    def take(self):
        layer = []
        while f"{self._next}_{len(layer)}" in self._archive:
            layer.append(torch.tensor(self._archive[f"{self._next}_{len(layer)}"]))
        self._next += 1
        return layer


def convolution(weights, stride=1, bias=False):
    """A convolution padded on both sides alike, from a Keras kernel (height, width, in, out)."""
    kernel, *rest = weights.take()
    size, _, channels, filters = kernel.shape
    layer = nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=bias)
    layer.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
    if bias:
        layer.bias.data = rest[0]
    return layer


def norm(weights):
    gamma, beta, mean, variance = weights.take()
    layer = nn.BatchNorm2d(len(gamma), eps=1e-5)
    layer.weight.data, layer.bias.data = gamma, beta
    layer.running_mean, layer.running_var = mean, variance
    return layer


def dense(weights):
    kernel, bias = weights.take()
    layer = nn.Linear(*kernel.shape)
    layer.weight.data, layer.bias.data = kernel.T.contiguous(), bias
    return layer


class SmallNet(nn.Module):
    """Two convolutions, average pooling, global average pooling."""

    def __init__(self, weights):
        super().__init__()
        self.first = convolution(weights, bias=True)
        self.second = convolution(weights, bias=True)
        self.head = dense(weights)

    def forward(self, x):
        x = functional.avg_pool2d(functional.relu(self.first(x)), 2)
        x = functional.relu(self.second(x)).mean((2, 3))
        return self.head(x)


class BasicBlock(nn.Module):
    """Two convolutions around a shortcut: projected, or padded with zeros, or the identity."""

    def __init__(self, weights, stride, projected):
        super().__init__()
        self.projection = None
        if projected:
            self.projection = nn.Sequential(convolution(weights, stride), norm(weights))
        self.stride = stride
        self.body = nn.Sequential(
            convolution(weights, stride),
            norm(weights),
            nn.ReLU(),
            convolution(weights),
            norm(weights),
        )

    def forward(self, x):
        change = self.body(x)
        if self.projection is not None:
            x = self.projection(x)
        elif self.stride > 1:
            missing = change.shape[1] - x.shape[1]
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
        return functional.relu(x + change)


class ResNet(nn.Module):
    """A residual network with a 3 x 3 stem; `scale` and `offset` come before everything."""

    def __init__(self, weights, blocks, projected, scale=1.0, offset=0.0):
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32).view(-1, 1, 1))
        self.stem = nn.Sequential(convolution(weights), norm(weights), nn.ReLU())
        strides = [
            2 if stage > 0 and block == 0 else 1
            for stage, count in enumerate(blocks)
            for block in range(count)
        ]
        self.blocks = nn.Sequential(
            *(BasicBlock(weights, stride, projected and stride > 1) for stride in strides)
        )
        self.head = dense(weights)

    def forward(self, x):
        x = self.blocks(self.stem(x * self.scale + self.offset))
        return self.head(x.mean((2, 3)))


def build(name, archive):
    """A network in inference mode, from the arrays of an `.npz` file."""
    weights = Weights(archive)
    if name == "small":
        network = SmallNet(weights)
    elif name == "resnet18":
        network = ResNet(weights, (2, 2, 2, 2), projected=True)
    else:
        network = ResNet(
            weights, (3, 3, 3), projected=False, scale=archive["scale"], offset=archive["offset"]
        )
    return network.eval().requires_grad_(False)

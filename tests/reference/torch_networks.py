"""The networks of the comparison in plain PyTorch. Imported in the reference environment alone.

Each takes the weights of its Keras twin as a list of layers in the order of the computation, or by
the names of the layers where there are several ways through the network, and each layer as the
arrays of `layer.get_weights()`.
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

    def named(self, name):
        """The arrays of one layer, to be taken once."""
        return NamedWeights(self._archive, name)


class NamedWeights:
    """The arrays of the Keras layer of one name."""

    def __init__(self, archive, name):
        self._archive = archive
        self._name = name

    def take(self):
        layer = []
        while f"{self._name}_{len(layer)}" in self._archive:
            layer.append(torch.tensor(self._archive[f"{self._name}_{len(layer)}"]))
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
        # Preprocessing, no weights: `state_dict` does not list them.
        for name, value in (("scale", scale), ("offset", offset)):
            values = torch.as_tensor(value, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
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


class PreActivationBlock(nn.Module):
    """Normalisation and ReLU before each of two convolutions; a projection reads the first."""

    def __init__(self, weights, stride, projected):
        super().__init__()
        self.first_norm = norm(weights)
        self.projection = convolution(weights, stride) if projected else None
        self.first = convolution(weights, stride)
        self.second_norm = norm(weights)
        self.second = convolution(weights)

    def forward(self, x):
        y = functional.relu(self.first_norm(x))
        if self.projection is not None:
            x = self.projection(y)
        y = self.first(y)
        return x + self.second(functional.relu(self.second_norm(y)))


class WideResNet(nn.Module):
    """Three stages; wider than the stem, the first one begins with a projection as well."""

    def __init__(self, weights, depth, width):
        super().__init__()
        self.stem = convolution(weights)
        count = (depth - 4) // 6
        self.blocks = nn.Sequential(
            *(
                PreActivationBlock(
                    weights,
                    stride=2 if stage > 0 and block == 0 else 1,
                    projected=block == 0 and (stage > 0 or width > 1),
                )
                for stage in range(3)
                for block in range(count)
            )
        )
        self.norm = norm(weights)
        self.head = dense(weights)

    def forward(self, x):
        x = functional.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(x.mean((2, 3)))


def convolution_norm_relu(weights, name, stride=1):
    """Three modules, from the Keras layers `<name>_conv` and `<name>_norm`."""
    return nn.Sequential(
        convolution(weights.named(f"{name}_conv"), stride),
        norm(weights.named(f"{name}_norm")),
        nn.ReLU(),
    )


class MSDNet(nn.Module):
    """The Multi-Scale Dense Network for CIFAR: 20 layers, 5 exits, 3 scales.

    `scales[l]` lists the scales that layer l makes: all three up to layer 7, the two coarser ones
    up to layer 14, then the coarsest alone.
    """

    def __init__(self, weights):
        super().__init__()
        self.scales = {
            layer: [1, 2, 3] if layer < 8 else [2, 3] if layer < 15 else [3]
            for layer in range(1, 21)
        }
        self.parts = nn.ModuleDict()
        for scale in (1, 2, 3):
            self._add(weights, f"first_scale{scale}", stride=1 if scale == 1 else 2)
        for layer, scales in self.scales.items():
            for scale in scales:
                prefix = f"layer{layer}_scale{scale}"
                self._add(weights, f"{prefix}_same_bottleneck")
                self._add(weights, f"{prefix}_same")
                # At the layer that ends a scale, the next one still reads it.
                if scale > 1 and scale - 1 in self.scales[max(layer - 1, 1)]:
                    self._add(weights, f"{prefix}_down_bottleneck")
                    self._add(weights, f"{prefix}_down", stride=2)
                if layer in (8, 15):
                    self._add(weights, f"{prefix}_transition")
        self.heads = nn.ModuleList()
        for index in range(1, 6):
            self._add(weights, f"exit{index}_1", stride=2)
            self._add(weights, f"exit{index}_2", stride=2)
            self.heads.append(dense(weights.named(f"exit{index}_logits")))

    def _add(self, weights, name, stride=1):
        self.parts[name] = convolution_norm_relu(weights, name, stride)

    def _grow(self, maps, layer, scale):
        prefix = f"layer{layer}_scale{scale}"
        ways = [maps[scale]]
        for way, source in (("down", scale - 1), ("same", scale)):
            if f"{prefix}_{way}" in self.parts:
                narrow = self.parts[f"{prefix}_{way}_bottleneck"](maps[source])
                ways.append(self.parts[f"{prefix}_{way}"](narrow))
        grown = torch.cat(ways, dim=1)
        if layer in (8, 15):
            grown = self.parts[f"{prefix}_transition"](grown)
        return grown

    def forward(self, x):
        maps = {}
        for scale in (1, 2, 3):
            x = maps[scale] = self.parts[f"first_scale{scale}"](x)
        logits = []
        for layer, scales in self.scales.items():
            maps = {scale: self._grow(maps, layer, scale) for scale in scales}
            if layer % 4 == 0:
                index = layer // 4
                y = self.parts[f"exit{index}_2"](self.parts[f"exit{index}_1"](maps[3]))
                logits.append(self.heads[index - 1](functional.avg_pool2d(y, 2).flatten(1)))
        return torch.stack(logits, dim=1)


def build(name, archive):
    """A network in inference mode, from the arrays of an `.npz` file."""
    weights = Weights(archive)
    if name == "small":
        network = SmallNet(weights)
    elif name == "resnet18":
        network = ResNet(weights, (2, 2, 2, 2), projected=True)
    elif name == "resnet34":
        network = ResNet(weights, (3, 4, 6, 3), projected=True)
    elif name.startswith("wide_resnet_"):
        depth, width = map(int, name.removeprefix("wide_resnet_").split("_"))
        network = WideResNet(weights, depth, width)
    elif name == "msdnet":
        network = MSDNet(weights)
    else:
        network = ResNet(
            weights, (3, 3, 3), projected=False, scale=archive["scale"], offset=archive["offset"]
        )
    return network.eval().requires_grad_(False)

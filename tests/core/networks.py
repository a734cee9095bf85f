"""Small classifiers with the same weights on every backend, and one of them in numpy's float64."""

import keras
import numpy as np
from keras import layers

CLASSES = 5
SHAPE = (5, 5, 2)
FILTERS = 3
ACTIVATIONS = ("relu", "softplus", "gelu")


def drawn(model, seed=1):
    """The model, its weights drawn by numpy, in the order that it lists them."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2.0, size=variable.shape))
        elif "seed" not in variable.path:
            size = max(1, int(np.prod(variable.shape[:-1])))
            variable.assign(rng.normal(size=variable.shape) / np.sqrt(size))
    return model


def classifier(activation="relu", normalization=False):
    """A convolution, a normalization if asked for, an activation and a dense layer: logits."""
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(FILTERS, 3, name="convolution")(inputs)
    if normalization:
        x = layers.BatchNormalization(momentum=0.9, name="normalization")(x)
    x = layers.Activation(activation, name="features")(x)
    x = layers.Dense(CLASSES, name="logits")(layers.Flatten()(x))
    return drawn(keras.Model(inputs, x))


def with_exits():
    """Three exits, for images that PNG files hold."""
    inputs = keras.Input((8, 8, 1))
    x, outputs = inputs, []
    for number in range(3):
        x = layers.Conv2D(4, 3, padding="same", activation="softplus", name=f"stage{number}")(x)
        pooled = layers.GlobalAveragePooling2D()(x)
        outputs.append(layers.Dense(CLASSES, name=f"exit{number}")(pooled))
    return drawn(keras.Model(inputs, outputs))


def batch(count=6, shape=SHAPE, seed=2):
    """Inputs between 0 and 1, and labels."""
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(count, *shape)).astype("float32"), np.arange(count) % CLASSES


class Reference:
    """`classifier` in numpy's float64, in training mode, and its derivatives by differences.

    Args:
        model: what `classifier` gave; its weights are copied.
        activation: of it.
    """

    def __init__(self, model, activation):
        self.weights = {
            f"{weight.path.split('/')[-2]}/{weight.name}": np.asarray(
                keras.ops.convert_to_numpy(weight), "float64"
            )
            for weight in model.weights
        }
        self.normalized = "normalization/gamma" in self.weights
        self.activation = activation
        # Set to hold the statistics of a batch.
        self.statistics = None

    def logits(self, x, weights=None):
        """Float64, `(batch, classes)`."""
        w = weights or self.weights
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        x = np.einsum("bhwcij,ijcf->bhwf", windows, w["convolution/kernel"])
        x = x + w["convolution/bias"]
        if self.normalized:
            mean, variance = self.statistics or (x.mean((0, 1, 2)), x.var((0, 1, 2)))
            x = (x - mean) / np.sqrt(variance + 1e-3)
            x = x * w["normalization/gamma"] + w["normalization/beta"]
        x = _ACTIVATIONS[self.activation](x)
        return x.reshape(len(x), -1) @ w["logits/kernel"] + w["logits/bias"]

    def hold_statistics(self, x):
        """Has the statistics of a batch count as constant."""
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        x = np.einsum("bhwcij,ijcf->bhwf", windows, self.weights["convolution/kernel"])
        x = x + self.weights["convolution/bias"]
        self.statistics = x.mean((0, 1, 2)), x.var((0, 1, 2))

    def input_gradient(self, x, cotangent, weights=None, step=1e-5):
        """`sum_j cotangent[b, j] * d logits[b, j] / d inputs[b]` by central differences."""
        gradient = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            moved = []
            for sign in (1, -1):
                other = x.copy()
                other[place] += sign * step
                moved.append(np.sum(cotangent * self.logits(other, weights)))
            gradient[place] = (moved[0] - moved[1]) / (2 * step)
        return gradient


def _gelu(x):
    from scipy.special import ndtr

    return x * ndtr(x)


_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0.0),
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "gelu": _gelu,
}

"""Every layer and activation of Keras that a network could be trained through, in a tiny network.

Each entry is a block between the input and a last dense layer. `second_derivatives` measures a
network's mixed second derivative by finite differences in float64, which need no gradient of
anybody's.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_lodin.gradients import ForwardPass
from tests.core import outer_gradient

CLASSES = 3
IMAGE = (6, 6, 4)
SERIES = (6, 4)
VOLUME = (4, 4, 4, 2)
VECTOR = (6,)


def convolved(layer):
    return lambda x: ops.tanh(layer()(layers.Conv2D(4, 3, padding="same")(x)))


def plain(layer):
    return lambda x: ops.tanh(layer()(ops.tanh(x)))


def dense(layer):
    return lambda x: ops.tanh(layer()(layers.Dense(6)(x)))


def merged(layer):
    return lambda x: ops.tanh(layer()([layers.Dense(6)(x), layers.Dense(6)(x)]))


def of(shape, place, **table):
    return {name.replace("_", " "): (place(layer), shape) for name, layer in table.items()}


ACTIVATIONS = sorted(
    name
    for name in dir(keras.activations)
    if not name.startswith("_") and name not in ("get", "serialize", "deserialize", "glu")
)

TABLE = {
    **{
        f"activation {name}": (
            lambda x, name=name: layers.Activation(name)(1.5 * layers.Dense(6)(x)),
            VECTOR,
        )
        for name in ACTIVATIONS
        if name != "threshold"
    },
    "activation threshold": (
        lambda x: keras.activations.threshold(layers.Dense(6)(x), 0.1, 0.0),
        VECTOR,
    ),
    "activation glu": (lambda x: keras.activations.glu(layers.Dense(6)(x)), VECTOR),
    # What computes moments, fused and unfused.
    **of(
        IMAGE,
        convolved,
        BatchNormalization=lambda: layers.BatchNormalization(),
        BatchNormalization_first_axis=lambda: layers.BatchNormalization(axis=1),
        BatchNormalization_without_factors=lambda: layers.BatchNormalization(
            scale=False, center=False
        ),
        BatchNormalization_renorm=lambda: layers.BatchNormalization(renorm=True),
        BatchNormalization_synchronized=lambda: layers.BatchNormalization(synchronized=True),
        LayerNormalization=lambda: layers.LayerNormalization(),
        LayerNormalization_two_axes=lambda: layers.LayerNormalization(axis=(2, 3)),
        LayerNormalization_all_axes=lambda: layers.LayerNormalization(axis=(1, 2, 3)),
        GroupNormalization=lambda: layers.GroupNormalization(2),
        GroupNormalization_instances=lambda: layers.GroupNormalization(-1),
        RMSNormalization=lambda: layers.RMSNormalization(),
        UnitNormalization=lambda: layers.UnitNormalization(),
        UnitNormalization_two_axes=lambda: layers.UnitNormalization(axis=(1, 2)),
        Normalization=lambda: layers.Normalization(mean=0.2, variance=2.0),
        Dropout=lambda: layers.Dropout(0.3, seed=1),
        SpatialDropout2D=lambda: layers.SpatialDropout2D(0.3, seed=1),
        GaussianNoise=lambda: layers.GaussianNoise(0.3, seed=1),
        GaussianDropout=lambda: layers.GaussianDropout(0.3, seed=1),
        AlphaDropout=lambda: layers.AlphaDropout(0.3, seed=1),
        ActivityRegularization=lambda: layers.ActivityRegularization(0.1),
        MaxPooling2D=lambda: layers.MaxPooling2D(2),
        MaxPooling2D_overlapping=lambda: layers.MaxPooling2D(3, 2, padding="same"),
        MaxPooling2D_same_size=lambda: layers.MaxPooling2D(3, 1, padding="same"),
        AveragePooling2D=lambda: layers.AveragePooling2D(2),
        AveragePooling2D_same=lambda: layers.AveragePooling2D(3, 2, padding="same"),
        GlobalAveragePooling2D=lambda: layers.GlobalAveragePooling2D(),
        GlobalMaxPooling2D=lambda: layers.GlobalMaxPooling2D(),
        AdaptiveAveragePooling2D=lambda: layers.AdaptiveAveragePooling2D((3, 2)),
        AdaptiveMaxPooling2D=lambda: layers.AdaptiveMaxPooling2D((3, 2)),
        Conv2D=lambda: layers.Conv2D(3, 3, activation="gelu"),
        Conv2D_strided=lambda: layers.Conv2D(3, 3, 2, padding="same"),
        Conv2D_dilated=lambda: layers.Conv2D(3, 2, dilation_rate=2),
        Conv2D_grouped=lambda: layers.Conv2D(4, 3, groups=2),
        Conv2DTranspose=lambda: layers.Conv2DTranspose(3, 3, 2),
        DepthwiseConv2D=lambda: layers.DepthwiseConv2D(3, 2),
        SeparableConv2D=lambda: layers.SeparableConv2D(3, 3),
        UpSampling2D=lambda: layers.UpSampling2D(2),
        UpSampling2D_bilinear=lambda: layers.UpSampling2D(2, interpolation="bilinear"),
        UpSampling2D_bicubic=lambda: layers.UpSampling2D(2, interpolation="bicubic"),
        Resizing=lambda: layers.Resizing(4, 5),
        Resizing_antialias=lambda: layers.Resizing(4, 5, antialias=True, dtype="float32"),
        CenterCrop=lambda: layers.CenterCrop(4, 4),
        Cropping2D=lambda: layers.Cropping2D(1),
        ZeroPadding2D=lambda: layers.ZeroPadding2D(1),
        Rescaling=lambda: layers.Rescaling(0.5, 0.1),
        Permute=lambda: layers.Permute((2, 3, 1)),
        Reshape=lambda: layers.Reshape((12, 12)),
        Flatten=lambda: layers.Flatten(),
        Identity=lambda: layers.Identity(),
        Lambda=lambda: layers.Lambda(lambda x: ops.sin(x) * x),
        Softmax=lambda: layers.Softmax(),
        ReLU=lambda: layers.ReLU(max_value=1.0, negative_slope=0.1),
        LeakyReLU=lambda: layers.LeakyReLU(),
        PReLU=lambda: layers.PReLU(shared_axes=(1, 2)),
        ELU=lambda: layers.ELU(),
        TimeDistributed=lambda: layers.TimeDistributed(layers.Conv1D(3, 3)),
        ConvLSTM1D=lambda: layers.ConvLSTM1D(2, 3),
    ),
    **of(
        SERIES,
        plain,
        Conv1D=lambda: layers.Conv1D(3, 3, padding="causal"),
        Conv1D_grouped=lambda: layers.Conv1D(4, 3, groups=2),
        Conv1DTranspose=lambda: layers.Conv1DTranspose(3, 3, 2),
        DepthwiseConv1D=lambda: layers.DepthwiseConv1D(3),
        SeparableConv1D=lambda: layers.SeparableConv1D(3, 3),
        MaxPooling1D=lambda: layers.MaxPooling1D(2),
        MaxPooling1D_same_size=lambda: layers.MaxPooling1D(3, 1, padding="same"),
        AveragePooling1D=lambda: layers.AveragePooling1D(2),
        GlobalAveragePooling1D=lambda: layers.GlobalAveragePooling1D(),
        GlobalMaxPooling1D=lambda: layers.GlobalMaxPooling1D(),
        AdaptiveAveragePooling1D=lambda: layers.AdaptiveAveragePooling1D(2),
        AdaptiveMaxPooling1D=lambda: layers.AdaptiveMaxPooling1D(2),
        UpSampling1D=lambda: layers.UpSampling1D(2),
        Cropping1D=lambda: layers.Cropping1D(1),
        ZeroPadding1D=lambda: layers.ZeroPadding1D(1),
        SpatialDropout1D=lambda: layers.SpatialDropout1D(0.3, seed=1),
        EinsumDense=lambda: layers.EinsumDense("abc,cd->abd", (6, 3), bias_axes="d"),
        LSTM=lambda: layers.LSTM(3),
        GRU=lambda: layers.GRU(3),
        SimpleRNN=lambda: layers.SimpleRNN(3),
        RNN=lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
        LSTM_unrolled=lambda: layers.LSTM(3, unroll=True),
        Bidirectional=lambda: layers.Bidirectional(layers.GRU(2, unroll=True)),
        Masking=lambda: layers.Masking(),
        BatchNormalization_of_a_series=lambda: layers.BatchNormalization(),
    ),
    "Attention": (lambda x: layers.Attention()([ops.tanh(x), x]), SERIES),
    "AdditiveAttention": (lambda x: layers.AdditiveAttention()([ops.tanh(x), x]), SERIES),
    "MultiHeadAttention": (
        lambda x: x + layers.MultiHeadAttention(2, 3)(layers.LayerNormalization()(x), x),
        SERIES,
    ),
    "GroupQueryAttention": (lambda x: layers.GroupQueryAttention(2, 2, 1)(x, x), SERIES),
    **of(
        VOLUME,
        plain,
        Conv3D=lambda: layers.Conv3D(3, 2),
        Conv3DTranspose=lambda: layers.Conv3DTranspose(2, 2, 2),
        MaxPooling3D=lambda: layers.MaxPooling3D(2, dtype="float32"),
        MaxPooling3D_same_size=lambda: layers.MaxPooling3D(3, 1, padding="same", dtype="float32"),
        AveragePooling3D=lambda: layers.AveragePooling3D(2, dtype="float32"),
        GlobalAveragePooling3D=lambda: layers.GlobalAveragePooling3D(),
        GlobalMaxPooling3D=lambda: layers.GlobalMaxPooling3D(),
        AdaptiveAveragePooling3D=lambda: layers.AdaptiveAveragePooling3D(2, dtype="float32"),
        AdaptiveMaxPooling3D=lambda: layers.AdaptiveMaxPooling3D(2, dtype="float32"),
        UpSampling3D=lambda: layers.UpSampling3D(2),
        Cropping3D=lambda: layers.Cropping3D(1),
        ZeroPadding3D=lambda: layers.ZeroPadding3D(1),
        SpatialDropout3D=lambda: layers.SpatialDropout3D(0.3, seed=1),
        ConvLSTM2D=lambda: layers.ConvLSTM2D(2, 2),
    ),
    **of(
        VECTOR,
        dense,
        Dense=lambda: layers.Dense(4, activation="selu"),
        Activation=lambda: layers.Activation("mish"),
        RepeatVector=lambda: layers.RepeatVector(2),
        BatchNormalization_of_a_vector=lambda: layers.BatchNormalization(),
    ),
    **of(
        VECTOR,
        merged,
        Add=lambda: layers.Add(),
        Subtract=lambda: layers.Subtract(),
        Multiply=lambda: layers.Multiply(),
        Average=lambda: layers.Average(),
        Maximum=lambda: layers.Maximum(),
        Minimum=lambda: layers.Minimum(),
        Concatenate=lambda: layers.Concatenate(),
        Dot=lambda: layers.Dot(-1),
    ),
    "moments": (lambda x: ops.concatenate(ops.moments(x, axes=(1, 2)), -1), IMAGE),
    "mean and variance": (lambda x: ops.mean(x**2, (1, 2)) - ops.var(x, (1, 2)), IMAGE),
    "standard deviation": (lambda x: ops.std(layers.Dense(4)(x), (1, 2)), IMAGE),
    "normalize": (lambda x: ops.normalize(layers.Dense(4)(x), axis=-1), VECTOR),
    "einsum": (lambda x: ops.einsum("bhwc,bhwd->bcd", x, ops.tanh(x)), IMAGE),
    "logsumexp": (lambda x: ops.logsumexp(layers.Dense(4)(x), axis=-2), SERIES),
    "where": (lambda x: ops.where(x > 0.1, ops.sin(x), ops.square(x)), VECTOR),
    "sort": (lambda x: ops.sort(layers.Dense(4)(x), axis=-1), VECTOR),
    "cumulative sum": (lambda x: ops.cumsum(ops.sin(layers.Dense(4)(x)), axis=-1), VECTOR),
    "squeeze and excitation": (
        lambda x: (
            layers.Dense(4)(x)
            * layers.Dense(4, activation="sigmoid")(
                layers.GlobalAveragePooling2D(keepdims=True)(ops.tanh(x))
            )
        ),
        IMAGE,
    ),
}

if keras.backend.backend() != "tensorflow":  # which alone has it
    del TABLE["BatchNormalization synchronized"]

# What PyTorch has no derivatives or wrong ones of, so that the package composes it anew.
MENDED = ("activation hard_sigmoid", "LayerNormalization", "MultiHeadAttention")

# TensorFlow computes these in float32 only, so that finite differences are coarse.
SINGLE_PRECISION = frozenset(
    {
        "AdaptiveAveragePooling3D",
        "AveragePooling3D",
        "Resizing",
        "Resizing antialias",
        "UpSampling2D bicubic",
        "UpSampling2D bilinear",
    }
)


if keras.backend.backend() == "jax":  # whose attention takes its softmax in single precision
    SINGLE_PRECISION |= {"GroupQueryAttention", "MultiHeadAttention"}


def largest_of_cubes(x):
    """What a 3D max pooling of cubes of two gives, of volumes of four."""
    return ops.max(ops.reshape(x, (-1, 2, 2, 2, 2, 2, 2, x.shape[-1])), axis=(2, 4, 6))


def largest_around(x):
    """What a 3D max pooling of cubes of three that keeps the size gives, of volumes of four."""
    padded = ops.pad(x, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)], constant_values=-1e9)
    places = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]
    around = [padded[:, i : i + 4, j : j + 4, k : k + 4] for i, j, k in places]
    return ops.max(ops.stack(around), axis=0)


# TensorFlow's kernels of these are for float32, and the steps that it can tell apart cross kinks.
# Finite differences are those of the same function in other words.
SAME_IN_OTHER_WORDS = {
    "MaxPooling3D": largest_of_cubes,
    "AdaptiveMaxPooling3D": largest_of_cubes,
    "MaxPooling3D same size": largest_around,
}

# The version of Keras whose layers these are.
CHECKED_WITH = "3.15.1"

_INTEGERS = "takes or gives integers or strings: there is nothing to differentiate"
_BASE = "no layer of its own: what others are made of, or wrap"
_AUGMENTATION = "draws its images anew in every call, by operations that others have here"
LEFT_OUT = {
    "CategoryEncoding": _INTEGERS,
    "Discretization": _INTEGERS,
    "Embedding": _INTEGERS,
    "HashedCrossing": _INTEGERS,
    "Hashing": _INTEGERS,
    "IntegerLookup": _INTEGERS,
    "ReversibleEmbedding": _INTEGERS,
    "StringLookup": _INTEGERS,
    "TextVectorization": _INTEGERS,
    "FlaxLayer": _BASE,
    "GRUCell": _BASE,
    "InputLayer": _BASE,
    "InputSpec": _BASE,
    "JaxLayer": _BASE,
    "LSTMCell": _BASE,
    "Layer": _BASE,
    "MaxNumBoundingBoxes": _BASE,
    "Pipeline": _BASE,
    "SimpleRNNCell": _BASE,
    "StackedRNNCells": _BASE,
    "TFSMLayer": _BASE,
    "TorchModuleWrapper": _BASE,
    "Wrapper": _BASE,
    **{
        name: _AUGMENTATION
        for name in dir(layers)
        if name.startswith("Random") or name in ("RandAugment", "AugMix", "AutoContrast")
    },
    "ContrastLimitedAdaptiveHistogramEqualization": _AUGMENTATION,
    "CutMix": _AUGMENTATION,
    "Equalization": _AUGMENTATION,
    "MixUp": _AUGMENTATION,
    "Solarization": _AUGMENTATION,
    "SpectralNormalization": "assigns its kernel while it is called, which no tape goes through",
    "ConvLSTM3D": "as ConvLSTM2D, and dear",
    "MelSpectrogram": "as STFTSpectrogram",
    "STFTSpectrogram": "a linear operation of convolutions, which take float32 alone",
}


def build(name, block=None):
    """A float64 classifier around a block of the table, its weights drawn at random."""
    shape = TABLE[name][1]
    block = block or TABLE[name][0]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        keras.utils.set_random_seed(5)
        inputs = keras.Input(shape, dtype="float64")
        model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(block(inputs))))
    finally:
        keras.config.set_dtype_policy(before)
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2.0, size=variable.shape))
        elif "seed" not in variable.path and np.issubdtype(variable.dtype, np.floating):
            fan_in = max(1, np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(size=variable.shape) / np.sqrt(fan_in))
    return model


class Held:
    """`keras.ops.stop_gradient` for finite differences: what it stops stays as it first was.

    BatchNormalization with `renorm` stops the gradient of its corrections on purpose: they are
    meant to be constant.
    """

    def __init__(self):
        self.values, self.place = [], 0

    def __call__(self, tensor):
        if self.place == len(self.values):
            self.values.append(ops.convert_to_tensor(ops.convert_to_numpy(tensor)))
        self.place += 1
        return self.values[self.place - 1]


class SecondDerivative:
    """`d/ds d/dt <c, logits(W + s U, x + s V + t D)>` at 0 for random c, U, V and D.

    Args:
        name: an entry of the table.
    """

    def __init__(self, name):
        self.name = name
        self.model = model = build(name)
        other = SAME_IN_OTHER_WORDS.get(name)
        self._differentiable_in_steps = build(name, plain(lambda: other)) if other else model
        rng = np.random.default_rng(4)
        self.x = rng.normal(size=(4, *model.input_shape[1:]))
        self.moved, self.direction = (rng.normal(size=self.x.shape) for _ in range(2))
        self.cotangent = rng.normal(size=(4, CLASSES)).astype("float32")
        self.state = [ops.convert_to_numpy(v).copy() for v in model.non_trainable_variables]
        self.weights = [ops.convert_to_numpy(v).copy() for v in model.trainable_variables]
        self._held = Held()
        self.changes = [
            rng.normal(size=w.shape) / np.sqrt(max(1, np.prod(w.shape[:-1]))) for w in self.weights
        ]

    def value(self, s, t):
        """`<c, logits>` at some s and t."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("keras.src.ops.stop_gradient", self._held)
            self._held.place = 0
            logits = self._logits(s, t)
        return float(np.sum(self.cotangent * ops.convert_to_numpy(logits)))

    def _logits(self, s, t):
        logits, _ = self._differentiable_in_steps.stateless_call(
            [_tensor(w + s * u) for w, u in zip(self.weights, self.changes, strict=True)],
            [_tensor(v) for v in self.state],
            _tensor(self.x + s * self.moved + t * self.direction),
            training=True,
        )
        return logits

    def by_differences(self):
        """The second derivative, to the truncation and rounding of finite differences."""
        # The first value is the one that what is held belongs to.
        self.value(0.0, 0.0)
        step = 0.01 if self.name in SINGLE_PRECISION else 1e-4
        corners = [(a, b, self.value(a * step, b * step)) for a in (1, -1) for b in (1, -1)]
        return sum(a * b * value for a, b, value in corners) / (4 * step**2)

    def by(self, derivative):
        """What an outer tape makes of a derivative of the package, taken in training mode.

        Args:
            derivative: function of a `ForwardPass`, the cotangent and D to `<c, J D>`.
        """
        model = self.model
        self._restore()

        def value(x):
            forward_pass = ForwardPass(lambda inputs: model(inputs, training=True), x)
            return derivative(forward_pass, self.cotangent, self.direction)

        found = outer_gradient.gradients(value, self.x, model.trainable_variables)
        return sum(
            float(np.vdot(a, b)) for a, b in zip(found, [self.moved, *self.changes], strict=True)
        )

    def slope_of(self, derivative, step=1e-3):
        """The derivative by s of what the package computes, by finite differences."""
        model = self.model

        compute = outer_gradient.compiled(
            lambda x: derivative(
                ForwardPass(lambda inputs: model(inputs, training=True), x),
                self.cotangent,
                self.direction,
            ),
            self.x,
        )

        def value(s):
            self._restore()
            for variable, weight, change in zip(
                model.trainable_variables, self.weights, self.changes, strict=True
            ):
                variable.assign(weight + s * change)
            return float(ops.convert_to_numpy(compute(_tensor(self.x + s * self.moved))))

        slope = (value(step) - value(-step)) / (2 * step)
        value(0.0)
        return slope

    def _restore(self):
        for variable, value in zip(self.model.non_trainable_variables, self.state, strict=True):
            variable.assign(value)


def _tensor(array):
    return ops.convert_to_tensor(array, dtype=str(array.dtype))


def backwards(forward_pass, cotangent, direction):
    gradient = forward_pass.input_gradients(ops.convert_to_tensor(cotangent)[None])[0]
    return ops.sum(gradient * ops.convert_to_tensor(direction, dtype="float32"))


def forwards(forward_pass, cotangent, direction):
    along = forward_pass.directional_derivative(ops.convert_to_tensor(direction))
    return ops.sum(ops.convert_to_tensor(cotangent) * along)

"""Small classifiers for the tests, of several kinds."""

import keras
import numpy as np
from keras import layers

CLASSES = 7


def convolutional(normalization=False, activation="relu", classes=CLASSES, shape=(8, 8, 1)):
    inputs = keras.Input(shape, name="images")
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    if normalization:
        x = layers.BatchNormalization()(x)
    x = layers.Activation(activation)(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Flatten()(x)
    return with_statistics(keras.Model(inputs, layers.Dense(classes)(x)))


def dense(normalization=False, activation="tanh", classes=CLASSES, shape=(10,)):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(16)])
    if normalization:
        model.add(layers.BatchNormalization())
    model.add(layers.Activation(activation))
    model.add(layers.Dense(classes))
    return with_statistics(model)


def perceptron(num_classes, input_shape):
    """A network as `keras_lodin.models` has them, that trains at once."""
    inputs = keras.Input(input_shape, name="images")
    x = layers.Dense(16, name="hidden")(layers.Flatten()(inputs))
    x = layers.Activation("relu", name="features")(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Dense(num_classes, name="logits")(x), name="perceptron")


def residual(normalization=False, activation="gelu", classes=CLASSES, shape=(6, 6, 2)):
    inputs = keras.Input(shape)
    x = layers.Conv2D(5, 3, padding="same")(inputs)
    y = layers.BatchNormalization()(x) if normalization else x
    y = layers.Activation(activation)(y)
    y = layers.Conv2D(5, 3, padding="same")(y)
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return with_statistics(keras.Model(inputs, layers.Dense(classes)(x)))


def series(classes=CLASSES, shape=(20, 3)):
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv1D(8, 3, activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(classes),
        ]
    )


@keras.saving.register_keras_serializable(package="keras_lodin_tests")
class Subclassed(keras.Model):
    """A classifier whose graph of layers Keras does not know."""

    def __init__(self, classes=CLASSES, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.activation = activation
        self.flatten = layers.Flatten()
        self.hidden = layers.Dense(8, activation="tanh")
        self.head = layers.Dense(classes, activation=activation)

    def call(self, inputs):
        return self.head(self.hidden(self.flatten(inputs)))

    def get_config(self):
        return {**super().get_config(), "classes": self.classes, "activation": self.activation}


def subclassed(classes=CLASSES, shape=(8, 8, 1), activation=None):
    model = Subclassed(classes, activation)
    model(np.zeros((1, *shape), "float32"))
    return model


def with_statistics(model):
    """Gives BatchNormalization statistics that a trained network could have."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, size=layer.moving_variance.shape))
    return model


def state(model):
    """All that a test can leave changed in a model: to compare by `==`."""
    layers = [(layer.name, layer.trainable, layer.get_config()) for layer in model.layers]
    weights = [weight.tobytes() for weight in model.get_weights()]
    return model.name, model.compiled, layers, weights


def in_float64(make, model, **options):
    """The same network with the same weights, in double precision."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        twin = make(**options)
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    return twin


def with_exits(classes=CLASSES, shape=(8, 8, 1), exits=3):
    """A network that images can leave early: a trunk, and from each of its blocks an exit."""
    inputs = keras.Input(shape, name="images")
    x, outputs = inputs, []
    for number in range(1, exits + 1):
        skip = layers.Conv2D(4, 1, name=f"skip{number}")(x)
        x = layers.Conv2D(4, 3, padding="same", activation="tanh", name=f"block{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        pooled = layers.GlobalAveragePooling2D(name=f"exit{number}_features")(x)
        outputs.append(layers.Dense(classes, name=f"exit{number}_logits")(pooled))
        x = layers.Add(name=f"add{number}")([x, skip])
    return with_statistics(keras.Model(inputs, outputs, name="with_exits"))

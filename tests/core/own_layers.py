"""A layer and a function of a user's, in a module that other processes can import."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tests_core")
class Scaled(keras.layers.Layer):
    """Its inputs, times a number."""

    def __init__(self, factor=0.5, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="tests_core")
def bent(x):
    return ops.where(x > 0, x, 0.1 * x)

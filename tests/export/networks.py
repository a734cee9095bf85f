"""Small classifiers for the export tests."""

import keras


def small_classifier(shape=(8, 8, 3), name=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(shape, name=name),
            keras.layers.Conv2D(6, 3, activation="gelu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )

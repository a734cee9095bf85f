"""Small classifiers for the export tests, and every detector that can be put around them."""

import keras

from keras_lodin.detectors import (
    EnergyDetector,
    MahalanobisDetector,
    MaxLogitDetector,
    MSPDetector,
    ODINDetector,
)

FILES = {"tf_saved_model": "artifact", "onnx": "detector.onnx", "litert": "detector.tflite"}

# With a step, so that the input gradient is in the file, and without.
DETECTORS = {
    "ODIN": ODINDetector,
    "MSP": MSPDetector,
    "MaxLogit": MaxLogitDetector,
    "Energy": EnergyDetector,
    "Mahalanobis": MahalanobisDetector,
    "Mahalanobis with a step": lambda model: MahalanobisDetector(model, epsilon=0.01),
}


def content(model):
    """The file that an ONNX model would be."""
    return b"".join(model.pieces())


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

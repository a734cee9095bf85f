"""Features computed once, and the last layer on its own: `workflows/test_features.py` scores."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_lodin.detectors import ODINDetector
from keras_lodin.models import compute_features, head_classifier
from tests import networks


def pointwise():
    """Ends in a 1x1 convolution and a softmax."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1, use_bias=False)(x))
    return keras.Model(inputs, layers.Softmax()(x))


@pytest.mark.grid(2)
@pytest.mark.parametrize("make", [networks.convolutional, pointwise])
def test_head_gives_the_logits_of_stored_features(make, rng):
    classifier = make()
    images = rng.uniform(size=(30, 8, 8, 1)).astype("float32")
    labels = rng.integers(0, 5, 30)
    found = compute_features(classifier, (images, labels), batch_size=8, verbose=0)
    assert {name: (one.dtype.name, len(one)) for name, one in found.items()} == {
        "features": ("float32", 30),
        "logits": ("float32", 30),
        "labels": ("int64", 30),
    }
    np.testing.assert_array_equal(found["labels"], labels)
    outputs = classifier.predict(images, verbose=0)
    of_logits = found["logits"]
    expected = of_logits if make is networks.convolutional else keras.ops.softmax(of_logits)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    head = head_classifier(classifier)
    np.testing.assert_allclose(
        head.predict(found["features"], verbose=0), found["logits"], rtol=1e-5, atol=1e-6
    )


def test_a_step_on_features_is_refused(classifier):
    with pytest.raises(ValueError, match=r"ODINDetector needs the gradient.*stop_gradient"):
        ODINDetector(head_classifier(classifier))


def test_features_that_are_no_numbers_are_refused():
    classifier = networks.convolutional()
    classifier.layers[1].bias.assign(np.full(6, np.inf))
    with pytest.raises(ValueError, match=r"must be finite.*Received: .*the features"):
        compute_features(classifier, np.zeros((3, 8, 8, 1), "float32"), verbose=0)

"""GradNorm against the gradient that TensorFlow takes of the last layer's weights."""

import numpy as np
import tensorflow as tf

import keras_lodin
from tests import networks
from tests.detectors import heads_and_data as small


def norms_by_tape(classifier, inputs):
    kernel = classifier.layers[-1].kernel.value
    norms = []
    for number in range(len(inputs)):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            logits = classifier(inputs[number : number + 1])
            # KL(u || softmax) but for the entropy of u, which has no gradient.
            divergence = -tf.reduce_mean(tf.nn.log_softmax(logits))
        norms.append(np.abs(tape.gradient(divergence, kernel)).sum())
    return norms


def test_score_is_the_norm_of_the_gradient_of_a_tape():
    inputs = small.mixed_inputs()[::4]
    detector = keras_lodin.GradNormDetector(small.classifier())
    expected = norms_by_tape(small.classifier(), inputs)
    np.testing.assert_allclose(small.scores(detector, inputs), expected, rtol=1e-5, atol=1e-6)


def test_signed_features_are_as_good(rng):
    classifier, inputs = networks.dense(), rng.uniform(size=(5, 10)).astype("float32")
    detector = keras_lodin.GradNormDetector(classifier)
    expected = norms_by_tape(classifier, inputs)
    np.testing.assert_allclose(small.scores(detector, inputs), expected, rtol=1e-5)


def test_no_features_have_no_gradient():
    detector = keras_lodin.GradNormDetector(small.classifier())
    zeros = np.zeros((1, small.FEATURES), "float32")
    assert detector.head_score(zeros, detector.head.logits(zeros), {})[0] == 0.0

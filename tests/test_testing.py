"""The public check of a detector: it passes those of a user, and says which promise is broken."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_lodin
from keras_lodin.testing import check_detector
from tests.detectors import classifiers


@keras.saving.register_keras_serializable(package="keras_lodin_tests")
class MarginDetector(keras_lodin.Detector):
    """A detector as a user writes one."""

    def __init__(self, classifier, rank=2, **kwargs):
        super().__init__(classifier, **kwargs)
        self.rank = rank

    def score(self, forward_pass):
        largest, _ = ops.top_k(forward_pass.logits, self.rank)
        return largest[:, 0] - largest[:, -1]

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}


@pytest.fixture
def easy(rng):
    return classifiers.easy_data(rng, count=9)


def test_a_detector_of_a_user_passes_and_is_left_as_it_was(easy):
    near, far = easy
    detector = MarginDetector(classifiers.prototypes(), rank=3)
    detector.threshold = 2.0
    before = detector.get_weights()
    check_detector(detector, near, ood_inputs=far, formats=["onnx"])
    assert detector.threshold == 2.0
    for old, new in zip(before, detector.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def broken(**attributes):
    """A class of detectors of which something is not as it should be."""
    cls = type("Broken", (MarginDetector,), {"__module__": __name__, **attributes})
    return keras.saving.register_keras_serializable(package="keras_lodin_tests_broken")(cls)


def largest(forward_pass):
    return ops.max(forward_pass.logits, axis=-1)


def with_a_weight(trainable, value):
    def build(self, input_shape):
        self.shift = self.add_weight(name="shift", shape=(), trainable=trainable)
        keras_lodin.Detector.build(self, input_shape)
        self.shift.assign(value)

    return build


def counting(self, forward_pass):
    self.shift.assign_add(1.0)
    return largest(forward_pass)


class FeaturePass:
    def __init__(self, forward_pass):
        self.inputs, self.logits = forward_pass.inputs, forward_pass.logits
        self.features = ops.sum(self.inputs, axis=-1)


def features(self, inputs):
    return FeaturePass(keras_lodin.Detector.forward_pass(self, inputs))


def unflagged(self, inputs):
    outputs = keras_lodin.Detector.call(self, inputs)
    return {**outputs, "is_ood": ops.zeros_like(outputs["is_ood"])}


@pytest.mark.grid(4)
@pytest.mark.parametrize(
    ("attributes", "promise", "received"),
    [
        ({"score": lambda self, p: p.logits}, "`predict` gives", "ValueError: .*one number for"),
        (
            {"score": lambda self, p: ops.cast(largest(p), "float16")},
            "`predict` gives",
            r"score: float16 \(9,\)",
        ),
        ({"score": lambda self, p: ops.log(0.0 * largest(p))}, "finite scores", "-inf"),
        ({"score": lambda self, p: -largest(p)}, "out-of-distribution score lower", "not below"),
        ({"get_config": keras_lodin.Detector.get_config}, "every argument", "without 'rank'"),
        (
            {"score": lambda self, p: largest(p) - ops.mean(largest(p))},
            "the same score in any batch",
            "in batches of 3",
        ),
        ({"score": counting, "build": with_a_weight(False, 0.0)}, "training mode", "weights that"),
        ({"build": with_a_weight(True, 0.0)}, "no weight to train", "shift"),
        (
            {"score": lambda self, p: ops.nan_to_num(largest(p))},
            "logits are NaN, is out-of-distribution",
            "is_ood=False",
        ),
        ({"call": unflagged}, "logits are NaN|is_ood` is score", "is_ood="),
        (
            {"forward_pass": features, "score": lambda self, p: p.features},
            "equal `pass_key`",
            "AttributeError",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_promise_that_is_not_kept_is_named(attributes, promise, received, easy):
    near, far = easy
    detector = broken(**attributes)(classifiers.prototypes())
    with pytest.raises(AssertionError, match=rf"(?s)^Broken .*{promise}.*Received: .*{received}"):
        check_detector(detector, near, ood_inputs=far if "lower" in promise else None, formats=[])


def test_a_class_that_no_file_can_find_again_is_told_of(easy):
    class Local(keras_lodin.MSPDetector):
        pass

    with pytest.raises(
        AssertionError, match=r"`save`.*register_keras_serializable.*Received: Type"
    ):
        check_detector(Local(classifiers.prototypes()), easy[0], formats=[])


def test_what_cannot_be_checked_is_refused(easy):
    near, _ = easy
    detector = keras_lodin.MSPDetector(classifiers.prototypes())
    with pytest.raises(ValueError, match=r"`detector` must be .*Received: detector=<Sequential"):
        check_detector(detector.classifier, near)
    for inputs in (near[:3], np.where(near > 0.5, np.nan, near)):
        with pytest.raises(
            ValueError, match=r"`inputs` must be 4 or more finite.*Received: inputs"
        ):
            check_detector(detector, inputs)
    with pytest.raises(ValueError, match=r"needs statistics.*`adapt"):
        check_detector(keras_lodin.MahalanobisDetector(detector.classifier), near)

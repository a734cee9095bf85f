"""Every detector of the registry in every format, ties and unusual inputs included."""

import numpy as np
import pytest

from keras_lodin.detectors import registry
from keras_lodin.export import load_artifact
from tests import networks
from tests.detectors.adapting import adapted
from tests.detectors.test_conformance import OF_NAME
from tests.export.networks import FILES


@pytest.mark.slow
@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("name", [name for name in registry.DETECTORS if name != "mood"])
def test_every_detector_is_in_every_format(name, format, rng, tmp_path):
    classifier = networks.dense(activation="relu")
    detector = adapted(registry.build(name, classifier, (-1, 2), **OF_NAME.get(name, {})))
    inputs = rng.uniform(size=(40, 10)).astype("float32")
    detector.calibrate(inputs, verbose=0)
    # A constant input, zeros, one twice, and a single sample.
    inputs[1], inputs[2], inputs[3] = 0.5, 0.0, inputs[0]
    detector.export(tmp_path / FILES[format], format=format, verbose=False)
    artifact = load_artifact(tmp_path / FILES[format])
    for batch in (inputs, inputs[:1]):
        expected, found = detector.predict_on_batch(batch), artifact.score(batch)
        spread = np.ptp(detector.predict_on_batch(inputs)["score"])
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4, atol=1e-3 * spread)
        np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-5)
        # Of its own score: where rounding moves one across another, its rank is another.
        np.testing.assert_allclose(found["p_value"], detector.p_value(found["score"]), rtol=1e-6)
    assert found["score"].shape == (1,)

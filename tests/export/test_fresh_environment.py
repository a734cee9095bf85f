"""The exported file where it will live: an environment that has never heard of this package."""

import json
import subprocess
import sys

import numpy as np
import pytest

import keras_lodin
from tests import networks

SERVER = """
import json, sys
import numpy as np, tensorflow as tf
try:
    import keras_lodin
except ImportError:
    pass
else:
    raise SystemExit("keras_lodin is installed here")
loaded = tf.saved_model.load(sys.argv[1])
outputs = loaded.signatures["serving_default"](tf.constant(np.load(sys.argv[2])))
print(json.dumps({name: value.numpy().tolist() for name, value in outputs.items()}))
"""


@pytest.mark.slow
def test_saved_model_scores_by_tensorflow_alone_in_a_new_environment(tmp_path, rng):
    images = rng.uniform(size=(12, 8, 8, 1)).astype("float32")
    detector = keras_lodin.ODINDetector(networks.convolutional(normalization=True))
    detector.calibrate(images, tpr=0.5)
    detector.export(tmp_path / "artifact", verbose=False)
    np.save(tmp_path / "images.npy", images)
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "tensorflow"], check=True)

    served = json.loads(
        subprocess.run(
            [python, "-c", SERVER, tmp_path / "artifact", tmp_path / "images.npy"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    expected = detector.predict(images, verbose=0)
    np.testing.assert_allclose(served["score"], expected["score"], atol=1e-6)
    np.testing.assert_allclose(served["logits"], expected["logits"], atol=1e-5)
    assert served["is_ood"] == expected["is_ood"].tolist()
    assert any(served["is_ood"])
    assert not all(served["is_ood"])

"""KerasHub's image classifiers, whose `predict` preprocesses and whose `call` does not.

From a configuration, without downloads. `README.md` says how to make the environment.
"""

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import keras_lodin
from keras_lodin import models

keras_hub = pytest.importorskip("keras_hub", reason="needs KerasHub (tests/reference/README.md)")

pytestmark = [
    pytest.mark.slow,
    # KerasHub and what it imports are not ours to mend.
    pytest.mark.filterwarnings("default"),
]
SHAPE = (32, 32, 3)


def classifier(activation=None, preprocessor=True, **converter):
    """A small ResNet with its image converter."""
    converter = {"image_size": SHAPE[:2], "scale": 1 / 255.0, "offset": -0.5, **converter}
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=SHAPE,
    )
    return keras_hub.models.ResNetImageClassifier(
        backbone=backbone,
        num_classes=4,
        activation=activation,
        preprocessor=keras_hub.models.ResNetImageClassifierPreprocessor(
            image_converter=keras_hub.layers.ResNetImageConverter(**converter)
        )
        if preprocessor
        else None,
    )


@pytest.fixture
def pixels(rng):
    return rng.uniform(0, 255, (8, *SHAPE)).astype("float32")


CLASSIFIERS = {
    "logits": {},
    "softmax": {"activation": "softmax"},
    "scale and offset of channels": {"scale": [0.01, 0.02, 0.03], "offset": [-1.0, -2.0, -3.0]},
    "no resizing": {"image_size": None},
    "no offset": {"offset": None},
    "padding": {"crop_to_aspect_ratio": False, "pad_to_aspect_ratio": True},
    "another interpolation": {"interpolation": "nearest"},
    "no preprocessor": {"preprocessor": False},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_detector_scores_what_the_classifier_predicts(name, pixels):
    model = classifier(**CLASSIFIERS[name])
    expected = model.predict(pixels, verbose=0)
    detector = keras_lodin.ODINDetector(model, input_range=(0, 255))
    detector.calibrate(pixels, verbose=0)
    logits = detector.predict(pixels, verbose=0)["logits"]
    found = logits if detector.from_logits else keras.ops.softmax(logits)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_what_is_trained_is_what_is_predicted(pixels):
    model = classifier()
    trained = keras_lodin.GQModel(model, gq_weight=0.1)
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.fit(pixels, np.arange(8) % 4, batch_size=4, verbose=0)
    np.testing.assert_allclose(
        trained.predict(pixels, verbose=0), model.predict(pixels, verbose=0), rtol=1e-3, atol=1e-4
    )


def test_a_preprocessor_goes_into_files_and_artifacts(pixels, tmp_path):
    import tensorflow as tf

    model = classifier()
    expected = model.predict(pixels, verbose=0)
    detector = keras_lodin.ODINDetector(model, input_range=(0, 255))
    detector.calibrate(pixels, verbose=0)
    detector.save(tmp_path / "detector.keras")
    loaded = models.load(tmp_path / "detector.keras").predict(pixels, verbose=0)
    detector.export(tmp_path / "artifact", verbose=False)
    artifact = tf.saved_model.load(str(tmp_path / "artifact"))
    signature = artifact.signatures["serving_default"]
    served = signature(
        **{name: tf.constant(pixels) for name in signature.structured_input_signature[1]}
    )
    detector.export(tmp_path / "detector.onnx", format="onnx", verbose=False)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "detector.onnx"))
    onnx_logits = session.run(["logits"], {session.get_inputs()[0].name: pixels})[0]
    for logits in (loaded["logits"], served["logits"], onnx_logits):
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_a_file_of_a_classifier_is_loaded_with_its_preprocessor(pixels, tmp_path):
    model = classifier()
    model.save(tmp_path / "classifier.keras")
    loaded = models.load(tmp_path / "classifier.keras")
    np.testing.assert_allclose(
        loaded.predict(pixels, verbose=0), model.predict(pixels, verbose=0), rtol=1e-3, atol=1e-4
    )


def test_the_command_line_wraps_it_too(tmp_path, pixels):
    from keras_lodin_cli.main import main

    model = classifier()
    model.save(tmp_path / "classifier.keras")
    output = tmp_path / "detector.keras"
    np.savez(tmp_path / "id.npz", images=pixels.astype("uint8"))
    arguments = [str(tmp_path / "classifier.keras"), "--id", f"npz:{tmp_path / 'id.npz'}"]
    result = CliRunner().invoke(
        main, ["tune", *arguments, "--input-range", "0", "255", "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    logits = models.load(output).predict(pixels, verbose=0)["logits"]
    np.testing.assert_allclose(logits, model.predict(pixels, verbose=0), rtol=1e-3, atol=1e-4)


def test_a_classifier_of_text_is_refused():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=20,
        num_layers=1,
        num_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=6,
    )
    model = keras_hub.models.BertTextClassifier(backbone=backbone, num_classes=3)
    with pytest.raises(ValueError, match=r"must take one tensor.*Received"):
        keras_lodin.MSPDetector(model)

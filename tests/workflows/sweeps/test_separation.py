"""Made-up validation data, and figures on it."""

import numpy as np
import pytest

import keras_lodin
from keras_lodin import metrics
from keras_lodin.workflows.sweeps.separation import (
    mean_separation,
    measure,
    validation_specifications,
    with_scrambled,
)


@pytest.mark.parametrize(
    ("shape", "photos"),
    [((8, 8, 1), True), ((32, 32, 3), True), ((8, 8, 5), False), ((10,), False)],
)
def test_photographs_stand_in_for_images_and_noise_for_anything(shape, photos):
    names = validation_specifications(shape, 50)
    assert [name.split(":")[0] for name in names] == ["noise", "noise"] + ["photos"] * photos
    for name in names:
        source = keras_lodin.data.load(name, part="calibration", image_shape=shape)
        assert source.count == 50
        assert source.shape == shape


def test_scrambled_copies_hold_the_same_values_in_another_order():
    source = keras_lodin.data.load("digits:0-6", part="calibration")
    (x, y), copies = with_scrambled(source, batch_size=50)
    assert len(x) == len(y) == len(copies) == source.count
    np.testing.assert_array_equal(
        np.sort(x.reshape(len(x), -1)), np.sort(copies.reshape(len(x), -1))
    )
    assert np.mean(np.any(x != copies, axis=(1, 2, 3))) > 0.95


def test_data_without_labels_are_refused(images):
    with pytest.raises(ValueError, match="must have labels"):
        with_scrambled(images)


@pytest.mark.filterwarnings("ignore:.*no better than chance:UserWarning")  # untrained
def test_figures_are_those_of_the_scores(classifier, images, labels, rng):
    detectors = {
        "msp": keras_lodin.MSPDetector(classifier),
        "energy": keras_lodin.EnergyDetector(classifier),
    }
    noise = rng.uniform(size=(9, 8, 8, 1)).astype("float32")
    black = np.zeros((4, 8, 8, 1), "float32")
    found = measure(detectors, (images, labels), {"noise": noise, "black": black})
    predicted = classifier.predict(images, verbose=0).argmax(-1)
    assert found["id_accuracy"] == np.mean(predicted == labels)
    for name, detector in detectors.items():
        scores = [detector.predict(x, verbose=0)["score"] for x in (images, noise, black)]
        np.testing.assert_allclose(
            found["auroc"][name]["noise"], metrics.auroc(scores[0], scores[1]), rtol=1e-6
        )
        np.testing.assert_allclose(
            found["fpr95"][name]["black"], metrics.fpr_at_tpr(scores[0], scores[2]), rtol=1e-6
        )
        values = found["auroc"][name].values()
        assert mean_separation(found, name) == pytest.approx(sum(values) / 2)

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lodin import MSPDetector
from keras_lodin.data import passes
from keras_lodin.data.passes import BatchFunction, joined, naming
from tests import networks


def test_many_detectors_calibrated_in_a_row_raise_no_warning_of_retracing(images, caplog):
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        for _ in range(6):
            MSPDetector(networks.convolutional()).calibrate(images, tpr=0.5, batch_size=8)
    finally:
        logger.removeHandler(caplog.handler)
    assert "retracing" not in caplog.text


def halves(values):
    return {"half": values / 2.0}


def test_a_pass_gives_every_batch_with_its_place_and_labels(rng):
    x, y = rng.normal(size=(10, 3)).astype("float32"), np.arange(10)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    for data in ((x, y), dataset):
        batches = list(BatchFunction(halves).over(data, "Halving", batch_size=4, verbose=0))
        assert [batch.first for batch in batches] == [0, 4, 8]
        np.testing.assert_array_equal(np.concatenate([batch.inputs for batch in batches]), x)
        np.testing.assert_array_equal(np.concatenate([batch.labels for batch in batches]), y)
        whole = joined(batch.outputs for batch in batches)
        np.testing.assert_array_equal(whole["half"], x / 2.0)


def test_a_batch_of_large_samples_is_computed_in_parts_of_one_size(rng, monkeypatch):
    x, y = rng.normal(size=(10, 4, 2)).astype("float32"), np.arange(10)
    monkeypatch.setattr(passes, "_VALUES_AT_ONCE", 39)

    def sizes(values, labels):
        return {"size": ops.full((ops.shape(values)[0],), ops.shape(values)[0]), "label": labels}

    function = BatchFunction(sizes)
    found = function(x, y)
    np.testing.assert_array_equal(found["size"], [4] * 8 + [2] * 2)
    np.testing.assert_array_equal(found["label"], y)
    assert (function(x[:4], y[:4])["size"] == 4).all()
    # One at a time, where not even one sample is small enough; whole, on an accelerator.
    monkeypatch.setattr(passes, "_VALUES_AT_ONCE", 7)
    assert (function(x, y)["size"] == 1).all()
    monkeypatch.setattr(passes.backend, "on_accelerator", lambda: True)
    assert (function(x, y)["size"] == 10).all()


def test_checks_come_before_the_function_and_labels_reach_it_where_they_are_checked(rng):
    x, y = rng.normal(size=(5, 3)).astype("float32"), np.arange(5)
    seen = []

    def refuse(values):
        raise ValueError(f"Received: {values is None}")

    function = BatchFunction(lambda values, labels: values[:, 0] * ops.cast(labels, "float32"))
    for batch in function.over((x, y), "Multiplying", 2, 0, check_labels=seen.append):
        np.testing.assert_allclose(batch.outputs, batch.inputs[:, 0] * batch.labels, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate(seen), y)
    with pytest.raises(ValueError, match="Received: True"):
        next(function.over(x, "Multiplying", check_labels=refuse))
    never = BatchFunction(lambda values: pytest.fail("ran before its check"))
    with pytest.raises(ValueError, match="Received: False"):
        next(never.over(x, "Never", check=refuse))


def test_the_bar_is_gone_before_an_error_shows(rng, monkeypatch):
    events = []

    def track(items, *settings):
        events.append(settings)
        try:
            yield from items
        finally:
            events.append("gone")

    def check(values):
        raise ValueError("refused")

    monkeypatch.setattr(passes, "track", track)
    running = BatchFunction(halves).over(np.zeros((4, 3)), "Halving", 3, 1, check=check)
    with pytest.raises(ValueError, match="refused"):
        next(running)
    assert events == [("Halving", 1, 2), "gone"]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_an_error_names_the_data_set(kind):
    with pytest.raises(kind, match=r"^Data set 'svhn': too few$"), naming("'svhn'"):
        raise kind("too few")

"""The few surprising examples: those of a full sort, whatever the batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lodin.evaluation.extreme_examples import COUNT, ExtremeExamples


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.integers(1, 20), st.booleans())
def test_they_are_the_first_of_a_stable_sort(scores, batch, lowest):
    scores = np.array(scores, "float32")
    images = np.arange(len(scores), dtype="float32").reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1))
    kept = ExtremeExamples(lowest)
    for start in range(0, len(scores), batch):
        kept.update(scores[start : start + batch], images[start : start + batch])
    order = np.argsort(scores if lowest else -scores, kind="stable")[:COUNT]
    assert [number for _, number, _ in kept.examples] == order.tolist()
    assert [score for score, _, _ in kept.examples] == scores[order].tolist()


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_pictures_have_the_brightness_of_the_inputs(high, rng):
    images = (rng.uniform(0.9, 1.0, (3, 4, 4, 3)) * high).astype("float32")
    kept = ExtremeExamples(True)
    kept.update(np.zeros(3), images)
    for (_, number, pixels), image in zip(kept.examples, images, strict=True):
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels, image * 255.0 / high, atol=0.51, err_msg=str(number))


@pytest.mark.parametrize("shape", [(5,), (8, 3), (4, 4, 7), (3, 3, 3, 1)])
def test_of_inputs_that_are_no_images_nothing_is_kept(shape):
    kept = ExtremeExamples(True)
    kept.update(np.zeros(2), np.zeros((2, *shape)))
    assert kept.examples == []

"""Statistics for the detectors that need them before they score."""

import numpy as np

SAMPLES_PER_CLASS = 20


def adapted(detector, data=None):
    """The detector, with statistics of `data`, `(x, y)`, or of random inputs, if it needs any."""
    if detector.needs_statistics:
        detector.adapt(*(random_data(detector) if data is None else data), verbose=0)
    return detector


def random_data(detector):
    """Inputs between 0 and 1 of the detector's shape (8 where a size is free), and labels."""
    labels = np.arange(SAMPLES_PER_CLASS * detector.num_classes) % detector.num_classes
    shape = [8 if size is None else size for size in detector.input_shape_with_batch[1:]]
    inputs = np.random.default_rng(1).uniform(size=(len(labels), *shape))
    return inputs.astype("float32"), labels

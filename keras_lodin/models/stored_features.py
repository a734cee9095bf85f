"""A classifier's features, computed once, and the small classifier that goes on from them."""

from __future__ import annotations

from contextlib import closing
from typing import TypedDict

import keras
import numpy as np
from keras import ops
from typing_extensions import NotRequired

from keras_lodin.data.batches import check_finite
from keras_lodin.data.passes import BatchFunction
from keras_lodin.models.head import find_head
from keras_lodin.models.linear_head import LinearHead


class Features(TypedDict):
    """What is kept of data: all that detectors of the last layer read.

    Attributes:
        features: what enters the classifier's last layer, float32 of shape `(count, size)`.
        logits: float32 of shape `(count, classes)`.
        labels: int64 of shape `(count,)`, as the data have them; not there without labels.
    """

    features: np.ndarray
    logits: np.ndarray
    labels: NotRequired[np.ndarray]


def compute_features(
    classifier: keras.Model,
    data: object,
    *,
    from_logits: bool | None = None,
    most: int | None = None,
    batch_size: int = 128,
    verbose: int | str = "auto",
) -> Features:
    """Runs a classifier over data once, and keeps what enters and what leaves its last layer.

    `numpy.savez(path, **features)` writes a file that `npz:PATH` reads, for the classifier of
    `head_classifier`. All of it is in memory: 4 bytes for each feature of each sample.

    Args:
        classifier: a functional or sequential model that ends in a `Dense` layer or a 1x1
            convolution, with a softmax after it or none.
        data: what `keras_lodin.evaluate` takes as data, as the classifier takes its inputs.
        from_logits: whether the classifier returns logits; None to find out.
        most: stop after the batch in which this many samples are reached; None for all.
        batch_size: samples per batch, for data that is not batched already.
        verbose: 0 for silence, 1 for a progress bar, "auto" for one on a terminal.

    Returns:
        the `Features`.

    Raises:
        ValueError: for another classifier, no data, or features that are not finite.

    Example:
    ```python
    features = keras_lodin.models.compute_features(classifier, (x_train, y_train))
    np.savez("train.npz", **features)
    keras_lodin.models.head_classifier(classifier).save("head.keras")
    ```
    """
    layers = _head(classifier, from_logits).layers
    run = BatchFunction(
        lambda inputs: dict(zip(("features", "logits"), layers(inputs), strict=True))
    )
    parts: dict[str, list[np.ndarray]] = {"features": [], "logits": [], "labels": []}
    with closing(run.over(data, "Computing features", batch_size, verbose)) as batches:
        for _, labels, outputs, first in batches:
            for name, values in outputs.items():
                check_finite(values, f"the {name}")
                parts[name].append(values)
            if labels is not None:
                parts["labels"].append(labels)
            if most is not None and first + len(outputs["logits"]) >= most:
                break
    found = Features(
        features=np.concatenate(parts["features"]), logits=np.concatenate(parts["logits"])
    )
    if parts["labels"]:
        found["labels"] = np.concatenate(parts["labels"])
    return found


def head_classifier(classifier: keras.Model, from_logits: bool | None = None) -> keras.Model:
    """The last layer of a classifier as a classifier of features, which costs next to nothing.

    Detectors that read features and logits of the last layer give the same scores with it on stored
    features as with the whole classifier on images, but for rounding. It has no gradient with
    respect to its inputs: a step on features, as ODIN would do it, is not the step on images that
    it is known for. Detectors that take one are refused.

    Args:
        classifier: see `compute_features`.
        from_logits: whether the classifier returns logits; None to find out.

    Returns:
        a Keras model from features, `(batch, size)`, to logits, `(batch, classes)`, both float32.
        Its weights are copies.

    Raises:
        ValueError: for another classifier.
    """
    head = _head(classifier, from_logits)
    classes = np.arange(head.num_classes)
    return of_some_classes(head, classes, name=f"{classifier.name}_head")


def of_some_classes(head: LinearHead, classes: np.ndarray, name: str | None = None) -> keras.Model:
    """The last layer as `head_classifier` has it, with the logits of some classes alone.

    Args:
        head: the layer.
        classes: which, whole numbers; two or more.
        name: of the model.
    """
    features = keras.Input((head.size,), name="features")
    dense = keras.layers.Dense(len(classes), dtype="float32", name="logits")
    # Those behind a ReLU stay as they are behind another, which says that none is negative.
    known = features if head.negative_share > 0.0 else ops.relu(features)
    logits = dense(ops.stop_gradient(known))
    dense.set_weights([head.kernel[:, classes], head.bias[classes]])
    return keras.Model(features, logits, name=name)


def _head(classifier: keras.Model, from_logits: bool | None) -> LinearHead:
    found = find_head(classifier, from_logits)
    return LinearHead(found.classifier, found.from_logits)

"""A stand-in for a forward pass with any logits and any Jacobian, and the literal formulas."""

import numpy as np
import tensorflow as tf


class LinearPass:
    """What `ForwardPass` offers an estimator, for a given Jacobian `(classes, batch, pixels)`."""

    features = None

    def __init__(self, logits, jacobian):
        self.logits = tf.convert_to_tensor(logits)
        self.jacobian = tf.convert_to_tensor(jacobian)
        self.inputs = tf.zeros_like(self.jacobian[0])

    def input_gradients(self, cotangents):
        return tf.einsum("kbn,nbp->kbp", cotangents, self.jacobian)

    def directional_derivative(self, direction):
        return tf.einsum("nbp,bp->bn", self.jacobian, direction)


def size(values, norm):
    """The norm over the last axis."""
    return np.abs(values).sum(-1) if norm == "l1" else np.sqrt((values**2).sum(-1))


def softmax_jacobian(logits, jacobian):
    """dS_j/dx as it is written, in float64: (classes, batch, pixels)."""
    logits, jacobian = np.asarray(logits, "float64"), np.asarray(jacobian, "float64")
    softmax = np.exp(logits - logits.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    mean = np.einsum("bn,nbp->bp", softmax, jacobian)
    return softmax.T[:, :, None] * (jacobian - mean)


def literal_norms(logits, jacobian, labels, form="softmax", norm="l1"):
    """The label's norm and the sum of the others' by the poster's formula, in float64."""
    jacobian = np.asarray(jacobian, "float64")
    samples = np.arange(len(labels))
    if form == "pooled":
        label = jacobian[labels, samples]
        return size(label, norm), size(jacobian.sum(0) - label, norm)
    rows = softmax_jacobian(logits, jacobian) if form == "softmax" else jacobian
    norms = size(rows, norm)
    label = norms[labels, samples]
    is_label = np.arange(len(norms))[:, None] == np.asarray(labels)[None]
    return label, np.where(is_label, 0.0, norms).sum(0)


def predicted_rest(logits):
    """1 - S_m in float64 and without cancellation: what the package divides norms by."""
    logits = np.sort(np.asarray(logits, "float64"), axis=-1)
    others = np.exp(logits[:, :-1] - logits[:, -1:]).sum(-1)
    return others / (1.0 + others)

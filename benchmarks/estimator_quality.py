"""How well the cheap estimators of the Gradient Quotient point, against the exact one.

    python benchmarks/estimator_quality.py --data ../shared/data --output FILE.csv

On the trained CIFAR-10 ResNet-20 and real images, in inference mode: each estimator draws many
times, and every draw's quotient and gradient with respect to the weights is compared with the
exact one of the same norm. `cosine` is that of one draw's gradient (the mean over draws, with its
95 % interval), `cosine_of_mean` that of the mean gradient of all draws: what is left of a bias and
of their noise. Two are for comparison and not in the
package: `finite difference`, the derivative along the same directions from a second forward pass a
step of 0.001 or 0.05 of the input range away; and `sampled plainly`, the average of the drawn norms
without what is known of their sum.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from csv_rows import write_csv

from keras_lodin.gradients import ForwardPass
from keras_lodin.gradients.norms import norms
from keras_lodin.quotient import forms
from keras_lodin.quotient.settings import QuotientSettings
from keras_lodin.training.step_seeds import StepSeeds

INPUT_RANGE = 255.0


class FiniteDifference(ForwardPass):
    """A `ForwardPass` whose directional derivative is that of a finite step."""

    step = 0.0

    def directional_derivative(self, direction: Any) -> Any:
        """See `ForwardPass.directional_derivative`."""
        size = self.step * INPUT_RANGE
        return (self.logits_at(self.inputs + size * direction) - self.logits) / size


def plainly_sampled_norms(
    forward_pass: ForwardPass, labels: Any, samples: int, seed: Any
) -> tuple[Any, Any]:
    """The softmax form's norms from draws alone: label, predicted class, and the mean of draws."""
    logits = forward_pass.logits
    labels = tf.cast(labels, tf.int32)
    predicted = forms.predicted_class(logits)
    log_shares = forms.confidence_and_rest(logits)[2]
    is_label = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False)
    candidates = tf.where(is_label, -1e30, tf.maximum(log_shares, -1e30))
    draws = tf.transpose(keras.random.categorical(candidates, samples, seed=seed))
    classes = tf.concat([predicted[None], labels[None], tf.cast(draws, tf.int32)], 0)
    gradients = forward_pass.input_gradients(forms.softmax_cotangents(logits, classes))
    found = norms(gradients, "l1") * forms.softmax_weights(logits, classes)
    log_probability = tf.stop_gradient(tf.nn.log_softmax(candidates))
    drawn = tf.transpose(tf.gather(log_probability, tf.transpose(classes[2:]), batch_dims=1))
    others = tf.reduce_mean(found[2:] * tf.exp(-drawn), 0)
    return found[1], others + tf.where(labels == predicted, 0.0, found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--output", default=None, help="CSV file to write")
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--images", type=int, default=32)
    options = parser.parse_args()
    classifier = keras.models.load_model(Path(options.data) / "models" / "cifar10_resnet20.keras")
    images = tfds.load(
        "cifar10_jpeg75", data_dir=Path(options.data) / "tfds", split="train", as_supervised=True
    )
    x, y = next(iter(images.take(options.images).batch(options.images)))
    x = tf.cast(x, tf.float32)

    exact = {norm: gradient_of(classifier, x, y, norm=norm)(0) for norm in ("l1", "l2")}
    cosine = cosine_of(exact["l1"][1], exact["l2"][1])
    print(f"exact: l1 {exact['l1'][0]:.4f}, l2 {exact['l2'][0]:.4f}, cosine {cosine:.4f}")
    rows = []
    cases: list[tuple[str, str, int, type[ForwardPass]]] = [
        *(("sampled", "l1", samples, ForwardPass) for samples in (1, 2, 4, 8)),
        *(("projected", "l2", samples, ForwardPass) for samples in (1, 2, 4, 8, 16)),
        *(("projected", "l1", samples, ForwardPass) for samples in (1, 2, 4, 8, 16)),
    ]
    for step in (0.001, 0.05):
        name = f"finite difference, step {step}"
        cases.append((name, "l2", 1, type("Step", (FiniteDifference,), {"step": step})))
    for name, norm, samples, kind in cases:
        estimator = name if name == "sampled" else "projected"
        draw = gradient_of(classifier, x, y, kind, estimator=estimator, samples=samples, norm=norm)
        rows.append(described(name, norm, samples, draw, exact[norm], options))
    for samples in (1, 4):
        draw = gradient_of(classifier, x, y, plain_samples=samples)
        rows.append(described("sampled plainly", "l1", samples, draw, exact["l1"], options))
    if options.output:
        write_csv(options.output, rows)


def described(
    name: str, norm: str, samples: int, draw: Callable, exact: tuple, options: argparse.Namespace
) -> dict[str, Any]:
    row = {
        "estimator": name,
        "norm": norm,
        "samples": samples,
        **summary([draw(seed) for seed in range(options.draws)], *exact),
        "draws": options.draws,
        "images": options.images,
    }
    print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row


def gradient_of(
    classifier: keras.Model,
    x: Any,
    y: Any,
    kind: type[ForwardPass] = ForwardPass,
    plain_samples: int = 0,
    **settings: Any,
) -> Callable[[int], tuple[float, np.ndarray]]:
    """A function of a seed: the mean quotient and its gradient, all weights in one vector."""
    estimate = QuotientSettings(**settings)

    @tf.function
    def compute(seed: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            forward_pass = kind(lambda inputs: classifier(inputs, training=False), x)
            generator = StepSeeds(0, seed)
            if plain_samples:
                norms = plainly_sampled_norms(forward_pass, y, plain_samples, generator)
            else:
                norms = estimate.norms(forward_pass, y, generator)
            mean = tf.reduce_mean(forms.quotient(*norms))
        gradients = tape.gradient(mean, classifier.trainable_weights)
        flat = [tf.reshape(gradient, [-1]) for gradient in gradients if gradient is not None]
        return mean, tf.concat(flat, 0)

    def drawn(seed: int) -> tuple[float, np.ndarray]:
        mean, gradient = compute(tf.constant(seed))
        return float(mean), gradient.numpy().astype("float64")

    return drawn


def summary(
    draws: Sequence[tuple[float, np.ndarray]], exact_quotient: float, exact_gradient: np.ndarray
) -> dict[str, float]:
    quotients = np.array([value for value, _ in draws])
    cosines = np.array([cosine_of(gradient, exact_gradient) for _, gradient in draws])
    mean = np.mean([gradient for _, gradient in draws], axis=0)
    return {
        "exact": round(exact_quotient, 4),
        "mean": round(float(quotients.mean()), 4),
        "standard_deviation": round(float(quotients.std(ddof=1)), 4),
        "cosine": round(float(cosines.mean()), 3),
        "cosine_interval": round(float(1.96 * cosines.std(ddof=1) / len(draws) ** 0.5), 3),
        "cosine_of_mean": round(cosine_of(mean, exact_gradient), 3),
    }


def cosine_of(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


if __name__ == "__main__":
    main()

"""Training with the Gradient Quotient as a regulariser."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_lodin.gradients import ForwardPass
from keras_lodin.quotient.forms import quotient
from keras_lodin.quotient.settings import QuotientSettings
from keras_lodin.training.input_gradient_model import InputGradientModel
from keras_lodin.training.step_seeds import StepSeeds
from keras_lodin.utils import keras_internals
from keras_lodin.utils.numbers import checked_number
from keras_lodin.utils.tensor import Tensor


@keras.saving.register_keras_serializable(package="keras_lodin")
class GQModel(InputGradientModel):
    """Trains a classifier with `loss = compiled loss + gq_weight * GQ` (Jevnisek & Avidan 2022).

    GQ is the mean over the batch of

        ||d S_y/dx||_1 / sum_{j != y} ||d S_j/dx||_1

    with S the softmax output and y the label: how much the label's probability moves with the
    input, against how much the others do. It is computed inside `train_step` with nested gradient
    tapes, on the one forward pass that the loss is computed on.

    Everything else is Keras's: `compile`, `fit`, callbacks, sample weights, mixed precision,
    distribution, `.keras` files. The training log gains `gq`, the mean quotient before it is
    weighted. Validation reports the compiled loss and metrics without the GQ term. To train with
    GQ alone, compile with `loss_weights=0.0`.

    A classifier with several exits (`keras_lodin.models.MSDNet`) is trained at all of them: the
    loss is the sum over the exits of the compiled loss and of `gq_weight * GQ`. Labels are given
    once. Compile one loss and one list of metrics per exit, and weigh the losses with Keras's
    `loss_weights`; `gq` is the mean over the exits.

    Args:
        classifier: a built `keras.Model` with one input and one output of shape
            `(batch, classes)`, logits or softmax probabilities; or a list of such outputs, the
            logits of several exits. It is trained in place.
        gq_weight: weight of the GQ term. Positive weights push the quotient down, as the poster
            does; negative ones push it up. With 0 the quotient is not computed and a step costs
            what an ordinary one costs. The default was the best weight of the default form in the
            study (docs/study.md), and no better than plain training. form="logits",
            estimator="sampled" at +1 was better by half a point of AUROC for small networks on
            digits and worse by seven for a ResNet18 on CIFAR-10, where the poster's setting did
            nothing and `losses.LogitNorm` gained three (docs/full_scale.md). `keras_lodin.sweep`
            finds out for yours.
        form: "softmax", the default, is the poster's, between 0 and 1 and stable for any logits;
            needs three classes. "logits" takes the gradients of the logits instead of the softmax;
            it has no upper bound. "share" is the same with the label's norm in the denominator too,
            so that it ends at 1. "pooled" is what the published code computes, with lambda = 1e-6:
            on the logits, the other classes summed before the norm, norms summed over the batch (of
            one replica).
        estimator: how the norms are computed. The noise of those that draw changes what is trained.
            "exact", the default, takes every class, and a step costs about as many plain steps as
            there are classes N; or as there are features that enter the last layer, if that is a
            `Dense` one and they are at most four for every five classes (docs/performance.md,
            "Through the features"). "sampled" takes the label exactly and `samples` of the others,
            drawn by their probability: about `samples + 3` plain steps for any N. "projected" takes
            the derivatives of all classes along `samples` random directions: about `samples + 1`
            plain steps for any N.
        samples: K, the number of classes that "sampled" draws, or directions that "projected" does,
            1 by default. More of them mean less noise and less bias.
        every: GQ is computed on every k-th step, by default on each, with k times the weight: the
            same in expectation, at a k-th of the extra cost. An epoch without such a step logs a
            `gq` of NaN.
        norm: "l1" is the poster's; "l2" may replace it. None for "l1", and for "l2" with
            "projected", which estimates that one better.
        chunk_size: None, or how many classes "exact" holds in memory at a time. It bounds the
            memory, and costs a third more time.
        temperature: T of the softmax that the softmax form differentiates, S = softmax(f / T); 1 by
            default.
            From about 100 on it no longer matters which class is likely: the gradients are those
            of `f_j - mean f`, which is what ODIN's step follows at its own temperature of 1000.
        seed: of what the estimators draw, an integer; None for one chosen at random. What is
            drawn depends on it, on how many batches the optimizer has taken and on the replica of
            a `tf.distribute` strategy alone, so that a training that is resumed draws what it
            would have drawn, and no two batches draw alike.
        from_logits: True when the classifier returns logits, False when it returns
            probabilities, None to find out. What is said is checked.
        name: name of the model.

    Attributes:
        classifier: the plain classifier, sharing its weights: what to save, deploy, or wrap in a
            detector after training.

    Raises:
        ValueError: for settings that do not exist or do not go together, a model that is not a
            classifier, or, where the weight is not 0, two classes with "softmax" or "pooled" on a
            classifier that ends in a softmax.

    Example:
    ```python
    model = keras_lodin.GQModel(classifier, gq_weight=0.1)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels)
    detector = keras_lodin.ODINDetector(model.classifier)
    ```
    """

    def __init__(
        self,
        classifier: keras.Model,
        gq_weight: float = 0.1,
        form: str = QuotientSettings.form,
        estimator: str = QuotientSettings.estimator,
        samples: int = QuotientSettings.samples,
        every: int = QuotientSettings.every,
        norm: str | None = QuotientSettings.norm,
        chunk_size: int | None = QuotientSettings.chunk_size,
        temperature: float = QuotientSettings.temperature,
        seed: int | None = None,
        from_logits: bool | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        settings = QuotientSettings(form, estimator, samples, every, norm, chunk_size, temperature)
        gq_weight = checked_number("gq_weight", gq_weight, lambda value: True, "a finite number")
        if seed is not None and not isinstance(seed, int):
            raise ValueError(f"`seed` must be an integer or None. Received: seed={seed!r}")
        super().__init__(classifier, gq_weight, "gq", every, from_logits, name, **kwargs)
        if gq_weight:  # Otherwise no quotient is computed, and two classes train like others.
            settings.check_classifier(self._head)
        self.gq_weight = gq_weight
        # Chosen now, so that a saved model draws on as this one would.
        self.seed = random.randrange(2**31) if seed is None else seed
        self.quotient_settings = settings
        self._end = settings.linear_end(self._head) if gq_weight else None

    def pass_for_penalty(
        self, logits_function: Callable[[Tensor], Tensor], inputs: Tensor
    ) -> ForwardPass:
        """A pass with the features, where every class's gradient comes from theirs."""
        return self.quotient_settings.forward_pass(self._head, self._end, inputs, training=True)

    def penalty(
        self, forward_pass: ForwardPass, labels: Tensor, sample_weight: Tensor | None
    ) -> Tensor:
        """The batch's mean quotient, weighted as Keras weights the loss."""
        label_norm, other_norm = self.quotient_settings.norms(
            forward_pass, labels, StepSeeds(self.seed, keras_internals.steps_taken(self.optimizer))
        )
        if sample_weight is None:
            weights = ops.ones_like(label_norm)
        else:
            weights = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        if self.quotient_settings.form == "pooled":
            return quotient(ops.sum(weights * label_norm), ops.sum(weights * other_norm))
        return ops.mean(weights * quotient(label_norm, other_norm))

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        return {
            **super().get_config(),
            "gq_weight": self.gq_weight,
            **dataclasses.asdict(self.quotient_settings),
            "seed": self.seed,
        }

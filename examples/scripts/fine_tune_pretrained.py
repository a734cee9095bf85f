"""Fine-tunes a trained network with GQ, cheaply for any number of classes, and says what it did.

    python fine_tune_pretrained.py classifier.keras --id SPEC --ood SPEC --output fine_tuned

SPEC names data as the command line does: `dir:photos[:50%]`, `tfds:NAME:SPLIT`. The sampled
estimator costs about four plain steps for 10 classes or 1,000. BatchNormalization is frozen, as
small batches want it, and the learning rate is small: what the network knows is to be kept. Expect
little: in the study (docs/study.md) no GQ helped a fine-tuned network by more than chance.
"""

from __future__ import annotations

import argparse

import keras_lodin
from keras_lodin.workflows import evaluate_models, train


def main(arguments: list[str] | None = None) -> keras_lodin.Evaluation:
    """Trains with GQ and without, with the same budget and seed, and evaluates both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classifier")
    parser.add_argument("--id", required=True, help="Labelled images to fine-tune on.")
    parser.add_argument("--test", help="Labelled images to test on; by default those of --id.")
    parser.add_argument("--ood", action="append", required=True)
    parser.add_argument("--output", default="fine_tuned")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--gq-weight", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args(arguments)
    runs = [
        train(
            options.id,
            options.classifier,
            f"{options.output}/{name}",
            gq_weight=weight,
            form="logits",
            estimator="sampled",
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=1e-5,
            weight_decay=0.0,
            freeze_batch_norm=True,
            data_dir=options.data_dir,
        )
        for name, weight in (("plain", 0.0), ("gq", options.gq_weight))
    ]
    evaluation = evaluate_models(
        [options.classifier, *runs],
        options.test or options.id,
        options.ood,
        detectors=["msp", "energy", "odin"],
        data_dir=options.data_dir,
        resamples=200,
    )
    evaluation.save(f"{options.output}/results")
    return evaluation


if __name__ == "__main__":
    print(main().table())

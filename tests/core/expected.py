"""What TensorFlow computes, for the tests of every backend to be compared with.

    python -m tests.core.expected

writes `expected.npz` beside this file and the detectors of `saved/`, on the backend TensorFlow.
"""

from pathlib import Path

import keras
import numpy as np

import keras_lodin
from tests.core import networks

FOLDER = Path(__file__).parent
FORMS = {
    "softmax": {},
    "softmax l2": {"norm": "l2"},
    "softmax in chunks": {"chunk_size": 2},
    "logits": {"form": "logits"},
    "pooled": {"form": "pooled"},
    "softmax every second step": {"every": 2},
    "hot": {"temperature": 100.0},
}

# Every form on one network, and every network with one form; each is a compilation of seconds.
TRAININGS = {
    **{f"softplus normalized {form}": ("softplus", True, FORMS[form]) for form in FORMS},
    **{
        f"{activation}{' normalized' * normalization} softmax": (activation, normalization, {})
        for activation in networks.ACTIVATIONS
        for normalization in (False, True)
    },
}


def after_training(activation, normalization, settings, **options):
    """The log of two steps with a penalty that matters, and the weights after them."""
    model = networks.classifier(activation, normalization)
    trained = keras_lodin.GQModel(model, gq_weight=1.0, seed=0, **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss, metrics=["accuracy"], **options)
    x, y = networks.batch(12)
    weights = np.linspace(0.5, 1.5, len(x)).astype("float32")
    history = trained.fit(
        x, y, sample_weight=weights, batch_size=6, shuffle=False, verbose=0, validation_data=(x, y)
    ).history
    logged = np.array([history[name][0] for name in sorted(history)])
    return {"logged": logged, **{f"weight {n}": w for n, w in enumerate(model.get_weights())}}


def detectors():
    """One of each kind, by name, on a classifier that was adapted to where it must be."""
    model = networks.classifier("softplus", normalization=True)
    x, y = networks.batch(60, seed=3)
    adapted = keras_lodin.MahalanobisDetector(model, input_range=(0, 1), epsilon=0.01)
    adapted.adapt(x, y, verbose=0)
    exits = keras_lodin.MOODDetector(
        networks.with_exits(), boundaries=(100.0, 120.0), input_range=(0, 1)
    )
    exits.adapt(images_for_exits(), verbose=0)
    found = {
        "msp": keras_lodin.MSPDetector(model),
        "max_logit": keras_lodin.MaxLogitDetector(model),
        "energy": keras_lodin.EnergyDetector(model),
        "odin": keras_lodin.ODINDetector(model, input_range=(0, 1), epsilon=0.02),
        "mahalanobis": adapted,
        "mood": exits,
    }
    for name, detector in found.items():
        detector.calibrate(images_for_exits() if name == "mood" else x, tpr=0.9, verbose=0)
    return found


# Those that no other implementation is compared with on every backend.
OTHERS = ("temperature_scaling", "openmax", "adascale")


def scores_of_others():
    """Scores of each of `OTHERS`, by name."""
    model = networks.classifier("relu")
    x, y = networks.batch(60, seed=3)
    found = [keras_lodin.detectors.DETECTORS[name](model, input_range=(0, 1)) for name in OTHERS]
    keras_lodin.detectors.adapt_together(found, x, y, verbose=0)
    inputs = networks.batch(45, seed=4)[0]
    return {
        name: keras.ops.convert_to_numpy(detector(inputs)["score"])
        for name, detector in zip(OTHERS, found, strict=True)
    }


def images_for_exits():
    """Images from flat to noisy, which leave at different exits."""
    rng = np.random.default_rng(5)
    noise = rng.uniform(size=(30, 8, 8, 1))
    return (0.5 + (noise - 0.5) * np.linspace(0, 1, 30)[:, None, None, None]).astype("float32")


def to_score(name):
    """What a detector of `detectors` is to score: more than one batch, of unequal sizes."""
    return images_for_exits() if name == "mood" else networks.batch(45, seed=4)[0]


def tuned():
    """What `tune` chooses for ODIN, and what it measured on the way."""
    model = networks.classifier("gelu")
    detector = keras_lodin.ODINDetector(model, input_range=(0, 1))
    x, _ = networks.batch(40, seed=6)
    detector.tune(x, 0.5 * x[::-1], epsilons=(0.0, 0.01, 0.05), verbose=0)
    return {"chosen": np.array([detector.temperature, detector.epsilon])}


def evaluated(found):
    """The figures of an evaluation of two of `detectors`."""
    x, _ = networks.batch(60, seed=7)
    y = found["msp"].predict(x, verbose=0)["logits"].argmax(-1)
    results = keras_lodin.evaluate(
        {name: found[name] for name in ("msp", "odin")}, (x, y), {"dark": 0.4 * x}, verbose=0
    )
    return {
        f"{row['detector']} {row['ood']}": np.array([row["auroc"], row["fpr95"]], "float64")
        for row in results.rows
    }


def quotients():
    """The quotient of every sample, in every form."""
    model = networks.classifier("softplus", normalization=True)
    x, y = networks.batch(20, seed=8)
    return {
        name: keras_lodin.gradient_quotient(model, x, y, **settings, batch_size=8, verbose=0)
        for name, settings in FORMS.items()
        if "every" not in settings
    }


def everything():
    """All of it under one name for each array."""
    found = {}
    for key, training in TRAININGS.items():
        for name, value in after_training(*training).items():
            found[f"trained {key}: {name}"] = value
    kinds = detectors()
    for name, detector in kinds.items():
        for output, value in detector.predict(to_score(name), batch_size=32, verbose=0).items():
            found[f"detector {name}: {output}"] = value
    for part, of in (
        ("tuned", tuned),
        ("evaluated", lambda: evaluated(kinds)),
        ("quotient", quotients),
        ("other", scores_of_others),
    ):
        found.update({f"{part}: {name}": value for name, value in of().items()})
    return found


if __name__ == "__main__":
    assert keras.backend.backend() == "tensorflow"
    np.savez_compressed(FOLDER / "expected.npz", **everything())
    (FOLDER / "saved").mkdir(exist_ok=True)
    for name, detector in detectors().items():
        detector.save(FOLDER / "saved" / f"{name}.keras")

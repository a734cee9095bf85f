"""Runs a network once over every set and contrast, and keeps what the detectors need on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_lodin
from contrast.candidates import ODIN_IMAGES, odin_candidates, odin_folds
from contrast.images import CONTRASTS
from contrast.sets import Setting
from keras_lodin.detectors.odin_score import tempered_score
from keras_lodin.gradients import ForwardPass
from keras_lodin.utils.files import atomic_write

# ODIN costs three passes for every setting: it is tried on those that the rules use, and, added
# when all else was known, on the two that are smooth.
ODIN_CONTRASTS = (
    *("blocks16", "feathered", "warp", "phase", "texture", "mean", "mosaic", "noise", "cloud"),
    *("zoom", "blur"),
)


def run(setting: Setting, folder: Path, large: bool) -> None:
    """Writes `NAME.npz` with `features` and `logits`, and `odin_NAME.npz` with `scores`.

    Args:
        setting: the network and its sets.
        folder: where the files go; those that are there stay.
        large: whether the network takes long, so that ODIN gets fewer images, folds and
            candidates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = setting.model
    classes_count = model.outputs[0].shape[-1]
    odin_images, batch = ODIN_IMAGES.get(folder.name, 1000), 25 if large else 250
    candidates = odin_candidates(large)
    head = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]
    both = keras.Model(model.inputs, [head.input, model.outputs[0]])
    forward = tf.function(lambda x: both(x, training=False))

    def passed(name: str, images: np.ndarray) -> None:
        path = folder / f"{name}.npz"
        if not path.exists():
            found = [forward(images[i : i + batch]) for i in range(0, len(images), batch)]
            features, logits = (np.concatenate(part) for part in zip(*found, strict=True))
            _save(path, features=features, logits=logits)

    _save(folder / "head.npz", weights=head.kernel.numpy(), bias=head.bias.numpy())
    for name in ("fit", "select", "test"):
        passed(name, getattr(setting, name))
    classes = np.load(folder / "select.npz")["logits"].argmax(axis=1)

    def contrast(name: str) -> np.ndarray:
        rng = np.random.default_rng([11, *name.encode()])
        return CONTRASTS[name](setting.select, classes, rng)

    for name in CONTRASTS:
        if not (folder / f"contrast_{name}.npz").exists():
            passed(f"contrast_{name}", contrast(name))
    for name, images in setting.ood.items():
        passed(f"ood_{name}", images)
    print(f"{folder.name}: features are there", flush=True)

    whole = odin_scores(model, candidates, batch)

    def stepped(name: str, images: Callable[[], np.ndarray], scores: Callable = whole) -> None:
        path = folder / f"odin_{name}.npz"
        if not path.exists():
            start = time.perf_counter()
            _save(path, scores=scores(images()[:odin_images]))
            print(f"{folder.name}, {name}: {time.perf_counter() - start:.0f} s", flush=True)

    stepped("select", lambda: setting.select)
    for name in ODIN_CONTRASTS:
        stepped(f"contrast_{name}", lambda name=name: contrast(name))
    for fold, left_out in enumerate(odin_folds(classes_count)):
        kept = np.setdiff1d(np.arange(classes_count), left_out)
        part = keras.Model(model.inputs, keras.ops.take(model.outputs[0], kept, axis=-1))
        stepped(f"fold{fold}", lambda: setting.select, odin_scores(part, candidates, batch))
    stepped("test", lambda: setting.test)
    for name, images in setting.ood.items():
        stepped(f"ood_{name}", lambda images=images: images)


def odin_scores(
    model: keras.Model, candidates: list[tuple[float, ...]], batch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Scores of ODIN's candidates: `(samples, candidates)`."""
    detector = keras_lodin.ODINDetector(model, input_range=(0, 255))

    @tf.function
    def scores(inputs: tf.Tensor) -> tf.Tensor:
        forward_pass = ForwardPass(detector.logits_function, inputs)
        directions = {
            temperature: detector.step_direction(forward_pass, temperature)
            for temperature in {temperature for temperature, _ in candidates}
        }
        columns = []
        for temperature, epsilon in candidates:
            logits = forward_pass.logits
            if epsilon:
                direction = directions[temperature]
                logits = forward_pass.logits_at(
                    detector.step(forward_pass.inputs, direction, epsilon)
                )
            columns.append(tempered_score(logits, temperature))
        return tf.stack(columns, axis=-1)

    return lambda images: np.concatenate(
        [scores(tf.constant(images[i : i + batch])) for i in range(0, len(images), batch)]
    )


def _save(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)

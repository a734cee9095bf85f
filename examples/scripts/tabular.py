"""Vectors instead of images: a small network on the wines of scikit-learn.

    python tabular.py

Two of the three cultivars are in-distribution; the third arrives all the same. Each takes its turn,
and one of the turns goes wrong: that cultivar lies beyond a known one, where a classifier of two
classes is surer still, and the scores that look at logits have it the wrong way round. Measure
before you trust. Every detector works on vectors; ODIN's epsilon is a fraction of `input_range`,
here that of standardised features.
"""

from __future__ import annotations

import keras
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import keras_lodin


def main(unknown: int) -> keras_lodin.Evaluation:
    """Trains on the cultivars other than `unknown`, tunes and evaluates."""
    keras.utils.set_random_seed(0)
    wines, cultivars = load_wine(return_X_y=True)
    known = cultivars != unknown
    x, y = wines[known], np.unique(cultivars[known], return_inverse=True)[1]
    x_train, x_rest, y_train, y_rest = train_test_split(x, y, test_size=0.6, random_state=0)
    x_calibration, x_test, _, y_test = train_test_split(x_rest, y_rest, random_state=0)
    scaler = StandardScaler().fit(x_train)

    def scaled(values: np.ndarray) -> np.ndarray:
        # What lies beyond is as far as anything: ODIN wants to know the range of its inputs.
        return np.clip(scaler.transform(values), -5, 5).astype("float32")

    classifier = keras.Sequential(
        [
            keras.Input((x.shape[1],)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    classifier.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    classifier.fit(scaled(x_train), y_train, epochs=50, verbose=0)

    odin = keras_lodin.ODINDetector(classifier, input_range=(-5, 5))
    odin.tune(scaled(x_calibration), verbose=0)
    mahalanobis = keras_lodin.MahalanobisDetector(classifier, input_range=(-5, 5))
    mahalanobis.adapt(scaled(x_train), y_train, verbose=0)
    return keras_lodin.evaluate(
        {
            "odin": odin,
            "mahalanobis": mahalanobis,
            "energy": keras_lodin.EnergyDetector(classifier),
        },
        (scaled(x_test), y_test),
        {f"cultivar {unknown}": scaled(wines[~known])},
        verbose=0,
    )


if __name__ == "__main__":
    for unknown in range(3):
        print(main(unknown).table())

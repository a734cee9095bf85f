"""Scores images, or .npy batches, with an exported SavedModel.

Needs tensorflow, not Keras and not keras-lodin:

    python score_saved_model.py artifact image.png batch.npy
    python score_saved_model.py artifact image.png --threshold 0.005
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("detector", help="the SavedModel's folder")
parser.add_argument("inputs", nargs="+", help="images, or .npy batches taken as they are")
parser.add_argument("--threshold", type=float, help="in place of the calibrated one")
arguments = parser.parse_args()

about = json.loads((Path(arguments.detector) / "assets.extra/keras_lodin.json").read_text())
loaded = tf.saved_model.load(arguments.detector)  # keep it: signatures do not keep the weights
low, high = about["input_range"]


def read(path):
    """A batch in the shape and range that the metadata asks for."""
    if path.endswith(".npy"):
        return tf.constant(np.load(path), tf.float32)
    height, width, channels = about["input_shape"][1:]
    image = tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)
    pixels = tf.cast(image, tf.float32)
    if height and width:  # else the classifier takes any size
        pixels = tf.image.resize(pixels, (height, width), antialias=True)
    return low + pixels[tf.newaxis] / 255 * (high - low)


def score(batch):
    """Logits, scores and verdicts by the calibrated threshold, or by the one that was given."""
    inputs = {about["input_name"]: batch}
    if arguments.threshold is None:
        return loaded.signatures["serving_default"](**inputs)
    threshold = tf.constant(arguments.threshold, tf.float32)
    return loaded.signatures["with_threshold"](**inputs, threshold=threshold)


for path in arguments.inputs:
    outputs = {key: value.numpy() for key, value in score(read(path)).items()}
    for number, logits in enumerate(outputs["logits"]):
        label = int(logits.argmax())
        name = about["class_names"][label] if about["class_names"] else label
        verdict = "OUT OF" if outputs["is_ood"][number] else "in"
        print(f"{path}: class {name}, score {outputs['score'][number]:.7g}, {verdict} distribution")

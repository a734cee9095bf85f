"""Scores images, or .npy batches, with an exported ONNX file.

Needs numpy, onnxruntime and pillow, nothing else:

    python score_onnx.py detector.onnx image.png batch.npy
    python score_onnx.py detector.onnx image.png --threshold 0.005
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("detector", help="the .onnx file")
parser.add_argument("inputs", nargs="+", help="images, or .npy batches taken as they are")
parser.add_argument("--threshold", type=float, help="in place of the calibrated one")
arguments = parser.parse_args()

options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # it warns that the threshold is an input that may be left out
session = onnxruntime.InferenceSession(arguments.detector, options)
about = json.loads(session.get_modelmeta().custom_metadata_map["keras_lodin"])
low, high = about["input_range"]
more = {}
if arguments.threshold is not None:
    more["threshold"] = np.array(arguments.threshold, "float32")


def read(path):
    """A batch in the shape and range that the file's metadata asks for."""
    if path.endswith(".npy"):
        return np.load(path).astype("float32")
    channels_first = about["data_format"] == "channels_first"
    height, width, channels = np.roll(about["input_shape"][1:], -1 if channels_first else 0)
    image = Image.open(path).convert("L" if channels == 1 else "RGB")
    if height and width:  # else the classifier takes any size
        image = image.resize((width, height))
    pixels = np.asarray(image, "float32").reshape(1, image.height, image.width, channels)
    batch = low + pixels / 255 * (high - low)
    return np.ascontiguousarray(np.moveaxis(batch, -1, 1)) if channels_first else batch


for path in arguments.inputs:
    outputs = session.run(["logits", "score", "is_ood"], {about["input_name"]: read(path), **more})
    for logits, score, is_ood in zip(*outputs, strict=True):
        label = int(logits.argmax())
        name = about["class_names"][label] if about["class_names"] else label
        print(
            f"{path}: class {name}, score {score:.7g}, {'OUT OF' if is_ood else 'in'} distribution"
        )

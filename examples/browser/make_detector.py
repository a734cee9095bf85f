"""Makes the file that the page loads: a detector of digits 0 to 6, with one output more.

    python make_detector.py

`detector.onnx` is what `detector.export(format="onnx")` writes. The page also shows the input after
ODIN's step, which is a value inside of the graph: here it is made an output, `perturbed`.
`detector.json` tells the page what it cannot read from the graph.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import keras
import onnx
from onnx import TensorProto, helper

import keras_lodin
from keras_lodin.workflows import train


def main() -> None:
    """Trains, exports, and writes what the page needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    run = train(
        "digits:0-6",
        "small_convnet",
        options.output / "run",
        epochs=options.epochs,
        verbose=2,
    )
    detector = keras_lodin.ODINDetector(
        keras.models.load_model(run / "model.keras"), class_names=[str(n) for n in range(7)]
    )
    calibration = keras_lodin.data.load("digits:0-6", part="calibration")
    detector.tune(calibration)
    detector.calibrate(calibration, tpr=0.95)
    detector.save(options.output / "detector.keras")
    detector.export(options.output / "detector.onnx", format="onnx")
    model = onnx.load(options.output / "detector.onnx")
    show_perturbed(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, options.output / "detector.onnx")
    about = {
        "classes": list(detector.class_names),
        "threshold": detector.threshold,
        "temperature": detector.temperature,
        "epsilon": detector.epsilon,
        "size": 8,
    }
    (options.output / "detector.json").write_text(json.dumps(about, indent=2) + "\n")


def show_perturbed(model: onnx.ModelProto) -> None:
    """Makes the input after the step an output: the sum that the sign of a gradient leads to."""
    graph = model.graph
    reached = {output for node in graph.node if node.op_type == "Sign" for output in node.output}
    image = next(value for value in graph.input if value.name != "threshold")
    for node in graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type == "Add" and image.name in node.input:
            break
        reached.update(node.output)
    else:
        raise ValueError("The graph has no step on its input: epsilon is 0, or this is not ODIN.")
    graph.node.append(helper.make_node("Identity", [node.output[0]], ["perturbed"]))
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    graph.output.append(helper.make_tensor_value_info("perturbed", TensorProto.FLOAT, shape))


if __name__ == "__main__":
    main()

"""Asks a served detector, over the V2 inference protocol. Needs numpy, nothing else.

python client.py batch.npy
python client.py batch.npy --threshold 0.005 --url http://127.0.0.1:8080/v2/models/detector
"""

import argparse
import json
import urllib.request

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("batch", help=".npy file of inputs, in the shape and range of the classifier")
parser.add_argument("--threshold", type=float, help="in place of the calibrated one")
parser.add_argument("--url", default="http://127.0.0.1:8080/v2/models/detector")
arguments = parser.parse_args()


def ask(path="", request=None):
    """One call; a POST if there is something to send."""
    data = None if request is None else json.dumps(request).encode()
    call = urllib.request.Request(
        arguments.url + path, data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        return json.load(answer)


def tensor(name, value):
    """An array in the protocol's words."""
    value = np.asarray(value, "float32")
    return {
        "name": name,
        "shape": list(value.shape),
        "datatype": "FP32",
        "data": value.ravel().tolist(),
    }


metadata = ask()
(name,) = (entry["name"] for entry in metadata["inputs"] if entry["name"] != "threshold")
tensors = [tensor(name, np.load(arguments.batch))]
if arguments.threshold is not None:
    tensors.append(tensor("threshold", [arguments.threshold]))
answer = ask("/infer", {"inputs": tensors})
outputs = {
    output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]
}
for logits, score, is_ood in zip(
    outputs["logits"], outputs["score"], outputs["is_ood"], strict=True
):
    verdict = "OUT OF" if is_ood else "in"
    print(f"class {logits.argmax()}, score {score:.7g}, {verdict} distribution")

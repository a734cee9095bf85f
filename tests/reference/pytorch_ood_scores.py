"""pytorch-ood's ODIN scores, computed in the reference environment.

    python pytorch_ood_scores.py NETWORK WEIGHTS.npz INPUTS.npz SCORES.npz

`INPUTS.npz` holds image arrays (count, height, width, channels), and the array `settings`: rows of
temperature, epsilon (in the units of the images) and precision, as text. `SCORES.npz` gets, for
each image array, its logits and the score of each setting.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch_networks


def detector_class(module, name):
    """A class of `pytorch_ood.detector`, past the package's `__init__`, which needs torchvision."""
    if "pytorch_ood" not in sys.modules:
        root = Path(importlib.util.find_spec("pytorch_ood").origin).parent
        for package in ("pytorch_ood", "pytorch_ood.detector"):
            bare = types.ModuleType(package)
            bare.__path__ = [str(root.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = bare
    return getattr(importlib.import_module(f"pytorch_ood.detector.{module}"), name)


def main(network, weights, inputs, scores):
    torch.set_num_threads(2)
    odin = detector_class("odin", "ODIN")
    model = torch_networks.build(network, dict(np.load(weights)))
    arrays = dict(np.load(inputs))
    settings = arrays.pop("settings")
    results = {}
    for name, images in arrays.items():
        batches = torch.tensor(images).permute(0, 3, 1, 2).contiguous().split(125)
        with torch.no_grad():
            results[f"{name}_logits"] = torch.cat([model(batch) for batch in batches]).numpy()
        for index, (temperature, epsilon, precision) in enumerate(settings):
            dtype = getattr(torch, str(precision))
            detector = odin(model.to(dtype), eps=float(epsilon), temperature=float(temperature))
            found = torch.cat([detector.predict(batch.to(dtype)) for batch in batches])
            results[f"{name}_{index}"] = found.numpy()
        model.to(torch.float32)
    np.savez(scores, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])

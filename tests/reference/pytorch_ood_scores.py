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


def odin_class():
    """`pytorch_ood.detector.ODIN`, past the package's `__init__`, which needs torchvision."""
    root = Path(importlib.util.find_spec("pytorch_ood").origin).parent
    for name in ("pytorch_ood", "pytorch_ood.detector"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    from pytorch_ood.detector.odin import ODIN

    return ODIN


def main(network, weights, inputs, scores):
    torch.set_num_threads(2)
    odin = odin_class()
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

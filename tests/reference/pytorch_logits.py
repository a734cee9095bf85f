"""Logits of a PyTorch network, computed in the reference environment.

    python pytorch_logits.py NETWORK WEIGHTS.npz IMAGES.npy LOGITS.npy

Images are (count, height, width, channels); logits (count, classes), or (count, exits, classes).
"""

import sys

import numpy as np
import torch
import torch_networks


def main(network, weights, images, logits):
    torch.set_num_threads(2)
    arrays = dict(np.load(weights))
    model = torch_networks.build(network, arrays)
    taken = sum(v.numel() for k, v in model.state_dict().items() if "num_batches" not in k)
    if taken != sum(array.size for array in arrays.values()):
        raise ValueError(f"{network} has {taken} weights. Received: {len(arrays)} other arrays")
    batch = torch.tensor(np.load(images)).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        np.save(logits, model(batch).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The PyTorch side of `against_pytorch.py`; runs in the reference environment.

    python pytorch_worker.py NETWORK ARRAYS.npz THREADS

Reads the name of a task from each line of its input, runs that once and prints the seconds by the
clock and those of the processors:

* `plain`: a training step with the cross-entropy alone.
* `pooled`: the same with the published form of the Gradient Quotient added, on the logits: the
  gradient of the batch's summed label logits, and that of all its other logits, two backward
  passes that are differentiated themselves; the first's L1 norm over the second's.
* `odin`: pytorch-ood's ODIN on all images, batch by batch.
* `all`: so do six of its detectors, one behind the other; each runs the network.
* `logits`: the network alone on all images, batch by batch.
"""

import sys
import time
from pathlib import Path

import numpy as np
import timing
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))

import pytorch_ood_scores
import torch_networks

GQ_WEIGHT = 1e-6  # the published code's
BATCH = 128


def main(network, arrays, threads):
    torch.set_num_threads(int(threads))
    arrays = dict(np.load(arrays))
    images, labels = arrays.pop("images"), arrays.pop("labels")
    x = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor(labels)
    training = torch_networks.build(network, arrays).requires_grad_(True).train()
    optimizer = torch.optim.SGD(training.parameters(), lr=1e-4, momentum=0.9)
    scoring = torch_networks.build(network, arrays)
    detector = pytorch_ood_scores.detector_class("odin", "ODIN")(
        scoring, eps=0.0014, temperature=1000.0
    )

    others = [
        pytorch_ood_scores.detector_class(module, name)(scoring)
        for module, name in (
            ("softmax", "MaxSoftmax"),
            ("maxlogit", "MaxLogit"),
            ("energy", "EnergyBased"),
            ("entropy", "Entropy"),
            ("gen", "GEN"),
        )
    ]

    def score_by(detectors):
        for one in detectors:
            # Only ODIN needs a gradient.
            with torch.set_grad_enabled(one is detector):
                for batch in x.split(BATCH):
                    one.predict(batch)

    def step(with_gq):
        inputs = x[:32].clone().requires_grad_(with_gq)
        logits = training(inputs)
        loss = functional.cross_entropy(logits, y[:32])
        if with_gq:
            own = functional.one_hot(y[:32], logits.shape[1]).to(logits.dtype)
            gradients = [
                torch.autograd.grad((mask * logits).sum(), inputs, create_graph=True)[0]
                for mask in (own, 1 - own)
            ]
            label, others = (gradient.abs().sum() for gradient in gradients)
            loss = loss + GQ_WEIGHT * label / others
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def logits():
        with torch.no_grad():
            for batch in x.split(BATCH):
                scoring(batch)

    tasks = {
        "plain": lambda: step(False),
        "pooled": lambda: step(True),
        "odin": lambda: score_by([detector]),
        "all": lambda: score_by([*others, detector]),
        "logits": logits,
    }
    for line in sys.stdin:
        start = time.perf_counter()
        used = timing.processor_seconds_of(tasks[line.strip()])
        print(time.perf_counter() - start, used, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

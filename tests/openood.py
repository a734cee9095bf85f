"""A folder as OpenOOD's download leaves it, with a few made-up images."""

import numpy as np
from PIL import Image

KNOWN = ("train_cifar10", "val_cifar10", "test_cifar10")
UNKNOWN = ("cifar100", "tin", "mnist", "svhn", "texture", "places365")


def write_openood(root, images):
    """Writes all lists of the benchmark of CIFAR-10, the same images in each, shifted apart.

    Args:
        root: an empty folder.
        images: uint8 of shape (count, height, width, 3). Labels are 0, 1, 2, 0, ...

    Returns:
        the folder.
    """
    lists = root / "benchmark_imglist" / "cifar10"
    lists.mkdir(parents=True)
    for name in (*KNOWN, "val_tin", *(f"test_{one}" for one in UNKNOWN)):
        lines = []
        for number, pixels in enumerate(images):
            image = f"{name}/{number % 2}/{number:02}.png"
            path = root / "images_classic" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(pixels, len(name), axis=1)).save(path)
            lines.append(f"{image} {number % 3 if name in KNOWN else -1}\n")
        (lists / f"{name}.txt").write_text("".join(lines))
    return root

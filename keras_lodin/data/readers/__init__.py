"""Who reads data: tf.data on Keras's TensorFlow backend, NumPy and Pillow on the others.

What a source is made of, in which order its examples come and how they are changed is said once,
above this folder, with the names that both readers have:

* `Dataset`, tf.data's or one of Python with as many of its methods as are used, and `mapped`,
  `prefetched`, `with_length`, `permuted` and `read_files`, steps of it that each does its own way;
* `floats`, `grey`, `colour`, `resized`, `clipped`, `reshape`, `pad`, `cut`, `either`, `decoded`:
  what is done to images;
* `decoded_batches`, examples out of the bytes of image files, decoded as all else is done;
* `pair`, `split`, `fold_in`, `integers`, `uniform`, `normal`, `by_position`: random numbers that
  follow from a seed alone;
* `stored`, arrays that examples are taken from, and `png_sizes`, of a batch in a classifier's pass.

Equal seeds give equal orders, crops, mirror images and uniform noise; gaussian noise agrees to
float32 rounding. Decoded pixels are the same but for CMYK files (four grey levels of 255), resized
ones to a hundredth of a level. On JAX and PyTorch TensorFlow is not imported, even where it is
installed. Nor is it where Keras itself is not: there NumPy and Pillow read.
"""

import sys
from importlib import import_module

# Not there where an exported file is scored without Keras: see `keras_lodin`.
_keras = sys.modules.get("keras")
_ON_TENSORFLOW = _keras is not None and _keras.backend.backend() == "tensorflow"
_NAME = "tensorflow" if _ON_TENSORFLOW else "numpy"
READER = import_module(f"{__name__}.{_NAME}")

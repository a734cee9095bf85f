"""Who reads data: tf.data on Keras's TensorFlow backend, NumPy and Pillow on the others.

What a source is made of, in which order its examples come and how they are changed is said once,
above this folder, with the names that both readers have:

* `Dataset`, tf.data's or one of Python with as many of its methods as are used; `mapped`,
  `prefetched`, `with_length`, `permuted` and `read_files`, steps of it that each takes its own way;
* `floats`, `grey`, `colour`, `resized`, `clipped`, `reshape`, `pad`, `either` and `decoded`, what is
  done to images;
* `pair`, `split`, `fold_in`, `integers`, `uniform`, `normal`, `unstacked` and `by_position`, random
  numbers that follow from a seed alone, the same with both;
* `stored`, arrays that examples are taken from, and `png_sizes`, of a batch in a classifier's pass.

Equal seeds give equal orders, crops and mirror images; pixels of image files agree to one grey
level of 255, what was resized to a thousandth of one, gaussian noise to float32 rounding. On JAX
and PyTorch TensorFlow is not imported, even where it is installed.
"""

from types import ModuleType

import keras

READER: ModuleType
if keras.backend.backend() == "tensorflow":
    from keras_lodin.data.readers import tensorflow as READER
else:
    from keras_lodin.data.readers import numpy as READER

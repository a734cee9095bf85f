"""Every derivative with respect to inputs, and the only seam to one of Keras's backends.

A backend is a folder with the same names, each in a file of its own:

* `forward_pass.py`: `ForwardPass`, one pass of a classifier, and its input gradients;
* `chunks.py`: `norms_in_chunks`, many of them in bounded memory;
* `compiled_function.py`: `CompiledFunction`, a function of a batch;
* `penalty_step.py`: `PenaltyStep`, a training step with a penalty on input gradients;
* `replicas_of.py`: `replicas_of`, the devices and hosts that a training runs on;
* `has_gradient.py`: whether there is a gradient, told beforehand;
* `is_unbounded.py`: how a function ends, in something with an upper end or without;
* `backend.py`: small things that only a backend can do.

What they promise is said once, in the folder `tensorflow`. Above this room, arithmetic is
`keras.ops`, and nothing asks which backend runs; `export` and what reads by TensorFlow name it.
"""

import keras

_BACKEND = keras.backend.backend()
# The type checker takes it for true: the types are those of the folder that says the promises.
ON_TENSORFLOW = _BACKEND == "tensorflow"
if ON_TENSORFLOW:
    from keras_lodin.gradients.tensorflow import CompiledFunction as CompiledFunction
    from keras_lodin.gradients.tensorflow import ForwardPass as ForwardPass
    from keras_lodin.gradients.tensorflow import PenaltyStep as PenaltyStep
    from keras_lodin.gradients.tensorflow import backend as backend
    from keras_lodin.gradients.tensorflow import has_gradient as has_gradient
    from keras_lodin.gradients.tensorflow import is_unbounded as is_unbounded
    from keras_lodin.gradients.tensorflow import norms_in_chunks as norms_in_chunks
    from keras_lodin.gradients.tensorflow import replicas_of as replicas_of
elif _BACKEND == "jax":
    from keras_lodin.gradients.jax import CompiledFunction as CompiledFunction
    from keras_lodin.gradients.jax import ForwardPass as ForwardPass
    from keras_lodin.gradients.jax import PenaltyStep as PenaltyStep
    from keras_lodin.gradients.jax import backend as backend
    from keras_lodin.gradients.jax import has_gradient as has_gradient
    from keras_lodin.gradients.jax import is_unbounded as is_unbounded
    from keras_lodin.gradients.jax import norms_in_chunks as norms_in_chunks
    from keras_lodin.gradients.jax import replicas_of as replicas_of
elif _BACKEND == "torch":
    from keras_lodin.gradients.torch import CompiledFunction as CompiledFunction
    from keras_lodin.gradients.torch import ForwardPass as ForwardPass
    from keras_lodin.gradients.torch import PenaltyStep as PenaltyStep
    from keras_lodin.gradients.torch import backend as backend
    from keras_lodin.gradients.torch import has_gradient as has_gradient
    from keras_lodin.gradients.torch import is_unbounded as is_unbounded
    from keras_lodin.gradients.torch import norms_in_chunks as norms_in_chunks
    from keras_lodin.gradients.torch import replicas_of as replicas_of
else:
    raise ImportError(
        "keras-lodin runs on Keras's backends tensorflow, jax and torch; the environment variable "
        f"KERAS_BACKEND chooses one. Received: backend={_BACKEND!r}"
    )

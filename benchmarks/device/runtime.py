"""What only a backend can say of its device. Nothing of the package asks for this."""

from __future__ import annotations

import contextlib
import gc
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import keras

BACKEND = keras.backend.backend()


def header() -> dict[str, Any]:
    """The device, the versions, and how exactly the backend multiplies float32 by itself."""
    return {
        "device": _device(),
        "backend": BACKEND,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in (BACKEND, "keras", "numpy")},
        },
        "float32": _precision(),
    }


def _device() -> str:
    if BACKEND == "jax":
        import jax

        return jax.devices()[0].device_kind
    if BACKEND == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return (
        tf.config.experimental.get_device_details(devices[0])["device_name"] if devices else "cpu"
    )


def _precision() -> str:
    if BACKEND == "jax":
        import jax

        return f"jax_default_matmul_precision={jax.config.jax_default_matmul_precision}"
    if BACKEND == "torch":
        import torch

        return (
            f"matmul precision {torch.get_float32_matmul_precision()}, "
            f"cudnn.allow_tf32={torch.backends.cudnn.allow_tf32}"
        )
    import tensorflow as tf

    return f"tensor_float_32={tf.config.experimental.tensor_float_32_execution_enabled()}"


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Within it, float32 is multiplied as such, and not as the shorter TF32 of some devices."""
    if BACKEND == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif BACKEND == "torch":
        import torch

        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]
    else:
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(before)


def forget() -> None:
    """Gives back what earlier models hold, compiled programs among it."""
    keras.utils.clear_session(free_memory=True)
    gc.collect()
    if BACKEND == "jax":
        import jax

        jax.clear_caches()
    elif BACKEND == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    else:
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            tf.config.experimental.reset_memory_stats("GPU:0")


def peak_bytes() -> int | None:
    """The most memory in use since `forget`, on JAX since the process began; None on a CPU."""
    if BACKEND == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if BACKEND == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device's memory did not suffice."""
    return "OutOfMemory" in type(error).__name__ or "RESOURCE_EXHAUSTED" in str(error)

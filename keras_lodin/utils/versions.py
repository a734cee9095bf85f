"""Versions of what results were made with."""

from __future__ import annotations

import importlib.metadata
import platform

import keras


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it goes by another name (tensorflow-cpu)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def backend_version() -> dict[str, str | None]:
    """The version of Keras's backend, by the name of its package."""
    backend = keras.backend.backend()
    return {backend: version_of(backend)}


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that figures depend on, and of Python."""
    return {
        "keras_lodin": version_of("keras-lodin"),
        "keras": version_of("keras"),
        **backend_version(),
        **{package: version_of(package) for package in ("numpy", "scikit-learn")},
        "python": platform.python_version(),
    }

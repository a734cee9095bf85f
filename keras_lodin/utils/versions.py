"""Versions of what results were made with."""

from __future__ import annotations

import importlib.metadata
import platform


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it goes by another name (tensorflow-cpu)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that figures depend on, and of Python."""
    packages = ("keras", "tensorflow", "numpy", "scikit-learn")
    return {
        "keras_lodin": version_of("keras-lodin"),
        **{package: version_of(package) for package in packages},
        "python": platform.python_version(),
    }

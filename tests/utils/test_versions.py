"""Versions in results."""

import keras

from keras_lodin.utils.versions import backend_version, package_versions, version_of


def test_versions_are_those_installed_or_none():
    assert package_versions()["keras"] == version_of("keras") == keras.__version__
    assert package_versions().items() >= backend_version().items()
    assert list(backend_version()) == [keras.backend.backend()]
    assert version_of("no-such-package-of-keras-lodin") is None

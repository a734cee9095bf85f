"""Versions in results."""

import keras

from keras_lodin.utils.versions import package_versions, version_of


def test_versions_are_those_installed_or_none():
    assert package_versions()["keras"] == version_of("keras") == keras.__version__
    assert version_of("no-such-package-of-keras-lodin") is None

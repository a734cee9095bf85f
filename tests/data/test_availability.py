"""Whether data are there, before the long work begins."""

import numpy as np
import pytest

from keras_lodin import data


@pytest.mark.parametrize("specification", ["digits:0-6", "photos:10", "noise:uniform"])
def test_what_is_made_on_the_spot_is_never_missing(specification):
    assert data.missing(specification) is None


def test_folders_and_archives_are_looked_for(tmp_path):
    assert data.missing(f"dir:{tmp_path}") is None
    assert data.missing(f"dir:{tmp_path}/no") == f"there is nothing at {tmp_path}/no"
    np.savez(tmp_path / "some.npz", x=np.zeros((2, 4)))
    assert data.missing(f"npz:{tmp_path}/some.npz[:50%]") is None


def test_a_data_set_that_will_be_downloaded_is_not_missing(tmp_path):
    assert data.missing("tfds:cifar10:test", tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_nobody_can_download_says_what_to_do(tmp_path):
    message = data.missing("tfds:imagenet2012:train", tmp_path)
    assert "cannot download 'imagenet2012' by itself" in message


def test_an_unknown_data_set_is_missing_with_the_nearest_name(tmp_path):
    assert "cifar10" in data.missing("tfds:cifar1", tmp_path)


def test_a_specification_in_no_language_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        data.missing("digit:0-6")

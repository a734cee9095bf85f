"""What every model around a classifier shares: how it goes to a file, classifier and all."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_lodin.gradients import backend
from keras_lodin.models.classifier_head import ClassifierHead
from keras_lodin.utils import keras_internals


class ClassifierWrapper(keras.Model):
    """A `keras.Model` that holds a classifier and is made again from its configuration.

    A model may hold several wrappers of one classifier, and the classifier beside them: a `.keras`
    file has it once, and they share it again when they are loaded.

    Attributes:
        classifier: the classifier.
        from_logits: whether it returns logits.
    """

    classifier: keras.Model
    from_logits: bool
    _head: ClassifierHead
    _in_config = True

    # No property: Keras saves what every property of a model gives.
    def deployed(self) -> keras.Model:
        """What of this model goes to work: its classifier; of a detector, which scores, itself."""
        return self.classifier

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """See `keras.Model.fit`. Where it fails, the model has what its last finished step left."""
        with backend.keeping_weights(self, self._head.check):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.evaluate`."""
        with backend.keeping_weights(self, self._head.check):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.predict`."""
        with backend.keeping_weights(self, self._head.check):
            return super().predict(*args, **kwargs)

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes a `.keras` file, which `keras.models.load_model` reads.

        Args:
            filepath: the file. Its name must end in `.keras`.
            overwrite: whether to replace a file of that name, or to ask first.
            zipped: see `keras.Model.save`.
            **kwargs: of `keras.Model.save`.

        Raises:
            ValueError: for a name of another ending.
        """
        is_folder = zipped is False or str(filepath).startswith("hf://")
        if not is_folder and not str(filepath).endswith(".keras"):
            raise ValueError(
                f"{type(self).__name__} is saved to a `.keras` file: "
                f"`save('{_stem(filepath)}.keras')`. {_OTHER_FORMATS} "
                f"Received: filepath={str(filepath)!r}"
            )
        super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        max_shard_size: float | None = None,
    ) -> None:
        """Writes the weights alone, which `load_weights` of the same model reads.

        Args:
            filepath: the file. Its name must end in `.weights.h5`.
            overwrite: whether to replace a file of that name, or to ask first.
            max_shard_size: see `keras.Model.save_weights`.

        Raises:
            ValueError: for a name of another ending.
        """
        endings = ".weights.h5" if max_shard_size is None else ("weights.h5", "weights.json")
        if not str(filepath).endswith(endings):
            raise ValueError(
                f"Weights alone go to a file that ends in `.weights.h5`, and {type(self).__name__} "
                f"as a whole to one that ends in `.keras`: `save('{_stem(filepath)}.keras')`. "
                f"Received: filepath={str(filepath)!r}"
            )
        super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)

    def get_config(self) -> dict[str, Any]:
        """What makes this model again, with its classifier inside."""
        if keras_internals.writing_legacy_file():
            raise ValueError(
                f"{type(self).__name__}, and a model that holds one, is saved to a `.keras` file: "
                f"`save('name.keras')`. {_OTHER_FORMATS} Received: {self.name!r} in a `.h5` file"
            )
        return {
            **super().get_config(),
            "classifier": self._in_config and keras_internals.serialized_to_share(self.classifier),
            "from_logits": self.from_logits,
        }

    def config_without_classifier(self) -> dict[str, Any]:
        """What `get_config` says beside the classifier, which need not have a configuration."""
        self._in_config = False
        try:
            config = self.get_config()
        finally:
            self._in_config = True
        return {name: value for name, value in config.items() if name != "classifier"}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, object] | None = None
    ) -> Any:
        """Makes a model from `get_config`'s value."""
        classifier = keras.saving.deserialize_keras_object(
            config["classifier"], custom_objects=custom_objects
        )
        return cls(**{**config, "classifier": classifier})


_OTHER_FORMATS = (
    "What is in an HDF5 file cannot be loaded again; `save_weights('name.weights.h5')` writes the "
    "weights alone, and `export` a SavedModel."
)


def _stem(filepath: str | os.PathLike[str]) -> str:
    name = os.path.basename(str(filepath))
    return name.split(".")[0] or "detector"

"""From shards to batches for a classifier."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_lodin.data import readers
from keras_lodin.data.encoded_images import decode_image
from keras_lodin.data.pipeline import pixel_transform, resolve_shapes
from keras_lodin.data.shards.shard import EncodedShard, Shard
from keras_lodin.data.shards.source_shard import SourceShard
from keras_lodin.data.source import Source
from keras_lodin.data.unreadable_image_error import UnreadableImageError
from keras_lodin.data.value_range import Bounds

# Images that are handed to the decoder at once.
_CHUNK = 32
# Of shards without a readable image, so that there is one.
_NO_SHAPE = (1, 1, 3)

Transform = Callable[[Any], Any]


class ImageReader:
    """Reads shard after shard, with the same pixels as `keras_lodin.data.load`.

    Args:
        image_shape: shape of one input of the classifier; None for sizes that it leaves open.
        input_range: where the values 0 and 255 go.
        batch_size: images in a batch.

    Example:
    ```python
    reader = ImageReader((32, 32, 3), (0.0, 1.0), 128)
    unreadable = []
    for keys, images in reader.batches(shard, unreadable):
        ...
    ```
    """

    def __init__(
        self, image_shape: tuple[int | None, ...], input_range: Bounds, batch_size: int = 128
    ) -> None:
        self._image_shape = image_shape
        self._input_range = input_range
        self._batch_size = batch_size
        # Graphs are traced once, and files of arrays read once, for all shards.
        self._pipelines: dict[tuple[int, int, int], tuple[Any, Transform]] = {}
        self._chunks: Callable[[], Iterator[list[tuple[int, bytes]]]] = lambda: iter(())
        self._source: tuple[tuple[str, str | None], Source] | None = None

    def batches(
        self, shard: Shard, unreadable: list[tuple[str, str]]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """The images of a shard, in order.

        Args:
            shard: from `keras_lodin.plan`.
            unreadable: gets `(key, reason)` of each image that cannot be read.

        Yields:
            the keys of some images, and the images: float32, shape (batch, *image shape).

        Raises:
            ValueError: if what the images are stored in is damaged, or does not fit the classifier.
            OSError: if it cannot be read.
        """
        if isinstance(shard, SourceShard):
            yield from self._of_source(shard, unreadable)
        elif isinstance(shard, EncodedShard):
            yield from self._of_images(shard, unreadable)
        else:
            raise TypeError(f"Expected a shard from `keras_lodin.plan`. Received: {shard!r}")

    def _of_source(
        self, shard: SourceShard, unreadable: list[tuple[str, str]]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        name = shard.specification, shard.data_dir
        if self._source is None or self._source[0] != name:
            self._source = name, shard.source(self._image_shape, self._input_range)
        source, number = self._source[1].excerpt(shard.first, shard.count), 0
        known = dict(source.skipped)
        for images, *_ in source.batches(self._batch_size):
            images = np.asarray(images)
            yield [shard.key(number + place) for place in range(len(images))], images
            number += len(images)
        unreadable += [one for one in source.skipped if one[0] not in known]

    def _of_images(
        self, shard: EncodedShard, unreadable: list[tuple[str, str]]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        batches, transform = self._pipeline(shard)
        keys: list[str] = []
        reasons: dict[int, str] = {}
        # What the decoder was given and has neither returned nor passed over.
        waiting: deque[tuple[int, bytes]] = deque()
        failures: list[Exception] = []

        def chunks() -> Iterator[list[tuple[int, bytes]]]:
            chunk: list[tuple[int, bytes]] = []
            try:
                for number, (key, encoded) in enumerate(shard.records()):
                    keys.append(key)
                    if isinstance(encoded, UnreadableImageError):
                        reasons[number] = str(encoded)
                        continue
                    waiting.append((number, encoded))
                    chunk.append((number, encoded))
                    if len(chunk) == _CHUNK:
                        yield chunk
                        chunk = []
            # In TensorFlow's thread, where it would be an unreadable image more.
            except Exception as error:
                failures.append(error)
            if chunk:
                yield chunk

        def passed_over(until: int) -> Iterator[tuple[list[str], np.ndarray]]:
            """What the decoder left out: its reason, or the image if it can be read after all."""
            number, encoded = waiting.popleft()
            while number != until:
                try:
                    image = np.asarray(transform(decode_image(encoded)))
                    yield [keys[number]], image[None]
                except UnreadableImageError as error:
                    reasons[number] = str(error)
                if not waiting:
                    return
                number, encoded = waiting.popleft()

        self._chunks = chunks
        for numbers, images in batches:
            numbers = np.asarray(numbers).tolist()
            for number in numbers:
                if waiting[0][0] == number:
                    waiting.popleft()
                else:
                    yield from passed_over(number)
            yield [keys[number] for number in numbers], np.asarray(images)
        if waiting:
            yield from passed_over(-1)
        if failures:
            raise failures[0]
        unreadable += [(keys[number], reasons[number]) for number in sorted(reasons)]

    def _pipeline(self, shard: EncodedShard) -> tuple[Any, Transform]:
        """Batches of what `_chunks` gives at the time, and what is done to an image for them."""
        natural = shard.natural_shape or _NO_SHAPE
        if natural not in self._pipelines:
            reader = readers.READER
            shapes = resolve_shapes(shard.label, natural, self._image_shape)
            transform = pixel_transform(reader, shapes, self._input_range)
            batches = reader.decoded_batches(
                lambda: self._chunks(), shapes[0][2], transform, self._batch_size
            )
            self._pipelines[natural] = batches, transform
        return self._pipelines[natural]

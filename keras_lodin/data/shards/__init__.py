"""Parts of what is to be scored: what one worker does in one go.

`plan` makes them, `Shard` is what they have in common, and `ImageReader` reads them: bytes in
Python, several files at a time, and all that is done to pixels in the graphs of tf.data (on JAX
and PyTorch in threads of NumPy and Pillow). A graph cannot tell which file failed, nor why: what it
passes over is missing among the numbers that it returns, and is decoded once more to learn the
reason.
"""

from keras_lodin.data.shards.image_file_shard import ImageFileShard as ImageFileShard
from keras_lodin.data.shards.image_reader import ImageReader as ImageReader
from keras_lodin.data.shards.parquet_shard import ParquetShard as ParquetShard
from keras_lodin.data.shards.planning import SHARD_SIZE as SHARD_SIZE
from keras_lodin.data.shards.planning import input_folders as input_folders
from keras_lodin.data.shards.planning import plan as plan
from keras_lodin.data.shards.shard import PlanSummary as PlanSummary
from keras_lodin.data.shards.shard import Shard as Shard
from keras_lodin.data.shards.source_shard import SourceShard as SourceShard
from keras_lodin.data.shards.tfrecord_shard import TFRecordShard as TFRecordShard

"""Scores shards of images by the workers of Apache Spark.

    spark-submit score_on_spark.py detector.onnx scores photos archive.parquet

What a worker gets is a shard, what it writes are the files of `keras_lodin.score_shard`, and what
comes back is a row of figures. A task that Spark starts again, or twice at a time, changes nothing:
a shard that is done is passed over. The folder must be on a disk that all workers see, and so must
the artifact and the inputs.
"""

import functools
import os
import pickle
import sys

import pyarrow as pa

import keras_lodin

FIGURES = ("shard", "images", "scored", "out_of_distribution", "unreadable", "seconds")
SCHEMA = (
    "shard string, images long, scored long, out_of_distribution long, unreadable long, "
    "seconds double"
)


def score_batches(batches, artifact, folder):
    """What `mapInArrow` calls: from record batches of pickled shards to ones of figures."""
    for batch in batches:
        for pickled in batch.column("shard").to_pylist():
            outcome = keras_lodin.score_shard(artifact, pickle.loads(pickled), folder)
            yield pa.RecordBatch.from_pylist([{name: outcome[name] for name in FIGURES}])


def main(spark, artifact, folder, inputs, shard_size=10_000):
    """Figures of every shard, as rows of Spark."""
    shards = keras_lodin.plan(inputs, shard_size)
    rows = [(bytearray(pickle.dumps(shard)),) for shard in shards]
    # A shard for each task: those of a partition are scored one after the other.
    frame = spark.createDataFrame(rows, "shard binary").repartition(len(shards))
    work = functools.partial(
        score_batches, artifact=os.path.abspath(artifact), folder=os.path.abspath(folder)
    )
    return frame.mapInArrow(work, SCHEMA).collect()


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    artifact, folder, *inputs = sys.argv[1:]
    for row in main(SparkSession.builder.getOrCreate(), artifact, folder, inputs):
        print(row)

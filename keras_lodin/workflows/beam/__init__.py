"""Scoring and statistics by Apache Beam: on one machine, or by Dask, Flink, Spark or Dataflow.

Needs `keras-lodin[beam]`; nothing else of the package imports this. Workers need what this machine
has: the package, the artifact and the inputs under the same paths, and a folder for results that
all of them see.
"""

from keras_lodin.utils.needed_packages import imported_for

with imported_for("Work by Apache Beam"):
    import apache_beam as _beam  # noqa: F401

from keras_lodin.workflows.beam.count_scores import CombineScores as CombineScores
from keras_lodin.workflows.beam.count_scores import CountScores as CountScores
from keras_lodin.workflows.beam.run import score_on_beam as score_on_beam
from keras_lodin.workflows.beam.score_shards import ScoreShards as ScoreShards
from keras_lodin.workflows.beam.take_statistics import MergeStatistics as MergeStatistics
from keras_lodin.workflows.beam.take_statistics import TakeStatistics as TakeStatistics

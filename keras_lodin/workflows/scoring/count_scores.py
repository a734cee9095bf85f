"""The scores of a folder, counted: thresholds, p-values and figures of any number of them."""

from __future__ import annotations

import copy
import os

import numpy as np
from numpy.typing import NDArray

from keras_lodin.metrics.score_histogram import ScoreHistogram
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.workflows.scoring.score_folder import ScoreFolder


def count_scores(
    folder: str | os.PathLike[str], into: ScoreHistogram | None = None
) -> ScoreHistogram:
    """Counts the scores of a folder, with those of one shard in memory at a time.

    A threshold from a hundred million scores takes two passes, see `ScoreHistogram`; figures
    between bounds take one.

    Args:
        folder: what `keras-lodin score --output DIR/` wrote, or `keras_lodin.score_shard` on
            several machines, with all of its shards.
        into: what to count into, such as `first.finer(tpr=0.95)` for another pass, or a histogram
            that has counted other folders. It is left as it is. None for an empty one.

    Returns:
        a histogram that has counted them.

    Raises:
        FileNotFoundError: if there are no scores in the folder.
        ValueError: if shards are missing, or scores are NaN, which have no place among others.

    Example:
    ```python
    first = count_scores("scores")
    detector.calibrate_from(count_scores("scores", first.finer(tpr=0.95)), tpr=0.95)
    lowest, highest = first.auroc(count_scores("ood_scores"))
    ```
    """
    scores = ScoreFolder(checked_path("folder", folder))
    histogram = ScoreHistogram() if into is None else copy.deepcopy(into)
    for name in countable_shards(scores):
        histogram.update(scores_of(scores, name))
    return histogram


def countable_shards(folder: ScoreFolder) -> list[str]:
    """The names of all shards of a folder, told beforehand to be such that can be counted.

    Raises:
        FileNotFoundError: if there are no scores in the folder.
        ValueError: if shards are missing, or scores are NaN.
    """
    planned, done = folder.manifest()["plan"]["shards"], folder.done()
    if len(done) != planned:
        raise ValueError(
            "Scores are counted when all shards are done: start the scoring again, and it goes on. "
            f"Received: {len(done):,} of {planned:,} shards in {str(folder.path)!r}"
        )
    for name in done:
        # Of so few numbers per shard it takes seconds, where the scores themselves take hours.
        wrong = folder.outcome(name)["not_a_number"]
        if wrong:
            raise ValueError(
                "A NaN has no place among scores. Look for what is special about the images (rows "
                "whose `score` is NaN), or count the others with `ScoreHistogram.update`, shard by "
                f"shard. Received: {wrong:,} NaN in shard {name} of {str(folder.path)!r}"
            )
    return done


def scores_of(folder: ScoreFolder, name: str) -> NDArray[np.float32]:
    """The scores of a shard, shape `(n,)`, float32."""
    scores: NDArray[np.float32] = folder.rows(name, ("score",))["score"]
    return scores

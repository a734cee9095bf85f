"""Scores of any number of images: a folder with a file of rows for each shard."""

from keras_lodin.workflows.scoring.count_scores import count_scores as count_scores
from keras_lodin.workflows.scoring.run import names_folder as names_folder
from keras_lodin.workflows.scoring.run import score_to_folder as score_to_folder
from keras_lodin.workflows.scoring.score_folder import ScoreFolder as ScoreFolder
from keras_lodin.workflows.scoring.score_summary import ScoreSummary as ScoreSummary
from keras_lodin.workflows.scoring.score_summary import summarize as summarize
from keras_lodin.workflows.scoring.shard_scorer import score_shard as score_shard

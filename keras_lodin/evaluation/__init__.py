"""How well detectors tell in-distribution data from others: many of them in one pass."""

from keras_lodin.evaluation.choice import Choice as Choice
from keras_lodin.evaluation.choosing import choose as choose
from keras_lodin.evaluation.one_pass import evaluate as evaluate
from keras_lodin.evaluation.results import Evaluation as Evaluation

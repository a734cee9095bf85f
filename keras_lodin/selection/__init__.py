"""Choosing how to train from in-distribution data and made-up validation data alone."""

from keras_lodin.selection.candidate import Candidate as Candidate
from keras_lodin.selection.recommendation import Recommendation as Recommendation
from keras_lodin.selection.recommendation import recommend as recommend

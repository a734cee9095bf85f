"""Choosing how to train from in-distribution data and made-up validation data alone."""

from keras_lodin.workflows.sweeps.candidate import Candidate as Candidate
from keras_lodin.workflows.sweeps.recommendation import Recommendation as Recommendation
from keras_lodin.workflows.sweeps.recommendation import recommend as recommend

"""Losses that a classifier is trained with instead of the plain cross-entropy.

They are what one would reach for before the Gradient Quotient, and what it is compared with: they
need no gradient of the input, and work in plain `model.compile`.
"""

from keras_lodin.training.losses.label_smoothing import LabelSmoothing as LabelSmoothing
from keras_lodin.training.losses.logit_norm import LogitNorm as LogitNorm
from keras_lodin.training.losses.registry import LOSSES as LOSSES
from keras_lodin.training.losses.registry import build as build
from keras_lodin.training.losses.registry import names as names
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)

"""The losses of `keras_lodin.training.losses`, where Keras's users look for them."""

from keras_lodin.training.losses import LOSSES as LOSSES
from keras_lodin.training.losses import LabelSmoothing as LabelSmoothing
from keras_lodin.training.losses import LogitNorm as LogitNorm
from keras_lodin.training.losses import build as build
from keras_lodin.training.losses import names as names

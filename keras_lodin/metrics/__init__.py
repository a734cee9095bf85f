"""Figures of two arrays of scores, what they are over several seeds, and p-values."""

from keras_lodin.metrics.bootstrap import bootstrap_intervals as bootstrap_intervals
from keras_lodin.metrics.figures import aupr as aupr
from keras_lodin.metrics.figures import auroc as auroc
from keras_lodin.metrics.figures import calibration_error as calibration_error
from keras_lodin.metrics.figures import detection_error as detection_error
from keras_lodin.metrics.figures import fewest_samples as fewest_samples
from keras_lodin.metrics.figures import fpr_at_tpr as fpr_at_tpr
from keras_lodin.metrics.figures import lowest_kept as lowest_kept
from keras_lodin.metrics.figures import threshold_at_confidence as threshold_at_confidence
from keras_lodin.metrics.figures import threshold_at_tpr as threshold_at_tpr
from keras_lodin.metrics.monitor import Monitor as Monitor
from keras_lodin.metrics.p_values import discoveries as discoveries
from keras_lodin.metrics.registry import FIGURES as FIGURES
from keras_lodin.metrics.registry import figure as figure
from keras_lodin.metrics.score_histogram import ScoreHistogram as ScoreHistogram
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)

"""keras-lodin: classifiers that know when they do not know (Learning ODIN, for Keras 3)."""

from importlib.metadata import version as _version

# First, and though nothing here needs it: who reads data is settled by whether Keras is there.
import keras as _keras  # noqa: F401

from keras_lodin import data as data
from keras_lodin import losses as losses
from keras_lodin import metrics as metrics
from keras_lodin import models as models
from keras_lodin import testing as testing
from keras_lodin import workflows as workflows
from keras_lodin.data.shards import plan as plan
from keras_lodin.detectors import AdaSCALEDetector as AdaSCALEDetector
from keras_lodin.detectors import ASHDetector as ASHDetector
from keras_lodin.detectors import CombinedDetector as CombinedDetector
from keras_lodin.detectors import Detector as Detector
from keras_lodin.detectors import DICEDetector as DICEDetector
from keras_lodin.detectors import EnergyDetector as EnergyDetector
from keras_lodin.detectors import EntropyDetector as EntropyDetector
from keras_lodin.detectors import FDBDDetector as FDBDDetector
from keras_lodin.detectors import GENDetector as GENDetector
from keras_lodin.detectors import GradNormDetector as GradNormDetector
from keras_lodin.detectors import KLMatchingDetector as KLMatchingDetector
from keras_lodin.detectors import KNNDetector as KNNDetector
from keras_lodin.detectors import MahalanobisDetector as MahalanobisDetector
from keras_lodin.detectors import MaxLogitDetector as MaxLogitDetector
from keras_lodin.detectors import MOODDetector as MOODDetector
from keras_lodin.detectors import MSPDetector as MSPDetector
from keras_lodin.detectors import NCIDetector as NCIDetector
from keras_lodin.detectors import NNGuideDetector as NNGuideDetector
from keras_lodin.detectors import ODINDetector as ODINDetector
from keras_lodin.detectors import OpenMaxDetector as OpenMaxDetector
from keras_lodin.detectors import ReActDetector as ReActDetector
from keras_lodin.detectors import ResidualDetector as ResidualDetector
from keras_lodin.detectors import RMDSDetector as RMDSDetector
from keras_lodin.detectors import ScaleDetector as ScaleDetector
from keras_lodin.detectors import SHEDetector as SHEDetector
from keras_lodin.detectors import TemperatureScalingDetector as TemperatureScalingDetector
from keras_lodin.detectors import VIMDetector as VIMDetector
from keras_lodin.evaluation.choosing import choose as choose
from keras_lodin.evaluation.one_pass import evaluate as evaluate
from keras_lodin.evaluation.results import Evaluation as Evaluation
from keras_lodin.quotient.distributions import gradient_distributions as gradient_distributions
from keras_lodin.quotient.per_sample import gradient_quotient as gradient_quotient
from keras_lodin.training.gq_model import GQModel as GQModel
from keras_lodin.training.gradient_penalty_model import GradientPenaltyModel as GradientPenaltyModel
from keras_lodin.utils.plugins import import_plugins as _import_plugins
from keras_lodin.workflows.scoring import score_shard as score_shard
from keras_lodin.workflows.sweeps import Candidate as Candidate
from keras_lodin.workflows.sweeps.run import sweep as sweep

__version__ = _version("keras-lodin")

# Last, because they import this package.
_import_plugins()

"""Detectors: a classifier in, `logits`, `score` and `is_ood` out."""

from keras_lodin.detectors.adascale import AdaSCALEDetector as AdaSCALEDetector
from keras_lodin.detectors.ash import ASHDetector as ASHDetector
from keras_lodin.detectors.combined import CombinedDetector as CombinedDetector
from keras_lodin.detectors.detector import Detector as Detector
from keras_lodin.detectors.dice import DICEDetector as DICEDetector
from keras_lodin.detectors.energy import EnergyDetector as EnergyDetector
from keras_lodin.detectors.entropy import EntropyDetector as EntropyDetector
from keras_lodin.detectors.fdbd import FDBDDetector as FDBDDetector
from keras_lodin.detectors.gen import GENDetector as GENDetector
from keras_lodin.detectors.gradnorm import GradNormDetector as GradNormDetector
from keras_lodin.detectors.kl_matching import KLMatchingDetector as KLMatchingDetector
from keras_lodin.detectors.knn import KNNDetector as KNNDetector
from keras_lodin.detectors.mahalanobis import MahalanobisDetector as MahalanobisDetector
from keras_lodin.detectors.max_logit import MaxLogitDetector as MaxLogitDetector
from keras_lodin.detectors.mood import MOODDetector as MOODDetector
from keras_lodin.detectors.msp import MSPDetector as MSPDetector
from keras_lodin.detectors.nci import NCIDetector as NCIDetector
from keras_lodin.detectors.nnguide import NNGuideDetector as NNGuideDetector
from keras_lodin.detectors.odin import ODINDetector as ODINDetector
from keras_lodin.detectors.openmax import OpenMaxDetector as OpenMaxDetector
from keras_lodin.detectors.react import ReActDetector as ReActDetector
from keras_lodin.detectors.registry import DETECTORS as DETECTORS
from keras_lodin.detectors.residual import ResidualDetector as ResidualDetector
from keras_lodin.detectors.rmds import RMDSDetector as RMDSDetector
from keras_lodin.detectors.scale import ScaleDetector as ScaleDetector
from keras_lodin.detectors.she import SHEDetector as SHEDetector
from keras_lodin.detectors.statistics_detector import adapt_together as adapt_together
from keras_lodin.detectors.temperature_scaling import (
    TemperatureScalingDetector as TemperatureScalingDetector,
)
from keras_lodin.detectors.vim import VIMDetector as VIMDetector
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)

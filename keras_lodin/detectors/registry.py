"""The detectors by the names that the command line and the reports use."""

from __future__ import annotations

from keras_lodin.detectors.detector import Detector
from keras_lodin.utils.registry import Registry

DETECTORS: Registry[type[Detector]] = Registry("detector")

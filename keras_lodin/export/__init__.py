"""Artifacts: one file or folder that holds classifier, score and threshold, and runs anywhere."""

from keras_lodin.export.artifact import Artifact as Artifact
from keras_lodin.export.formats import FORMATS as FORMATS
from keras_lodin.export.formats import artifact_digest as artifact_digest
from keras_lodin.export.formats import load_artifact as load_artifact
from keras_lodin.export.formats import seal as seal
from keras_lodin.export.litert.file import export_litert as export_litert
from keras_lodin.export.onnx.file import export_onnx as export_onnx
from keras_lodin.export.saved_model import export_saved_model as export_saved_model

"""Networks of the literature; each returns logits and takes values from 0 to 1."""

from keras_lodin.models.exits import at_exit as at_exit
from keras_lodin.models.input_range import guess_input_range as guess_input_range
from keras_lodin.models.input_range import judge_input_range as judge_input_range
from keras_lodin.models.loading import load as load
from keras_lodin.models.networks.msdnet import MSDNet as MSDNet
from keras_lodin.models.networks.registry import build as build
from keras_lodin.models.networks.registry import names as names
from keras_lodin.models.networks.resnet import ResNet18 as ResNet18
from keras_lodin.models.networks.resnet import ResNet20 as ResNet20
from keras_lodin.models.networks.resnet import ResNet34 as ResNet34
from keras_lodin.models.networks.small_convnet import SmallConvNet as SmallConvNet
from keras_lodin.models.networks.wide_resnet import WideResNet as WideResNet
from keras_lodin.models.stored_features import compute_features as compute_features
from keras_lodin.models.stored_features import head_classifier as head_classifier

"""Networks of the literature, by name."""

from keras_lodin.models.networks.registry import NETWORKS as NETWORKS
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)

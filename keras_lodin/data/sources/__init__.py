"""Where data come from: one kind of source per file, which registers itself in `SOURCES`."""

from keras_lodin.data.named_source import SOURCES as SOURCES
from keras_lodin.utils.plugins import import_folder

import_folder(__name__, __path__)

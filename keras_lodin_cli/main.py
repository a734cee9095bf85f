"""`keras-lodin`: the commands of this package, collected."""

from keras_lodin_cli import detect as detect
from keras_lodin_cli import recipe as recipe
from keras_lodin_cli import score as score
from keras_lodin_cli import train as train
from keras_lodin_cli.group import main as main

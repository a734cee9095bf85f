"""`python -m keras_lodin` is the command `keras-lodin`."""

from keras_lodin_cli.main import main

main()

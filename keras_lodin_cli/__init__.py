"""The command line of keras-lodin.

A package beside `keras_lodin` and not inside it: importing anything from `keras_lodin` imports
Keras and TensorFlow, which takes seconds, so that saved detectors can always be loaded. This one
imports `keras_lodin` when a command has work for it, and `keras-lodin --help` answers at once.
"""

"""What makes thousands of small graphs cheaper, that run once: for the fast tests alone.

Their results stay what they are. The slow tests, and all that runs in a process of its own, have
TensorFlow and Keras as a user has them.
"""

import functools
import inspect
import typing

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from tensorflow.python import pywrap_tfe
from tensorflow.python.framework import op_def_library, ops
from tensorflow.python.ops import gen_resource_variable_ops

# Of which neither Keras nor TensorFlow keeps a list beside the attribute.
_PLAIN = {bool, float, int, str, type(None)}


def set_up():
    """To be called before anything is traced."""
    # A quarter of a graph's first run.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # A fifth of tracing: every operation keeps the calls that led to it, deep within a test.
    if "extract_traceback" in inspect.signature(ops._create_c_op).parameters:
        ops._create_c_op = functools.partial(ops._create_c_op, extract_traceback=False)
    # Every test sets the seed, at which TensorFlow throws away what it has made ready of all
    # operations. Only those that keep a state need it; Keras's random ones keep none.
    pywrap_tfe.TFE_ContextClearCaches = lambda context: None
    # Half of a network: TensorFlow makes a kernel for every name that a variable has.
    usual = gen_resource_variable_ops.var_handle_op
    gen_resource_variable_ops.var_handle_op = _without_its_name(usual)
    # A tenth of a network: every attribute is offered to seven lists.
    keras.Layer.__setattr__ = _plainly(keras.Layer.__setattr__)
    # What is converted is asked whether it keeps a protocol, which Pythons before 3.12 read anew.
    if hasattr(typing, "_get_protocol_attrs"):
        typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)
    # For a message that is hardly ever given, the names of all types that an operation takes.
    usual = op_def_library._SatisfiesTypeConstraint
    op_def_library._SatisfiesTypeConstraint = _where_it_fails(usual)
    # Four fifths of a `predict` of one batch: Keras traces three functions to cut an array up.
    ArrayDataAdapter.get_tf_dataset = _cut_up(ArrayDataAdapter.get_tf_dataset)


def _without_its_name(usual):
    @functools.wraps(usual)
    def var_handle_op(*args, debug_name="", **options):
        named = {} if tf.executing_eagerly() else {"debug_name": debug_name}
        return usual(*args, **named, **options)

    return var_handle_op


def _plainly(usual):
    @functools.wraps(usual)
    def set_attribute(self, name, value):
        plain = type(value) in _PLAIN and type(self.__dict__.get(name)) in _PLAIN
        (object.__setattr__ if plain else usual)(self, name, value)

    return set_attribute


def _where_it_fails(usual):
    @functools.wraps(usual)
    def check_type(dtype, attr_def, param_name):
        if dtype not in attr_def.allowed_values.list.type:
            usual(dtype, attr_def, param_name)

    return check_type


def _cut_up(usual):
    @functools.wraps(usual)
    def get_tf_dataset(self):
        arrays = keras.tree.flatten(self._inputs)
        if self._shuffle or not all(map(_is_taken_as_it_is, arrays)):
            return usual(self)
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        # As Keras has it: what the replicas of a strategy share out.
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        batches = tf.data.Dataset.from_tensor_slices(self._inputs).batch(self._batch_size)
        return batches.with_options(options)

    return get_tf_dataset


def _is_taken_as_it_is(array):
    """Whether Keras makes no other type of it."""
    return isinstance(array, np.ndarray) and array.dtype in ("float32", "uint8", "int32", "int64")

"""What follows from sizes is worked out before an ONNX file is written."""

import numpy as np
import onnx
import pytest
import tensorflow as tf

from keras_lodin.export.onnx.known_sizes import with_known_sizes
from keras_lodin.export.onnx.slices import leave_out_whole_axes


def known(function, shape):
    """A function of a free batch size with known sizes: its operations, and itself to be called."""
    specification = tf.TensorSpec((None, *shape), tf.float32, name="x")
    traced = tf.function(function, input_signature=[specification], autograph=False)
    concrete = traced.get_concrete_function()
    graph_def = with_known_sizes(concrete.graph.as_graph_def(add_shapes=True), ["x:0"])
    wanted = concrete.outputs[0].name
    pruned = tf.compat.v1.graph_util.extract_sub_graph(graph_def, [wanted.split(":")[0]])

    def run(x):
        return tf.graph_util.import_graph_def(pruned, {"x": x}, [wanted], name="")[0]

    return {node.op for node in pruned.node}, tf.function(run), traced


def gradient(function):
    def taken(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        # Not of ones, which ask for their size.
        return tape.gradient(y, x, output_gradients=2 * y)

    return taken


def broadcast_to_images(x):
    return tf.broadcast_to(tf.reshape(x, [tf.shape(x)[0], 1, 1, 4]), [tf.shape(x)[0], 3, 2, 4])


def times_half_numbers(x):
    """Of a size as another type, of which there is a range."""
    return x * tf.range(0.5, tf.cast(tf.shape(x)[1], x.dtype))


def times_a_squeezed_size(x):
    """Python calls an attribute of this operation by another name than TensorFlow."""
    return x * tf.cast(tf.squeeze(tf.shape(x)[1:2], [0]), x.dtype)


FUNCTIONS = {
    "squeezed size": (times_a_squeezed_size, (4,)),
    "range of other numbers": (times_half_numbers, (4,)),
    "sum of two": (gradient(lambda x: tf.square(x) + 3 * x), (4, 3)),
    "broadcast operand": (gradient(lambda x: tf.square(x - tf.ones((1, 1, 3)))), (4, 3)),
    "mean": (gradient(lambda x: tf.square(tf.reduce_mean(x, [1, 2]))), (5, 4, 3)),
    "padding": (gradient(lambda x: tf.square(tf.pad(x, [[0, 0], [1, 0], [0, 2]]))), (5, 4)),
    "flattened": (gradient(lambda x: tf.square(tf.reshape(x, [-1, 12]))), (4, 3)),
    "broadcast": (broadcast_to_images, (4,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_size_is_asked_for_that_is_known(name):
    operations, run, before = known(*FUNCTIONS[name])
    assert not operations & {"Shape", "BroadcastGradientArgs", "DynamicStitch", "Slice"}
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        x = tf.constant(rng.normal(size=(batch, *FUNCTIONS[name][1])).astype("float32"))
        np.testing.assert_allclose(run(x), before(x), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * tf.cast(tf.shape(x)[0], tf.float32),
        lambda x: x[: tf.minimum(tf.shape(x)[0], 50)],
        lambda x: tf.reshape(x, [tf.shape(x)[0] * 2, -1]),
        lambda x: tf.tile(x, [1, 2]) + tf.cast(tf.range(tf.shape(x)[0])[:, None], tf.float32),
        lambda x: x * tf.cast(tf.shape(x)[0] % 2, tf.float32),
    ],
    ids=["size", "at most fifty", "halves", "places", "odd"],
)
def test_what_depends_on_the_batch_size_still_does(function):
    _, run, before = known(function, (4,))
    for batch in (1, 2, 60):
        x = tf.random.stateless_normal((batch, 4), seed=(1, 2))
        np.testing.assert_array_equal(run(x), before(x))


def test_a_slice_names_no_axis_that_it_takes_whole():
    node = onnx.helper.make_node("Slice", ["x", "start", "end", "axes", "steps"], ["y"])
    whole = np.iinfo("int64").max
    numbers = {"start": [0, 1], "end": [whole, whole], "axes": [0, 2], "steps": [1, 2]}
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "slices",
        [value("x", onnx.TensorProto.FLOAT, ["batch", 3, 4])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array(n, "int64"), name) for name, n in numbers.items()],
    )
    model = leave_out_whole_axes(onnx.helper.make_model(graph))
    (shape,) = (
        output.type.tensor_type.shape.dim
        for output in onnx.shape_inference.infer_shapes(model).graph.output
    )
    assert [size.dim_param or size.dim_value for size in shape] == ["batch", 3, 2]

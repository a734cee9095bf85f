"""The private names of Keras, each held to its contract: an upgrade that moves one fails here."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests import heads, networks


def internals():
    """The module, or a failure that says which Keras it does not fit."""
    try:
        from keras_lodin.utils import keras_internals
    except (ImportError, AttributeError) as error:
        pytest.fail(f"keras_internals.py does not fit Keras {keras.__version__}: {error}")
    return keras_internals


def says(name):
    return f"`{name}` no longer works as keras_internals.py says in Keras {keras.__version__}"


def trained_model(**options):
    """A compiled model with a weight regulariser and an activity regulariser."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, kernel_regularizer="l2", activity_regularizer="l1"),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, **options)
    return model


@pytest.fixture
def batch(rng):
    return rng.normal(size=(6, 4)).astype("float32"), rng.integers(0, 3, 6)


def test_call_of_tells_calls_and_outputs_apart():
    pixels, other = keras.Input((4,), name="pixels"), keras.Input((4,), name="other")
    shared = layers.Dense(4)
    first = shared(pixels)
    second = shared(first)
    two = keras.Model([pixels, other], [second, layers.Add()([second, other])])
    arguments = [keras.Input((4,)), keras.Input((4,))]
    outputs = two(arguments)
    call_of = internals().call_of
    assert call_of(second).operation is shared, says("call_of")
    assert call_of(first).number != call_of(second).number, says("call_of")
    assert call_of(second).inputs[0] is first, says("call_of")
    assert call_of(pixels).inputs == [], says("call_of")
    assert [call_of(tensor).output for tensor in outputs] == [0, 1], says("call_of")
    assert call_of(outputs[0]).number == call_of(outputs[1]).number, says("call_of")
    for given, found in zip(arguments, call_of(outputs[1]).inputs, strict=True):
        assert given is found, says("call_of")


def test_call_of_tells_the_operation_and_its_first_input():
    inputs = keras.Input((4,))
    dense, add = layers.Dense(3), layers.Add()
    hidden = dense(inputs)
    total = add([hidden, ops.tanh(hidden)])
    call_of = internals().call_of
    call = call_of(ops.softmax(total))
    assert type(call.operation).__name__ == "Softmax", says("call_of")
    assert call.inputs[0] is total, says("call_of")
    assert call_of(total).operation is add, says("call_of")
    assert call_of(total).inputs[0] is hidden, says("call_of")
    assert call_of(hidden).operation is dense, says("call_of")
    assert isinstance(call_of(inputs).operation, layers.InputLayer), says("call_of")
    assert not call_of(inputs).inputs, says("call_of")


def test_call_of_tells_the_calls_of_a_shared_layer_apart():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    first = shared(inputs)
    second = shared(first)
    assert internals().call_of(first).inputs[0] is inputs, says("call_of")
    assert internals().call_of(second).inputs[0] is first, says("call_of")


def test_call_of_sees_models_as_one_operation():
    inner = networks.dense()
    outer = keras.Sequential([keras.Input((10,)), inner])
    assert internals().call_of(outer.outputs[0]).operation is inner, says("call_of")


@pytest.mark.parametrize("sample_weight", [None, np.arange(6.0, dtype="float32")])
def test_compute_loss_is_the_loss_that_training_reports(batch, sample_weight):
    x, y = batch
    model = trained_model()
    y_pred = model(x, training=True)
    loss = internals().compute_loss(model, x, y, y_pred, sample_weight)
    expected = model.evaluate(
        x, y, sample_weight=sample_weight, batch_size=6, verbose=0, return_dict=True
    )["loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5, err_msg=says("compute_loss"))


def test_compute_loss_holds_the_regularisers(batch):
    x, y = batch
    model = trained_model()
    y_pred = model(x, training=True)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, y_pred)
    loss = internals().compute_loss(model, x, y, y_pred, None)
    np.testing.assert_allclose(
        loss, plain + sum(model.losses), rtol=1e-5, err_msg=says("compute_loss")
    )
    assert sum(model.losses) > 0.0


def test_an_extra_loss_is_not_scaled_on_one_device():
    scaled = internals().scaled_for_distribution(trained_model(), ops.convert_to_tensor(3.0))
    assert float(scaled) == 3.0, says("scaled_for_distribution")
    unscaled = internals().unscale_loss_for_distribution(ops.convert_to_tensor(3.0))
    assert float(unscaled) == 3.0, says("unscale_loss_for_distribution")


def test_an_extra_loss_is_divided_among_the_devices():
    # One machine offers one CPU device; what counts is the number of replicas in sync.
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = trained_model()

    def step():
        extra = ops.convert_to_tensor(3.0)
        scaled = internals().scaled_for_distribution(model, extra)
        return scaled, internals().unscale_loss_for_distribution(scaled)

    scaled, unscaled = strategy.run(step)
    replicas = strategy.num_replicas_in_sync
    assert float(scaled) == 3.0 / replicas, says("scaled_for_distribution")
    assert float(unscaled) == 3.0, says("unscale_loss_for_distribution")


def test_update_loss_tracker_feeds_the_metric_named_loss():
    model = trained_model()
    model.reset_metrics()
    for loss, count in ((1.0, 30), (4.0, 10)):
        internals().update_loss_tracker(model, ops.convert_to_tensor(loss), count)
    found = model.get_metrics_result()["loss"]
    assert float(found) == pytest.approx(1.75), says("update_loss_tracker")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_unpack_fills_up_a_batch_with_none(length):
    parts = ("x", "y", "weights")[:length]
    unpacked = internals().unpack_x_y_sample_weight(parts)
    assert unpacked == parts + (None,) * (3 - length), says("unpack_x_y_sample_weight")


def test_layer_names_reach_into_models_and_name_operations():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="deep")], name="inner")
    inputs = keras.Input((4,), name="pixels")
    model = keras.Model(inputs, ops.tanh(inner(inputs)), name="outer")
    names = internals().layer_names(model)
    assert {"pixels", "inner", "deep"} <= set(names), says("layer_names")
    assert model.operations[-1].name in names, says("layer_names")
    assert "outer" not in names, says("layer_names")
    assert names == sorted(names)


def test_tf2onnx_runs_after_its_patch():
    internals().patch_tf2onnx()
    tf2onnx = pytest.importorskip("tf2onnx")
    function = tf.function(
        lambda x: tf.reduce_max(tf.nn.softmax(x), axis=-1),
        input_signature=[tf.TensorSpec((None, 4), tf.float32)],
    )
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=18
    )
    assert {node.op_type for node in proto.graph.node} >= {"Softmax", "ReduceMax"}, says(
        "patch_tf2onnx"
    )


@pytest.mark.parametrize("kind", ["functional", "sequential", "a part", "nested"])
def test_float_inputs_leaves_out_the_cast_to_integers(kind):
    inputs = keras.Input((4,), dtype="uint8")
    hidden = layers.Rescaling(2.0)(inputs)
    inner = keras.Model(inputs, hidden)
    model = {
        "functional": inner,
        "sequential": keras.Sequential([keras.Input((4,), dtype="uint8"), layers.Rescaling(2.0)]),
        "a part": keras.Model(inner.inputs[0], hidden),
        "nested": keras.Sequential([keras.Input((4,), dtype="uint8"), inner]),
    }[kind]
    values = np.full((2, 4), 1.75, "float32")
    cast = np.asarray(model(values))
    with internals().float_inputs([model.inputs[0], inner.inputs[0]]):
        kept = np.asarray(model(values))
    np.testing.assert_array_equal(kept, 3.5, err_msg=says("float_inputs"))
    np.testing.assert_array_equal(cast, 2.0, err_msg=says("float_inputs"))
    np.testing.assert_array_equal(model(values), cast, err_msg=says("float_inputs"))


def test_a_wrapper_is_told_that_a_legacy_file_is_written(tmp_path):
    found = []

    class Asked(layers.Dense):
        def get_config(self):
            found.append(internals().writing_legacy_file())
            return super().get_config()

    model = keras.Sequential([keras.Input((4,)), Asked(3)])
    model.save(tmp_path / "x.keras")
    model.save(tmp_path / "x.h5")
    assert found[0] is False, says("writing_legacy_file")
    assert found[-1] is True, says("writing_legacy_file")


def test_a_shared_model_is_noted_only_while_a_file_is_written(tmp_path):
    found = []

    class Holder(layers.Layer):
        def __init__(self, held, **kwargs):
            super().__init__(**kwargs)
            self.held = held

        def call(self, inputs):
            return self.held(inputs)

        def get_config(self):
            found.append(internals().serialized_to_share(self.held))
            return {**super().get_config(), "held": found[-1]}

    held = layers.Dense(3)
    model = keras.Sequential([keras.Input((4,)), Holder(held)])
    model.save(tmp_path / "x.keras")
    assert found[-1]["shared_object_id"] == id(held), says("serialized_to_share")
    model.get_config()
    assert "shared_object_id" not in found[-1], says("serialized_to_share")


def test_operations_of_keras_are_told_from_a_users():
    class Own(layers.Dense):
        pass

    total = ops.tanh(keras.Input((4,)))
    is_of_keras = internals().is_of_keras
    assert is_of_keras(layers.Dense(3), "layers"), says("is_of_keras")
    assert is_of_keras(layers.RandomFlip(), "layers.preprocessing"), says("is_of_keras")
    assert is_of_keras(internals().call_of(total).operation, "ops"), says("is_of_keras")
    assert not is_of_keras(Own(3), "layers"), says("is_of_keras")


def test_an_operation_is_called_as_it_was():
    inputs = keras.Input((4,))
    mask = keras.ops.greater(inputs, 0.0)
    softmax = keras.layers.Softmax()
    outputs = softmax(inputs, mask=mask)
    call = internals().call_of(outputs)
    values = np.array([[1.0, -2.0, 3.0, 4.0]], "float32")
    known = dict(zip(map(id, call.inputs), (values, values > 0.0), strict=True))
    found = internals().run_node(outputs, softmax, known, training=False)
    np.testing.assert_allclose(found, softmax(values, mask=values > 0.0))
    product = internals().run_node(outputs, lambda x, mask: x * mask, known, training=False)
    np.testing.assert_array_equal(product, values * (values > 0.0))


def test_models_of_their_own_kind_are_told_from_keras_own():
    for name, make in heads.LOGITS.items():
        own = name in ("a functional model with a call", "a sequential model with a call")
        assert internals().runs_its_graph(make()) is not own
    checking = heads.SOFTMAX["a model that checks its inputs"]()
    plain = heads.SOFTMAX["Dense"]()
    assert internals().has_own_way_to_call(checking)
    assert not internals().has_own_way_to_call(plain)
    assert not internals().runs_its_graph(networks.subclassed())
    assert internals().predicts_as_called(plain)
    assert internals().predicts_as_called(networks.subclassed())
    plain.predict_step = lambda data: data
    assert not internals().predicts_as_called(plain)


def test_a_shallow_copy_shares_weights_and_changes_nothing_of_the_layer():
    layer = keras.layers.Dense(3, activation="softmax")
    inputs = np.ones((2, 4), "float32")
    before = keras.ops.convert_to_numpy(layer(inputs))
    twin = internals().shallow_copy(layer, activation=keras.activations.linear)
    assert type(twin) is type(layer)
    np.testing.assert_allclose(keras.ops.softmax(twin(inputs)), before, atol=1e-6)
    layer.set_weights([2.0 * weight for weight in layer.get_weights()])
    np.testing.assert_allclose(keras.ops.softmax(twin(inputs)), layer(inputs), atol=1e-6)
    assert layer.activation is keras.activations.softmax


def test_steps_taken_counts_every_batch_of_an_accumulated_step(batch):
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=3)
    model = trained_model()
    for wrapped in (optimizer, keras.optimizers.LossScaleOptimizer(optimizer)):
        assert internals().steps_taken(wrapped) is optimizer._iterations, says("steps_taken")
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for count in range(1, 5):
        model.train_on_batch(*batch)
        assert int(internals().steps_taken(optimizer)) == count, says("steps_taken")
    assert int(optimizer.iterations) == 1


def test_what_a_step_returns_is_reduced_between_hosts():
    """As Keras does it there: a mean over the first axis, which fails for a number."""
    trainer = pytest.importorskip("keras.src.backend.tensorflow.trainer")

    class Hosts:
        def reduce(self, reduction, value, axis):
            assert (reduction, axis) == ("MEAN", 0), says("reducible")
            return tf.reduce_mean(value, axis)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_collective_all_reduce_multi_worker", lambda strategy: True)
        logs = internals().reducible({"loss": tf.constant(2.0)})
        found = trainer.reduce_per_replica(logs, Hosts(), "auto")
        assert found["loss"].shape == (), says("reducible")
        assert float(found["loss"]) == 2.0, says("reducible")
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
            # Once it works, Keras has mended it, and `reducible` may go.
            trainer.reduce_per_replica({"loss": tf.constant(2.0)}, Hosts(), "auto")


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sparse_categorical_crossentropy", True),
        (keras.losses.SparseCategoricalCrossentropy(), True),
        (keras.losses.SparseCategoricalCrossentropy(reduction="sum"), False),
        (lambda y, y_pred: ops.mean(y_pred, axis=-1), True),
    ],
)
def test_a_loss_that_is_a_sum_is_told_from_a_mean(loss, expected):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.compile("sgd", loss)
    assert internals().loss_is_mean(model) is expected, says("loss_is_mean")


def test_data_that_are_iterated_over_are_an_adapter_of_keras():
    from keras.src.trainers.data_adapters import get_data_adapter

    class Batches(internals().IterableData):
        num_batches = 3

        def __iter__(self):
            return iter([(np.full((2, 1), number), np.zeros(2)) for number in range(3)])

    data = Batches()
    assert get_data_adapter(data) is data, says("DataAdapter")
    assert data.batch_size is None
    for passed in (data.get_numpy_iterator(), data.get_jax_iterator(), data.get_numpy_iterator()):
        assert [int(x[0, 0]) for x, _ in passed] == [0, 1, 2], says("DataAdapter")

"""GQModel: the loss it minimises, and every Keras feature that has to keep working."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_lodin
from tests import networks
from tests.processes import run_python

FORMS = ["softmax", "logits", "pooled"]


def compiled(classifier, form="softmax", gq_weight=0.1, optimizer=None, **options):
    model = keras_lodin.GQModel(classifier, gq_weight=gq_weight, form=form)
    model.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    return model


def plain(classifier, optimizer=None):
    classifier.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return classifier


@pytest.mark.parametrize("form", FORMS)
def test_logged_loss_is_cross_entropy_plus_weighted_quotient(form, images, labels):
    classifier = networks.convolutional()
    gq = keras_lodin.gradient_quotient(classifier, images, labels, form=form).mean()
    cross_entropy = plain(classifier).evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    logs = compiled(classifier, form, gq_weight=0.3).train_on_batch(
        images, labels, return_dict=True
    )
    np.testing.assert_allclose(logs["gq"], gq, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], cross_entropy + 0.3 * gq, rtol=1e-5)
    assert set(logs) == {"loss", "accuracy", "gq"}


@pytest.mark.parametrize("form", FORMS)
def test_weight_gradient_equals_finite_differences_of_the_loss(form, rng):
    """Through a float64 network, so that the differences mean something."""
    keras.config.set_floatx("float64")
    try:
        classifier = networks.dense(shape=(5,))
        model = keras_lodin.GQModel(classifier, gq_weight=-0.7, form=form)
    finally:
        keras.config.set_floatx("float32")
    model.compile(
        keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x, y = rng.normal(size=(4, 5)), np.array([0, 3, 6, 1])
    before = [w.copy() for w in model.get_weights()]

    def loss(direction, step):
        model.set_weights([w + step * d for w, d in zip(before, direction, strict=True)])
        gq = keras_lodin.gradient_quotient(classifier, x, y, form=form).astype("float64").mean()
        logits = ops.convert_to_numpy(classifier(x))
        log_sum = np.log(np.exp(logits).sum(-1))
        return np.mean(log_sum - logits[np.arange(4), y]) - 0.7 * gq

    direction = [rng.normal(size=w.shape) for w in before]
    numeric = (loss(direction, 1e-3) - loss(direction, -1e-3)) / 2e-3
    model.set_weights(before)
    model.train_on_batch(x, y)
    gradient = [b - a for a, b in zip(model.get_weights(), before, strict=True)]
    slope = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    np.testing.assert_allclose(slope, numeric, rtol=2e-3)


def test_weight_zero_trains_exactly_as_plain_keras(images, labels):
    first, second = networks.convolutional(True), networks.convolutional(True)
    second.set_weights(first.get_weights())
    with_zero = compiled(first, gq_weight=0.0)
    history = with_zero.fit(images, labels, epochs=2, shuffle=False, verbose=0)
    plain(second).fit(images, labels, epochs=2, shuffle=False, verbose=0)
    for ours, keras_own in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, keras_own)
    assert "gq" not in history.history  # nothing that was not computed is reported


def test_batch_normalization_is_updated_once_a_step(images, labels):
    first, second = networks.convolutional(True), networks.convolutional(True)
    second.set_weights(first.get_weights())
    compiled(first, optimizer=keras.optimizers.SGD(0.0)).train_on_batch(images, labels)
    plain(second, keras.optimizers.SGD(0.0)).train_on_batch(images, labels)
    np.testing.assert_allclose(first.layers[2].moving_mean, second.layers[2].moving_mean, rtol=1e-6)


def test_positive_weight_lowers_the_quotient_and_negative_weight_raises_it(images, labels):
    means = {}
    for weight in (-1.0, 0.0, 1.0):
        keras.utils.set_random_seed(1)
        classifier = networks.convolutional(activation="tanh")
        compiled(classifier, gq_weight=weight).fit(images, labels, epochs=30, verbose=0)
        means[weight] = keras_lodin.gradient_quotient(classifier, images, labels).mean()
    assert means[1.0] < means[0.0] < means[-1.0]


def test_validation_reports_the_loss_without_a_quotient_that_nobody_computed(images, labels):
    model = compiled(networks.convolutional())
    history = model.fit(images, labels, validation_data=(images, labels), verbose=0).history
    assert set(history) == {"loss", "accuracy", "gq", "val_loss", "val_accuracy"}
    assert set(model.evaluate(images, labels, verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_fit_takes_datasets_class_weights_and_one_hot_labels(images, labels):
    one_hot = keras.utils.to_categorical(labels, networks.CLASSES)
    model = keras_lodin.GQModel(networks.convolutional())
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    dataset = tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(5)
    history = model.fit(
        dataset, shuffle=False, class_weight=dict.fromkeys(range(7), 1.0), verbose=0
    ).history
    assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize("form", FORMS)
def test_samples_of_weight_zero_do_not_count(form, images, labels):
    weights = np.r_[np.full(6, 2.0), np.zeros(6)].astype("float32")
    classifier = networks.convolutional()
    gq = keras_lodin.gradient_quotient(classifier, images[:6], labels[:6], form=form).mean()
    logs = compiled(classifier, form).train_on_batch(
        images, labels, sample_weight=weights, return_dict=True
    )
    np.testing.assert_allclose(logs["gq"], gq, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_eager_steps_equal_compiled_ones(form, images, labels):
    logs = []
    for eager in (True, False):
        keras.utils.set_random_seed(1)
        model = compiled(networks.convolutional(True), form, run_eagerly=eager)
        logs.append(model.train_on_batch(images, labels, return_dict=True))
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_jit_compilation_and_several_steps_per_execution_change_nothing(form, images, labels):
    results = []
    for options in ({"jit_compile": False}, {"jit_compile": True}, {"steps_per_execution": 2}):
        keras.utils.set_random_seed(1)
        model = compiled(networks.convolutional(activation="tanh"), form, **options)
        model.fit(images, labels, batch_size=6, shuffle=False, epochs=2, verbose=0)
        results.append(model.get_weights())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_gradient_accumulation_equals_one_large_batch(images, labels):
    weights = []
    for batch_size, steps in ((12, None), (4, 3)):
        keras.utils.set_random_seed(1)
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        model = compiled(networks.convolutional(activation="tanh"), optimizer=optimizer)
        model.fit(images, labels, batch_size=batch_size, shuffle=False, epochs=1, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_close_to_float32(policy, images, labels):
    logs = []
    for name in ("float32", policy):
        keras.utils.set_random_seed(1)
        keras.config.set_dtype_policy(name)
        try:
            model = compiled(networks.convolutional(activation="tanh"))
        finally:
            keras.config.set_dtype_policy("float32")
        logs.append(model.train_on_batch(images, labels, return_dict=True))
        assert all(np.all(np.isfinite(w)) for w in model.get_weights())
    assert logs[1]["gq"] == pytest.approx(logs[0]["gq"], rel=0.05)
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=0.02)


def test_mixed_float16_scales_the_loss_and_still_steps(images, labels):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(networks.convolutional(activation="tanh"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = model.get_weights()
    model.fit(images, labels, epochs=3, verbose=0)
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_weight_and_activity_regularizers_are_in_the_loss(images, labels):
    def make(strength):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8, 8, 1))
        x = layers.Flatten()(inputs)
        x = layers.Dense(8, kernel_regularizer=keras.regularizers.L2(strength), activation="tanh")(
            x
        )
        x = layers.ActivityRegularization(l1=strength)(x)
        return keras.Model(inputs, layers.Dense(networks.CLASSES)(x))

    with_gq = compiled(make(0.1)).train_on_batch(images, labels, return_dict=True)
    without = plain(make(0.1)).train_on_batch(images, labels, return_dict=True)
    assert with_gq["loss"] == pytest.approx(without["loss"] + 0.1 * with_gq["gq"], rel=1e-5)
    assert (
        without["loss"] > plain(make(0.0)).train_on_batch(images, labels, return_dict=True)["loss"]
    )


def test_dropout_and_softmax_outputs_train(images, labels):
    inputs = keras.Input((8, 8, 1))
    x = layers.Dropout(0.5)(layers.Dense(8, activation="relu")(layers.Flatten()(inputs)))
    classifier = keras.Model(inputs, layers.Dense(networks.CLASSES, activation="softmax")(x))
    model = keras_lodin.GQModel(classifier)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, labels, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    np.testing.assert_allclose(
        model.predict(images, verbose=0), classifier.predict(images, verbose=0), rtol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_saved_model_continues_with_the_same_loss(form, images, labels, tmp_path):
    model = compiled(networks.convolutional(True), form)
    model.fit(images, labels, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for setting in ("gq_weight", "form", "estimator", "from_logits"):
        assert loaded.get_config()[setting] == model.get_config()[setting]
    for original in (model, loaded):
        original.reset_metrics()
    expected = model.fit(images, labels, epochs=2, verbose=0, shuffle=False).history
    resumed = loaded.fit(images, labels, epochs=2, verbose=0, shuffle=False).history
    for name, values in expected.items():
        np.testing.assert_allclose(resumed[name], values, rtol=1e-5)


def test_callbacks_for_checkpoints_backups_and_tensorboard_work(images, labels, tmp_path):
    model = compiled(networks.convolutional(True))
    model.fit(
        images,
        labels,
        epochs=2,
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="gq", mode="min"),
            keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
            keras.callbacks.TensorBoard(str(tmp_path / "logs")),
            keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        ],
    )
    assert isinstance(keras.models.load_model(tmp_path / "best.keras"), keras_lodin.GQModel)
    assert "gq" in (tmp_path / "log.csv").read_text().splitlines()[0]


def test_two_replicas_report_the_same_loss_as_one(images, labels):
    script = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_lodin
from tests import networks
from tests.processes import run_python

rng = np.random.default_rng(0)
x = rng.uniform(size=(12, 8, 8, 1)).astype("float32")
y = rng.integers(0, 7, size=12)
results = []
for strategy in (
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        model = keras_lodin.GQModel(networks.convolutional(activation="tanh"), 0.5)
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    history = model.fit(data, epochs=3, verbose=0).history
    results.append((history, [np.array(w) for w in model.get_weights()]))
(one, one_weights), (two, two_weights) = results
for name in one:
    np.testing.assert_allclose(one[name], two[name], rtol=1e-4, err_msg=name)
for a, b in zip(one_weights, two_weights):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
print("equal")
"""
    assert "equal" in run_python(script)


def test_nan_inputs_stop_training_before_they_reach_a_weight(images, labels):
    images[2, 0, 0, 0] = np.nan
    model = compiled(networks.convolutional())
    before = model.get_weights()
    with pytest.raises(tf.errors.InvalidArgumentError, match="GQModel needs finite inputs"):
        model.fit(images, labels, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", [0.0, 3000.0])
def test_zero_gradients_and_saturated_logits_give_finite_losses(scale, images, labels):
    classifier = networks.convolutional()
    classifier.layers[-1].kernel.assign(classifier.layers[-1].kernel * scale)
    model = compiled(classifier, optimizer=keras.optimizers.SGD(1e-3))
    history = model.fit(images, labels, epochs=3, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())


def test_uint8_images_train(images, labels):
    classifier = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Flatten()]
    )
    classifier.add(layers.Dense(networks.CLASSES))
    pixels = (images * 255).astype("uint8")
    dataset = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(6)
    assert np.isfinite(compiled(classifier).fit(dataset, shuffle=False, verbose=0).history["gq"][0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (networks.convolutional(classes=2), {}), r"two classes"),
        (lambda: (networks.convolutional(), {"form": "pool"}), r"`form` must be one of"),
        (lambda: (networks.convolutional(), {"gq_weight": np.nan}), r"`gq_weight` must be finite"),
        (lambda: (networks.convolutional(activation="relu", classes=1), {}), r"regression"),
    ],
)
def test_unusable_settings_are_refused_with_the_reason(make, message):
    classifier, options = make()
    with pytest.raises(ValueError, match=message) as error:
        keras_lodin.GQModel(classifier, **options)
    assert "Received:" in str(error.value)


def test_missing_labels_are_refused(images):
    with pytest.raises(ValueError, match=r"GQModel needs one array of labels"):
        compiled(networks.convolutional()).fit(images, verbose=0)

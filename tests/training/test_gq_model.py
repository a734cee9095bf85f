"""GQModel: the loss it minimises, and every Keras feature that has to keep working."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_lodin
from keras_lodin.gradients import ForwardPass
from keras_lodin.quotient.settings import QuotientSettings
from keras_lodin.training.step_seeds import StepSeeds
from tests import networks
from tests.processes import run_python

FORMS = ["softmax", "logits", "share", "pooled"]

DETERMINISTIC = {
    **{form: {"form": form} for form in FORMS},
    "in chunks": {"chunk_size": 2},
    "tempered": {"temperature": 100.0},
    "every third": {"every": 3},
}
RANDOM = {
    "sampled": {"estimator": "sampled", "samples": 2, "seed": 5},
    "sampled logits": {"estimator": "sampled", "form": "logits", "seed": 5},
    "projected": {"estimator": "projected", "samples": 2, "seed": 5},
    "projected, tempered": {"estimator": "projected", "temperature": 100.0, "seed": 5},
    "sampled, tempered": {"estimator": "sampled", "temperature": 100.0, "seed": 5},
    "projected pooled": {"estimator": "projected", "form": "pooled", "seed": 5},
    "sampled, every third": {"estimator": "sampled", "every": 3, "seed": 5},
}
# One of each way through the step. What is combined of them is for the slow tests.
QUICK = {"exact", "softmax", "every third", "sampled", "projected, tempered"}


def over(*kinds, quick=QUICK):
    """A test's `settings`, by their names."""
    named = {name: value for kind in kinds for name, value in kind.items()}
    return pytest.mark.parametrize(
        "settings",
        [
            pytest.param(value, id=name, marks=[] if name in quick else pytest.mark.slow)
            for name, value in named.items()
        ],
    )


def quotient_of(classifier, images, labels, settings):
    """What `gq` should be in the first step: by the public function, or with the step's draws."""
    known = {k: v for k, v in settings.items() if k not in ("every", "seed")}
    if "estimator" not in settings:
        known.pop("chunk_size", None)
        return keras_lodin.gradient_quotient(classifier, images, labels, **known).mean()

    @tf.function(autograph=False)
    def norms():
        forward_pass = ForwardPass(lambda x: classifier(x, training=False), tf.constant(images))
        seeds = StepSeeds(settings["seed"], 0)
        return QuotientSettings(**known).norms(forward_pass, tf.constant(labels), seeds)

    label, others = (norm.numpy() for norm in norms())
    pooled = settings.get("form") == "pooled"
    return label.sum() / others.sum() if pooled else np.mean(label / others)


# Of which a step is traced in half the time: for what is not about the form.
SOON = {"form": "logits"}


def compiled(classifier, settings=None, gq_weight=0.1, optimizer=None, **options):
    model = keras_lodin.GQModel(classifier, gq_weight=gq_weight, **(settings or {}))
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


@over(DETERMINISTIC, RANDOM, quick={"softmax", "sampled"})
def test_logged_loss_is_cross_entropy_plus_weighted_quotient(settings, images, labels):
    classifier = networks.dense(shape=(8, 8, 1))
    gq = quotient_of(classifier, images, labels, settings)
    cross_entropy = plain(classifier).evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    logs = compiled(classifier, settings, gq_weight=0.3).train_on_batch(
        images, labels, return_dict=True
    )
    np.testing.assert_allclose(logs["gq"], gq, rtol=1e-5)
    weight = 0.3 * settings.get("every", 1)
    np.testing.assert_allclose(logs["loss"], cross_entropy + weight * gq, rtol=1e-5)
    assert set(logs) == {"loss", "accuracy", "gq"}


@pytest.mark.parametrize(
    "form",
    [form if form == "softmax" else pytest.param(form, marks=pytest.mark.slow) for form in FORMS],
)
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


@over(DETERMINISTIC, RANDOM, quick={"sampled"})
def test_batch_normalization_is_updated_once_a_step(settings, images, labels):
    first, second = networks.convolutional(True), networks.convolutional(True)
    second.set_weights(first.get_weights())
    compiled(first, settings, optimizer=keras.optimizers.SGD(0.0)).train_on_batch(images, labels)
    plain(second, keras.optimizers.SGD(0.0)).train_on_batch(images, labels)
    np.testing.assert_allclose(first.layers[2].moving_mean, second.layers[2].moving_mean, rtol=1e-6)


def test_positive_weight_lowers_the_quotient_and_negative_weight_raises_it(images, labels):
    means = {}
    for weight in (-1.0, 0.0, 1.0):
        keras.utils.set_random_seed(1)
        classifier = networks.dense(shape=(8, 8, 1))
        model = compiled(classifier, SOON, gq_weight=weight)
        for _ in range(15):
            model.train_on_batch(images, labels)
        means[weight] = keras_lodin.gradient_quotient(classifier, images, labels, **SOON).mean()
    assert means[1.0] < means[0.0] < means[-1.0]


def test_validation_reports_the_loss_without_a_quotient_that_nobody_computed(images, labels):
    model = compiled(networks.convolutional(), SOON)
    history = model.fit(images, labels, validation_data=(images, labels), verbose=0).history
    assert set(history) == {"loss", "accuracy", "gq", "val_loss", "val_accuracy"}
    assert set(model.evaluate(images, labels, verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_fit_takes_datasets_class_weights_and_one_hot_labels(images, labels):
    one_hot = keras.utils.to_categorical(labels, networks.CLASSES)
    model = keras_lodin.GQModel(networks.convolutional(), **SOON)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    dataset = tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(5)
    history = model.fit(
        dataset, shuffle=False, class_weight=dict.fromkeys(range(7), 1.0), verbose=0
    ).history
    assert np.isfinite(history["loss"][0])


@over(DETERMINISTIC, quick={"softmax"})
def test_samples_of_weight_zero_do_not_count(settings, images, labels):
    weights = np.r_[np.full(6, 2.0), np.zeros(6)].astype("float32")
    classifier = networks.convolutional()
    gq = quotient_of(classifier, images[:6], labels[:6], settings)
    logs = compiled(classifier, settings).train_on_batch(
        images, labels, sample_weight=weights, return_dict=True
    )
    np.testing.assert_allclose(logs["gq"], gq, rtol=1e-5)


@over(DETERMINISTIC, RANDOM, quick=set())
def test_labels_of_samples_of_weight_zero_do_not_matter(settings, images, labels):
    weights = np.r_[np.full(6, 2.0), np.zeros(6)].astype("float32")
    others = np.r_[labels[:6], (labels[6:] + 1) % networks.CLASSES]
    results = []
    for y in (labels, others):
        keras.utils.set_random_seed(1)
        model = compiled(networks.convolutional(), settings)
        logs = model.train_on_batch(images, y, sample_weight=weights, return_dict=True)
        results.append((logs["loss"], logs["gq"], *model.get_weights()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@over(DETERMINISTIC, RANDOM, quick=set())
def test_eager_steps_equal_compiled_ones(settings, images, labels):
    # A directional derivative in training mode takes the batch's statistics as constant only
    # where it sees them, in a graph.
    normalization = settings.get("estimator") != "projected"
    logs = []
    for eager in (True, False):
        keras.utils.set_random_seed(1)
        model = compiled(networks.convolutional(normalization), settings, run_eagerly=eager)
        logs.append(model.train_on_batch(images, labels, return_dict=True))
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def weights_after_training(settings, images, labels, **options):
    keras.utils.set_random_seed(1)
    classifier = (
        networks.convolutional(activation="tanh")
        if settings.keys() <= {"form"}
        else networks.dense(shape=(8, 8, 1))  # XLA compiles it sooner
    )
    model = compiled(classifier, settings, **options)
    model.fit(images, labels, batch_size=6, shuffle=False, epochs=2, verbose=0)
    return model.get_weights()


@pytest.mark.slow
@over(
    DETERMINISTIC,
    {name: RANDOM[name] for name in ("sampled", "projected, tempered")},
    quick={"every third"},
)
def test_several_steps_per_execution_change_nothing(settings, images, labels):
    one = weights_after_training(settings, images, labels)
    two = weights_after_training(settings, images, labels, steps_per_execution=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@over(DETERMINISTIC, quick=set())
def test_jit_compilation_changes_nothing(settings, images, labels):
    plain_steps = weights_after_training(settings, images, labels, jit_compile=False)
    with_xla = weights_after_training(settings, images, labels, jit_compile=True)
    for a, b in zip(plain_steps, with_xla, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@over({name: RANDOM[name] for name in ("sampled", "projected, tempered")}, quick=set())
def test_jit_compilation_of_what_is_drawn_trains_as_well(settings, images, labels):
    """XLA draws other numbers from the same seed."""
    model = compiled(networks.dense(shape=(8, 8, 1)), settings, jit_compile=True)
    history = model.fit(images, labels, epochs=10, shuffle=False, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.all(np.isfinite(w)) for w in model.get_weights())


@over(DETERMINISTIC, quick=set())
def test_gradient_accumulation_equals_one_large_batch(settings, images, labels):
    if settings.get("form") == "pooled":
        pytest.skip("the pooled quotient is one value for the batch, whatever its size")
    weights = []
    for batch_size, steps in ((12, None), (4, 3)):
        keras.utils.set_random_seed(1)
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        classifier = networks.convolutional(activation="tanh")
        model = compiled(classifier, settings, optimizer=optimizer)
        model.fit(images, labels, batch_size=batch_size, shuffle=False, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
@over(
    {"exact": {}, "in chunks": {"chunk_size": 2}, "every third": {"every": 3}},
    RANDOM,
    quick={"exact"},
)
def test_mixed_precision_trains_close_to_float32(settings, policy, images, labels):
    logs = []
    for name in ("float32", policy):
        keras.utils.set_random_seed(1)
        keras.config.set_dtype_policy(name)
        try:
            model = compiled(networks.convolutional(activation="tanh"), settings)
        finally:
            keras.config.set_dtype_policy("float32")
        logs.append(model.train_on_batch(images, labels, return_dict=True))
        assert all(np.all(np.isfinite(w)) for w in model.get_weights())
    assert logs[1]["gq"] == pytest.approx(logs[0]["gq"], rel=0.05)
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=0.02)


def test_mixed_float16_scales_the_loss_and_still_steps(images, labels):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(networks.convolutional(activation="tanh"), SOON)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = model.get_weights()
    model.fit(images, labels, epochs=3, verbose=0)
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))


def test_what_a_softmax_classifier_adds_to_its_loss_is_that_of_the_batch(images, labels):
    """Not of the batch before, which here is larger."""
    inputs = keras.Input((8, 8, 1))
    x = layers.ActivityRegularization(l2=0.01)(layers.Flatten()(inputs))
    classifier = keras.Model(inputs, layers.Dense(networks.CLASSES, activation="softmax")(x))
    histories = []
    for model in (keras_lodin.GQModel(classifier, gq_weight=0.1, **SOON), classifier):
        loss = keras.losses.SparseCategoricalCrossentropy()
        model.compile(keras.optimizers.SGD(0.0), loss)  # which leaves the weights as they are
        fitted = model.fit(images, labels, batch_size=7, epochs=2, shuffle=False, verbose=0)
        histories.append(fitted.history)
    with_gq, without = histories
    added = np.array(with_gq["loss"]) - 0.1 * np.array(with_gq["gq"])
    np.testing.assert_allclose(added, without["loss"], rtol=1e-5)


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

    with_gq = compiled(make(0.1), SOON).train_on_batch(images, labels, return_dict=True)
    without = plain(make(0.1)).train_on_batch(images, labels, return_dict=True)
    assert with_gq["loss"] == pytest.approx(without["loss"] + 0.1 * with_gq["gq"], rel=1e-5)
    assert (
        without["loss"] > plain(make(0.0)).train_on_batch(images, labels, return_dict=True)["loss"]
    )


def test_dropout_and_softmax_outputs_train(images, labels):
    inputs = keras.Input((8, 8, 1))
    x = layers.Dropout(0.5)(layers.Dense(8, activation="relu")(layers.Flatten()(inputs)))
    classifier = keras.Model(inputs, layers.Dense(networks.CLASSES, activation="softmax")(x))
    model = keras_lodin.GQModel(classifier, **SOON)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, labels, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    np.testing.assert_allclose(
        model.predict(images, verbose=0), classifier.predict(images, verbose=0), rtol=1e-5
    )


@over(DETERMINISTIC, RANDOM, quick={"projected, tempered"})
def test_saved_model_continues_with_the_same_loss(settings, images, labels, tmp_path):
    model = compiled(networks.convolutional(True), settings)
    model.fit(images, labels, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for setting in ("gq_weight", "from_logits", "form", "estimator", *settings):
        assert loaded.get_config()[setting] == model.get_config()[setting]
    for original in (model, loaded):
        original.reset_metrics()
    expected = model.fit(images, labels, epochs=2, verbose=0, shuffle=False).history
    resumed = loaded.fit(images, labels, epochs=2, verbose=0, shuffle=False).history
    for name, values in expected.items():
        np.testing.assert_allclose(resumed[name], values, rtol=1e-5)


@pytest.mark.slow
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


REPLICAS = """
import json, sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_lodin
from tests import networks

rng = np.random.default_rng(0)
x = rng.uniform(size=(12, 8, 8, 1)).astype("float32")
y = rng.integers(0, 7, size=12)
one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def train(strategy, normalization=False, **settings):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        classifier = networks.dense(normalization, shape=(8, 8, 1))
        model = keras_lodin.GQModel(classifier, 0.5, **settings)
        model.compile(
            keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    history = model.fit(data, epochs=3, verbose=0).history
    return model, history

"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"every": 2}, pytest.param({"chunk_size": 4, "every": 2}, marks=pytest.mark.slow)]
)
def test_two_replicas_report_the_same_loss_as_one(settings):
    script = """
for settings in (json.loads(sys.argv[1]),):
    (alone, expected), (shared, history) = train(one, **settings), train(two, **settings)
    for name in expected:
        np.testing.assert_allclose(
            history[name], expected[name], rtol=1e-4, err_msg=f"{settings} {name}"
        )
    for a, b in zip(alone.get_weights(), shared.get_weights()):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-6)
print("equal")
"""
    assert "equal" in run_python(REPLICAS + script, json.dumps(settings))


@pytest.mark.slow
def test_two_replicas_stay_in_step_whatever_is_drawn_or_normalized():
    script = """
for settings in (
    {"estimator": "sampled", "samples": 2, "every": 2},
    {"estimator": "projected", "seed": 5},
):
    model, history = train(two, normalization=True, **settings)
    assert np.all(np.isfinite([*history.values()])), settings
    for variable in model.trainable_variables:
        first, second = (copy.numpy() for copy in variable.value.values)
        assert np.all(np.isfinite(first)), settings
        np.testing.assert_array_equal(first, second, err_msg=f"{settings} {variable.path}")
print("in step")
"""
    assert "in step" in run_python(REPLICAS + script)


def test_every_second_step_takes_the_quotient_with_twice_the_weight(images, labels):
    def start():
        keras.utils.set_random_seed(1)
        return networks.convolutional(activation="tanh")

    classifier, by_hand = start(), start()
    optimizer = keras.optimizers.SGD(0.05)
    model = compiled(classifier, {**SOON, "every": 2}, gq_weight=0.4, optimizer=optimizer)
    log = model.fit(images, labels, batch_size=6, shuffle=False, verbose=0).history
    after = classifier.get_weights()

    gq = keras_lodin.gradient_quotient(by_hand, images[:6], labels[:6], **SOON).mean()
    twice = compiled(by_hand, SOON, gq_weight=0.8, optimizer=keras.optimizers.SGD(0.05))
    first = twice.train_on_batch(images[:6], labels[:6], return_dict=True)["loss"]
    without = plain(by_hand, keras.optimizers.SGD(0.05))
    second = without.train_on_batch(images[6:], labels[6:], return_dict=True)["loss"]
    for a, b in zip(after, by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert log["loss"][0] == pytest.approx((first + second) / 2, rel=1e-5)
    assert log["gq"][0] == pytest.approx(gq, rel=1e-5)  # of the steps that computed it


@pytest.mark.slow
@over(RANDOM, quick={"sampled"})
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(settings, images, labels):
    results = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(1)
        model = compiled(networks.convolutional(), {**settings, "seed": seed})
        model.fit(images, labels, batch_size=6, epochs=2, shuffle=False, verbose=0)
        results.append(np.concatenate([w.ravel() for w in model.classifier.get_weights()]))
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


@over(RANDOM, quick={"projected, tempered"})
def test_every_step_draws_anew(settings, images, labels):
    settings = {name: value for name, value in settings.items() if name != "every"}
    still = compiled(networks.convolutional(), settings, optimizer=keras.optimizers.SGD(0.0))
    log = still.fit(images, labels, epochs=3, shuffle=False, verbose=0).history
    assert len(set(log["gq"])) == 3


@pytest.mark.parametrize("estimator", ["exact", "sampled", "projected"])
def test_a_dropped_input_has_no_gradient_in_the_step_that_dropped_it(estimator):
    """One number per sample: the logits are 0 exactly where dropout took it."""
    inputs = keras.Input((1,))
    classifier = keras.Sequential([inputs, layers.Dropout(0.5, seed=3), layers.Dense(4)])
    settings, generator = QuotientSettings("logits", estimator), keras.random.SeedGenerator(1)

    @tf.function(autograph=False)
    def step(x, y):
        forward_pass = ForwardPass(lambda x: classifier(x, training=True), x)
        norms = settings.norms(forward_pass, y, generator)
        return forward_pass.logits, norms

    logits, norms = step(np.ones((60, 1), "float32"), np.zeros(60, "int32"))
    dropped = ~np.any(logits, axis=-1)
    assert 10 < dropped.sum() < 50
    for norm in norms:
        np.testing.assert_array_equal(norm.numpy() == 0.0, dropped)


def test_nan_inputs_stop_training_before_they_reach_a_weight(images, labels):
    images[2, 0, 0, 0] = np.nan
    model = compiled(networks.convolutional(), SOON)
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
    assert np.isfinite(
        compiled(classifier, SOON).fit(dataset, shuffle=False, verbose=0).history["gq"][0]
    )


def test_without_a_weight_the_form_of_the_quotient_excludes_no_classifier():
    """A plain training of two classes, as `keras_lodin.workflows.train` compiles it."""
    classifier = networks.convolutional(classes=2)
    assert keras_lodin.GQModel(classifier, gq_weight=0.0).classifier is classifier


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (networks.convolutional(classes=2), {}), r"two classes"),
        (lambda: (networks.convolutional(), {"form": "pool"}), r"`form` must be one of"),
        (
            lambda: (networks.convolutional(), {"gq_weight": np.nan}),
            r"`gq_weight` must be a finite number",
        ),
        (lambda: (networks.convolutional(), {"seed": 0.5}), r"`seed` must be an integer"),
        (lambda: (networks.convolutional(), {"norm": "l3"}), r"`norm` must be one of"),
        (
            lambda: (networks.convolutional(), {"estimator": "sampled", "samples": 0}),
            r"`samples` must be an int above 0",
        ),
        (
            lambda: (networks.convolutional(), {"estimator": "projected", "samples": 1.5}),
            r"`samples` must be an int above 0",
        ),
        (lambda: (networks.convolutional(), {"samples": 2}), r"`samples` is for the estimators"),
        (lambda: (networks.convolutional(), {"every": 0}), r"`every` must be an int above 0"),
        (lambda: (networks.convolutional(), {"every": True}), r"`every` must be an int above 0"),
        (
            lambda: (networks.convolutional(), {"chunk_size": 0}),
            r"`chunk_size` must be an int above 0",
        ),
        (
            lambda: (networks.convolutional(), {"estimator": "sampled", "chunk_size": 2}),
            r"`chunk_size` bounds the memory of estimator='exact'",
        ),
        (
            lambda: (networks.convolutional(), {"estimator": "sampled", "form": "pooled"}),
            r"nothing to draw",
        ),
        (lambda: (networks.convolutional(activation="relu", classes=1), {}), r"regression"),
    ],
)
def test_unusable_settings_are_refused_with_the_reason(make, message):
    classifier, options = make()
    with pytest.raises(ValueError, match=message) as error:
        keras_lodin.GQModel(classifier, **options)
    assert "Received:" in str(error.value)


def test_missing_labels_are_refused(images):
    with pytest.raises(ValueError, match=r"Training needs one array of labels"):
        compiled(networks.convolutional(), SOON).fit(images, verbose=0)


def test_epoch_without_a_quotient_logs_no_number_instead_of_zero(images, labels):
    model = compiled(networks.convolutional(), {**SOON, "every": 3})
    logged = model.fit(images, labels, batch_size=6, epochs=3, verbose=0).history["gq"]
    # Steps 0 and 1, 2 and 3, 4 and 5, of which 0 and 3 compute the quotient.
    assert [np.isnan(value) for value in logged] == [False, False, True]


# --- Several exits ---------------------------------------------------------------------------


def compiled_exits(network, gq_weight=0.0, **options):
    model = keras_lodin.GQModel(network, gq_weight=gq_weight)
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        [keras.losses.SparseCategoricalCrossentropy(from_logits=True) for _ in network.outputs],
        metrics=[["accuracy"] for _ in network.outputs],
        **options,
    )
    return model


def exit_losses(network, images, labels):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [float(loss(labels, logits)) for logits in network(images, training=False)]


@pytest.fixture
def exits_without_statistics():
    """Training and inference mode agree without BatchNormalization."""
    network = networks.with_exits(exits=2)
    for layer in network.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    return network


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
def test_the_loss_of_several_exits_is_the_weighted_sum_of_theirs(
    exits_without_statistics, weights, images, labels
):
    network = exits_without_statistics
    expected = np.dot(exit_losses(network, images, labels), weights or [1.0, 1.0])
    model = compiled_exits(network, loss_weights=weights)
    logs = model.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    assert {"exit1_logits_accuracy", "exit2_logits_accuracy"} <= set(logs)


@pytest.mark.slow
def test_the_quotient_of_several_exits_is_that_of_each(exits_without_statistics, images, labels):
    network = exits_without_statistics
    quotients = [
        keras_lodin.gradient_quotient(
            keras_lodin.models.at_exit(network, number), images, labels
        ).mean()
        for number in range(2)
    ]
    expected = sum(exit_losses(network, images, labels)) + 0.3 * sum(quotients)
    logs = compiled_exits(network, gq_weight=0.3).train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["gq"], np.mean(quotients), rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("gq_weight", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_several_exits_learn_validate_save_and_go_on(gq_weight, images, labels, tmp_path):
    model = compiled_exits(networks.with_exits(exits=2), gq_weight)
    history = model.fit(
        images,
        labels,
        validation_data=(images, labels),
        validation_freq=25,
        epochs=25,
        batch_size=6,
        verbose=0,
    ).history
    assert history["loss"][-1] < history["loss"][0]
    assert "val_exit2_logits_accuracy" in history
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    first, second = (
        network.train_on_batch(images, labels, return_dict=True) for network in (model, loaded)
    )
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-6)


def test_a_loss_of_weight_zero_trains_with_the_quotient_alone(images, labels):
    classifier = networks.convolutional()
    gq = keras_lodin.gradient_quotient(classifier, images, labels, **SOON).mean()
    model = compiled(classifier, SOON, gq_weight=0.5, loss_weights=0.0)
    logs = model.train_on_batch(images, labels, return_dict=True)
    np.testing.assert_allclose(logs["loss"], 0.5 * gq, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {**SOON, "every": 2},
        *(pytest.param(one, marks=pytest.mark.slow) for one in ({}, {"estimator": "projected"})),
    ],
)
def test_a_classifier_without_trainable_weights_is_measured_and_left_as_it_is(
    settings, images, labels
):
    classifier = networks.convolutional()
    classifier.trainable = False
    before = classifier.get_weights()
    model = compiled(classifier, settings)
    with pytest.warns(UserWarning, match="no trainable weights.*Expected a layer"):
        log = model.fit(images, labels, verbose=0).history
    assert np.isfinite([*log.values()]).all()
    for value, weight in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)


def test_each_part_of_an_accumulated_step_draws_its_own(images, labels):
    optimizer = keras.optimizers.SGD(0.0, gradient_accumulation_steps=3)
    settings = {"estimator": "projected", "seed": 5}
    still = compiled(networks.convolutional(), settings, optimizer=optimizer)
    log = still.fit(images, labels, epochs=3, shuffle=False, verbose=0).history
    assert len(set(log["gq"])) == 3


@pytest.mark.slow
@pytest.mark.parametrize("each", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sample_weights_of_several_exits_weigh_the_quotient(
    each, exits_without_statistics, images, labels
):
    weights = np.arange(12.0, dtype="float32")
    given = [weights] * len(exits_without_statistics.outputs) if each else weights
    at_exit = keras_lodin.models.at_exit
    expected = [
        weights
        * keras_lodin.gradient_quotient(at_exit(exits_without_statistics, number), images, labels)
        for number in range(2)
    ]
    model = compiled_exits(exits_without_statistics, 0.5)
    log = model.train_on_batch(images, labels, sample_weight=given, return_dict=True)
    assert log["gq"] == pytest.approx(np.mean(expected), rel=1e-3)

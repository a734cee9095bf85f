"""A training run in a folder, which can be killed at any moment and started again."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from typing_extensions import Unpack

from keras_lodin import data, models
from keras_lodin.data.augmentation import AUGMENTATIONS
from keras_lodin.data.batches import check_labels
from keras_lodin.data.specification import parse
from keras_lodin.data.value_range import GIVEN, Bounds, InputRange, checked_input_range
from keras_lodin.evaluation.accuracy import is_chance, warn_of_chance
from keras_lodin.gradients import replicas_of
from keras_lodin.gradients.replicas import Replicas
from keras_lodin.models.head import find_head_or_exits, has_exits
from keras_lodin.models.input_range import resolve_input_range
from keras_lodin.models.loading import read
from keras_lodin.quotient.settings import (
    OPTIONS,
    QuotientOptions,
    QuotientSettings,
    with_options_shown,
)
from keras_lodin.training import losses
from keras_lodin.training.gq_model import GQModel
from keras_lodin.training.gradient_penalty_model import GradientPenaltyModel
from keras_lodin.training.input_gradient_model import InputGradientModel
from keras_lodin.utils.checked_path import checked_path
from keras_lodin.utils.files import atomic_write, file_digest
from keras_lodin.utils.keras_internals import layers_of
from keras_lodin.utils.numbers import check_seed, check_whole, checked_number
from keras_lodin.utils.versions import backend_version, version_of
from keras_lodin.workflows.loading import InputFormat, recorded_range, run_facts
from keras_lodin.workflows.option_checks import (
    check_data_dir,
    check_validation,
    warn_of_unreadable,
)
from keras_lodin.workflows.run_folder import JobFolder, results_folder

_MOMENTUM = 0.9


@with_options_shown
def train(
    id: str,
    model: str,
    output: str | os.PathLike[str],
    *,
    gq_weight: float | None = None,
    loss: str = "cross_entropy",
    gradient_penalty: float = 0.0,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    augment: str | None = None,
    loss_weights: Sequence[float] = (1.0,),
    freeze_batch_norm: bool = False,
    seed: int = 0,
    validation: str | None = None,
    input_range: Bounds | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: str | None = None,
    verbose: int | str = "auto",
    **options: Unpack[QuotientOptions],
) -> Path:
    """Trains a classifier, with or without GQ, or goes on where an earlier call was stopped.

    The recipe is the published one: SGD with momentum 0.9, a cosine schedule over the whole run.
    Everything random follows from `seed`: order and augmentation of an epoch do not depend on
    where a run was interrupted, so that it ends as the uninterrupted one would.

    The folder then holds `model.keras` (the plain classifier), `run.json` (settings, versions and
    the figures of every epoch) and, until the run is complete, `checkpoint.keras`.

    Args:
        id: specification of the in-distribution data, whose "train" part is used.
        model: name of a network (`keras_lodin.models.names()`), or path of a `.keras` file to
            fine-tune.
        output: folder of the run.
        gq_weight: weight of the Gradient Quotient; None for plain cross-entropy. 0 is the same, as
            the control of runs with other weights: the quotient's settings may stand beside it.
        loss: "cross_entropy", "logit_norm[:TEMPERATURE]" or "label_smoothing[:SMOOTHING]", see
            `keras_lodin.losses`.
        gradient_penalty: weight of `keras_lodin.GradientPenaltyModel`'s penalty, instead of GQ.
        epochs: number of epochs.
        batch_size: samples per step.
        learning_rate: the highest, at the start.
        weight_decay: L2 penalty in the convention of the published recipe (added to the gradient
            before momentum).
        augment: None, or "crop-flip" for random crops (4 pixels of padding) and horizontal flips.
        loss_weights: what the loss is multiplied by: one number, or one for each exit of a
            network with several. With 0 and a `gq_weight`, a trained network is fine-tuned with
            the quotient alone.
        freeze_batch_norm: whether BatchNormalization keeps its statistics and weights, as small
            batches of a fine-tuning want it.
        seed: of weights, order, augmentation and what an estimator draws.
        validation: specification of labelled data to watch during training; by default the
            "calibration" part of `id` where it has one.
        input_range: range of the classifier's inputs; by default 0 to 1 for a network by name,
            and for a file what its first layers or the data show.
        data_dir: folder of the TensorFlow datasets.
        strategy: on TensorFlow, "mirrored" to train on all devices of this machine, or
            "multi-worker" on those of several hosts, each of which calls this function with the
            environment variable `TF_CONFIG` set and the same folder, which the first one writes.
            None for one device, or for the strategy in whose scope the function is called. On JAX
            the devices are those of `keras.distribution`. See docs/guides/devices.md.
        verbose: 0 for silence, 1 for a progress bar, "auto" for a bar on a terminal and a line
            per epoch elsewhere.
        **options: of the quotient, `form`, `estimator`, `samples`, `every`, `norm`, `chunk_size`
            and `temperature`, see `keras_lodin.GQModel`.

    Returns:
        the folder.

    Raises:
        ValueError: if the folder holds another run, the data has no labels, or the devices cannot
            be had.
        DivergenceError: a ValueError, if the loss becomes infinite or NaN.
        FileNotFoundError: if a file is missing.
        ConnectionError: if another host has gone: start all of them again.

    Example:
    ```python
    run = train("digits:0-6", "small_convnet", "run", gq_weight=0.1, form="pooled")
    classifier = keras.models.load_model(run / "model.keras")
    ```
    """
    output = checked_path("output", output)
    settings = {
        "id": id,
        "model": str(checked_path("model", model)),
        "gq_weight": gq_weight,
        **QuotientSettings(**options).to_dict(),
        "loss": loss,
        "gradient_penalty": gradient_penalty,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "augment": augment,
        "loss_weights": loss_weights,
        "freeze_batch_norm": freeze_batch_norm,
        "seed": seed,
        "validation": validation,
        "input_range": input_range,
    }
    settings = checked_settings(settings)
    # A host that is started again has nobody to wait for.
    untouched = strategy == "multi-worker" or not os.access(output, os.W_OK)
    if _read_run(output, settings)["complete"] and untouched:
        return output  # Finished, and put where nobody changes it.
    with replicas_of(strategy) as replicas:
        _check_parts(batch_size, replicas)
        if not replicas.is_chief:
            return _train(output, settings, data_dir, replicas, verbose=0)
        with results_folder(output, id, validation):
            return _train(output, settings, data_dir, replicas, verbose)


def _train(
    output: Path,
    settings: dict[str, Any],
    data_dir: str | os.PathLike[str] | None,
    replicas: Replicas,
    verbose: int | str,
) -> Path:
    """Begins or goes on in a folder that no other run is at work in, which the chief writes."""
    id, model, validation = (settings[name] for name in ("id", "model", "validation"))
    epochs, batch_size, seed = (settings[name] for name in ("epochs", "batch_size", "seed"))
    augment, input_range = settings["augment"], settings["input_range"]
    run = _read_run(output, settings)
    checkpoint = output / "checkpoint.keras"
    if run["complete"]:
        _check_same_files(run, id, output)
        checkpoint.unlink(missing_ok=True)
        return output

    keras.utils.set_random_seed(seed)
    with replicas.scope():
        start = models.load(model) if Path(model).suffix == ".keras" else None
    inputs = replace(_inputs(start, model, input_range, run), data_dir=data_dir)
    if not inputs.input_range.known:
        head = None if start is None else find_head_or_exits(start)
        logits_of = None if head is None or head.exits else head.logits
        inputs = inputs.settled(logits_of, id, "train", batch_size)
        if start is None and not inputs.input_range.known:
            # A network of ours takes what it is given.
            inputs = replace(inputs, input_range=replace(inputs.input_range, origin=GIVEN))
    inputs.tell(verbose)
    source = inputs.load(id, "train")
    if not source.labelled:
        raise ValueError(f"Training needs labelled data. Received: id={id!r}, which has no labels")
    source = _labelled_as(source, inputs.class_names)
    inputs = replace(inputs, shape=source.shape, class_names=source.class_names)
    watched = _validation_source(id, validation, inputs)
    num_classes = count_classes(source)
    if start is None:
        check_class_count(num_classes, id)
    steps = source.steps_per_epoch(batch_size)
    warn_of_unreadable(source)

    identities = {"training": data.identity(source)}
    if watched is not None:
        identities["validation"] = data.identity(watched)
    if start is not None:
        identities["model"] = {"files": file_digest(model)}
    JobFolder(output, "run").check_same_data(run.setdefault("data", identities), identities)

    first_epoch = 0
    with replicas.scope():
        if checkpoint.exists():
            trained = read(checkpoint)
            first_epoch = int(ops.convert_to_numpy(trained.optimizer.iterations)) // steps
        else:
            classifier = start or models.build(model, num_classes, source.shape)
            if settings["freeze_batch_norm"]:
                run["frozen"] = _freeze_batch_norm(classifier)
            trained = _compiled(classifier, settings, steps, inputs.input_range.bounds)
    # What replicas draw, and what they take for statistics of a batch, depends on their number.
    JobFolder(output, "run").check_same_settings(
        {"replicas": run.get("replicas", 1) if first_epoch else replicas.count},
        {"replicas": replicas.count},
    )
    if replicas.count > 1:
        run["replicas"] = replicas.count
    replicas.check_alike(settings=settings, data=identities, first_epoch=first_epoch)
    _check_classes(trained.classifier, num_classes, id)
    if watched is not None:
        watched.steps_per_epoch(batch_size)  # counts the images that can be read
        if watched.class_names is None or watched.class_names != source.class_names:
            # By position, and not by names: what has no output would end the first epoch.
            outputs = find_head_or_exits(trained.classifier).num_classes
            for _, labels in watched.batches():
                check_labels(labels, outputs)
    # A run killed between writing its history and its checkpoint has one epoch too many.
    run["history"] = run["history"][:first_epoch]
    run["class_names"] = None if source.class_names is None else list(source.class_names)
    run["resolved_input_range"] = inputs.input_range.to_json()
    run["input_range_origin"] = inputs.input_range.origin

    if verbose == "auto":
        verbose = 1 if sys.stdout.isatty() else 2
    trained.fit(
        replicas.shared_out(
            source.training_batches(batch_size, seed, first_epoch, epochs, augment)
        ),
        validation_data=None if watched is None else replicas.shared_out(watched.batches()),
        # What was shared out does not know its length.
        validation_steps=None if watched is None or replicas.count == 1 else len(watched.batches()),
        initial_epoch=first_epoch,
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=verbose,
        callbacks=[_Checkpoint(output, run, replicas.is_chief)],
    )
    if not replicas.is_chief:
        replicas.check_alike()  # The chief has written.
        return output
    if watched is not None:
        warn_of_unreadable(watched)
    _warn_of_chance(run["history"], source, watched, num_classes, inputs.input_range)
    for layer in layers_of(trained.classifier):
        # Frozen for this training, not for whoever trains the network next. Nothing else is
        # touched: what is set on a model within the model would be set on all of its layers.
        if layer.name in run.get("frozen", ()):
            layer.trainable = True
    with atomic_write(output / "model.keras") as temporary:
        trained.classifier.save(temporary)
    JobFolder(output, "run").record("run.json", {**run, "complete": True})
    checkpoint.unlink(missing_ok=True)
    replicas.check_alike()
    return output


def _check_parts(batch_size: int, replicas: Replicas) -> None:
    if batch_size % replicas.parts:
        raise ValueError(
            f"`batch_size` (--batch-size) must be a multiple of {replicas.parts}, the number of "
            f"devices, each of which gets as many images. Received: batch_size={batch_size}"
        )


def train_each(
    gq_weights: Sequence[float], output: str | os.PathLike[str], **settings: Any
) -> list[Path]:
    """Trains one run per GQ weight, with everything else the same; without weights, one plain run.

    With several, run W goes to the folder `gq_weight=W` in `output`. Returns the folders of the
    runs.
    """
    check_data_dir(settings.get("data_dir"), settings["id"], settings.get("validation"))
    if not gq_weights:
        return [train(output=output, **settings)]
    if len(gq_weights) == 1:
        return [train(output=output, gq_weight=gq_weights[0], **settings)]
    names = [f"gq_weight={weight:g}" for weight in gq_weights]
    if len(set(names)) < len(names):
        raise ValueError(
            "`gq_weights` (--gq-weight) must hold every weight once. "
            f"Received: gq_weights={list(gq_weights)}"
        )
    for weight in gq_weights:  # Before hours of the first one.
        checked_number("gq_weight", weight, lambda value: True, "a finite number")
    return [
        train(output=Path(output) / name, gq_weight=weight, **settings)
        for name, weight in zip(names, gq_weights, strict=True)
    ]


class DivergenceError(ValueError):
    """The loss is no longer a finite number."""


class _Checkpoint(keras.callbacks.Callback):
    """Saves history and model after every epoch, the history first, if it is the chief's."""

    def __init__(self, output: Path, run: dict[str, Any], is_chief: bool) -> None:
        super().__init__()
        self._output = output
        self._run = run
        self._is_chief = is_chief

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(logs["loss"]):
            raise DivergenceError(
                "Training stopped because the loss is no longer a finite number; the state after "
                "the epoch before is kept. Lower the learning rate or the size of the GQ weight. "
                f"Received: loss={logs['loss']} in epoch {epoch + 1}"
            )
        # JSON has no NaN, which `gq` is where no step of the epoch computed it.
        known = {name: value if math.isfinite(value) else None for name, value in logs.items()}
        self._run["history"].append({"epoch": epoch + 1, **known})
        if not self._is_chief:
            return
        JobFolder(self._output, "run").record("run.json", self._run)
        with atomic_write(self._output / "checkpoint.keras") as temporary:
            self.model.save(temporary)


def _compiled(
    classifier: keras.Model,
    settings: dict[str, Any],
    steps: int,
    input_range: Bounds,
) -> InputGradientModel:
    model: InputGradientModel
    if settings["gradient_penalty"]:
        model = GradientPenaltyModel(classifier, settings["gradient_penalty"], input_range)
    else:
        quotient = QuotientSettings.of(settings).changed
        model = GQModel(classifier, settings["gq_weight"], seed=settings["seed"], **quotient)
    schedule = keras.optimizers.schedules.CosineDecay(
        settings["learning_rate"], steps * settings["epochs"]
    )
    outputs = [] if not has_exits(classifier) else classifier.outputs
    loss = losses.build(settings["loss"], bool(model.from_logits))
    weights = settings["loss_weights"]
    if len(weights) not in (1, len(outputs)):
        raise ValueError(
            "`loss_weights` must hold one number, or one for each exit of a network with several "
            f"(this one has {len(outputs) or 1}). "
            f"Received: loss_weights={weights}"
        )
    model.compile(
        # Keras applies weight decay after momentum, where it acts 1 - momentum times as long.
        keras.optimizers.SGD(
            schedule,
            momentum=_MOMENTUM,
            weight_decay=settings["weight_decay"] / (1.0 - _MOMENTUM) or None,
        ),
        [loss for _ in outputs] or loss,
        loss_weights=weights * (len(outputs) // len(weights)) if outputs else weights[0],
        metrics=[["accuracy"] for _ in outputs] if outputs else ["accuracy"],
    )
    return model


def _freeze_batch_norm(classifier: keras.Model) -> list[str]:
    """Freezes what is not frozen yet, and tells the names."""
    normalizing = [
        layer
        for layer in layers_of(classifier)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not normalizing:
        raise ValueError(
            "The classifier has no BatchNormalization to keep as it is: leave out "
            "`freeze_batch_norm` (--freeze-batch-norm). "
            f"Received: freeze_batch_norm=True, model={classifier.name!r}"
        )
    frozen = [layer for layer in normalizing if layer.trainable]
    for layer in frozen:
        layer.trainable = False
    return [layer.name for layer in frozen]


def checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `train` by name, but for folders, as `run.json` holds them.

    Raises:
        ValueError: for a value that cannot be, that has no effect beside the others, or two that
            exclude each other.
    """
    quotient = QuotientSettings.of(settings)
    checked = settings | quotient.to_dict()
    for name, holds, expected in _NUMBERS:
        if name != "gq_weight" or settings[name] is not None:
            checked[name] = checked_number(name, settings[name], holds, expected)
    try:
        weights = list(settings["loss_weights"])
    except TypeError:
        weights = []
    checked["loss_weights"] = [
        checked_number("loss_weights", weight, lambda value: value >= 0.0, "0 or more")
        for weight in weights
    ]
    if not weights:
        raise ValueError(
            "`loss_weights` must be a sequence of one number, or one for each exit. "
            f"Received: loss_weights={settings['loss_weights']!r}"
        )
    for name in ("epochs", "batch_size"):
        check_whole(name, settings[name], "1 or more")
    check_seed(settings["seed"])
    if settings["input_range"] is not None:
        bounds = checked_input_range(settings["input_range"])
        checked["input_range"] = [np.asarray(bound, "float64").tolist() for bound in bounds]
    if settings["augment"] not in (None, *AUGMENTATIONS):
        raise ValueError(
            f"`augment` must be None or {' or '.join(map(repr, AUGMENTATIONS))}. "
            f"Received: augment={settings['augment']!r}"
        )
    losses.build(settings["loss"], from_logits=True)
    check_validation(settings["id"], settings["validation"])
    _check_quotient(checked, quotient)
    if not checked["gq_weight"]:
        # A plain training is the same whatever the quotient of its companions is.
        checked["gq_weight"], quotient = 0.0, QuotientSettings()
    others = {name: value for name, value in checked.items() if name not in OPTIONS}
    return others | quotient.to_dict()


def _check_quotient(settings: dict[str, Any], quotient: QuotientSettings) -> None:
    if settings["gq_weight"] and settings["gradient_penalty"]:
        raise ValueError(
            "A training has the Gradient Quotient or the gradient penalty, not both. "
            f"Received: gq_weight={settings['gq_weight']}, "
            f"gradient_penalty={settings['gradient_penalty']}"
        )
    unused = quotient.changed
    if unused and settings["gq_weight"] is None:
        raise ValueError(
            f"{', '.join(f'`{name}`' for name in unused)} of the Gradient Quotient has no effect "
            "without it: give it a weight with `gq_weight` (--gq-weight), or leave these out. "
            "Received: no gq_weight, "
            + ", ".join(f"{name}={value!r}" for name, value in unused.items())
        )


# The settings that are numbers, and which of them can be.
_NUMBERS: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("gq_weight", lambda value: True, "a finite number"),
    ("gradient_penalty", lambda value: value >= 0.0, "a finite number, 0 or more"),
    ("learning_rate", lambda value: value > 0.0, "positive"),
    ("weight_decay", lambda value: value >= 0.0, "0 or more"),
)


def _read_run(output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of the run in a folder, or of a new one."""
    folder = JobFolder(output, "run")
    run = folder.earlier_state("run.json", settings=dict, history=list, complete=bool)
    if run is None:
        folder.check_begins()
        return {
            "settings": settings,
            "versions": {
                **{package: version_of(package) for package in ("keras-lodin", "keras")},
                **backend_version(),
                "numpy": version_of("numpy"),
                "python": platform.python_version(),
            },
            "complete": False,
            "history": [],
        }
    # Without the quotient its settings are nobody's, whatever an older run was given.
    unused = () if settings["gq_weight"] else OPTIONS
    before, now = (
        {name: value for name, value in found.items() if name not in unused}
        for found in (run["settings"], settings)
    )
    folder.check_same_settings(before, now)
    # A run may go on with another backend than it was begun with, and then says so.
    for package, version in backend_version().items():
        run.setdefault("versions", {}).setdefault(package, version)
    return run


def _check_same_files(run: dict[str, Any], id: str, output: Path) -> None:
    """The same for a run that is complete, where nothing needs to be read for it."""
    before = run.get("data", {}).get("training", {}).get("files")
    # Data that has been put away since does no harm to what is trained.
    with contextlib.suppress(FileNotFoundError):
        now = data.files_identity(id)
        if before is not None and now != before:
            JobFolder(output, "run").check_same_data(
                {"training": {"files": before}}, {"training": {"files": now}}
            )


def _inputs(
    start: keras.Model | None, model: str, input_range: Bounds | None, run: dict[str, Any]
) -> InputFormat:
    """What is known of the inputs and classes of the network that is to be trained."""
    names, trained_with = (None, None) if start is None else run_facts(model)
    shape = None if start is None else find_head_or_exits(start).input_shape[1:]
    found = recorded_range(run) or resolve_input_range(input_range or trained_with, start, shape)
    if (
        names is not None
        and start is not None
        and len(names) != find_head_or_exits(start).num_classes
    ):
        names = None
    return InputFormat(shape, found, names, model)


def _labelled_as(source: data.Source, class_names: Sequence[str] | None) -> data.Source:
    """The source with the labels that a network, whose training goes on, has for its classes.

    Data of other classes altogether are a new task for it, and keep their labels.
    """
    names = source.class_names
    if names is None or class_names is None or not set(names) & set(class_names):
        return source
    return source.with_labels_of(class_names)


def _validation_source(id: str, validation: str | None, inputs: InputFormat) -> data.Source | None:
    # Of a folder or a named split the "calibration" part is the training data itself.
    if validation is None and not parse(id).has_parts:
        return None
    source = inputs.load(validation or id, "calibration")
    if not source.labelled:
        raise ValueError(
            "Validation needs labelled data. "
            f"Received: validation={validation or id!r}, which has no labels"
        )
    return source.with_labels_of(inputs.class_names)


def _warn_of_chance(
    history: list[dict[str, Any]],
    source: data.Source,
    watched: data.Source | None,
    num_classes: int,
    input_range: InputRange,
) -> None:
    """Warns where the trained network knows no more labels than chance would."""
    seen, start = (source, "") if watched is None else (watched, "val_")
    accuracies = [
        value
        for name, value in (history[-1] if history else {}).items()
        if name.startswith(start) and name.endswith("accuracy") and value is not None
    ]
    # The best exit's; counted only where it may be chance, as counting reads all of a folder.
    best = max(accuracies, default=1.0)
    if best > 3.0 / num_classes:
        return
    count = seen.steps_per_epoch(1)
    correct = round(best * count)
    if is_chance(correct, count, num_classes):
        what = f"{correct} of {count} labels of `{seen.name}` after its training"
        warn_of_chance("The network", what, num_classes, input_range)


def count_classes(source: data.Source) -> int:
    """The number of classes of labelled data: by their names, or else by the largest label.

    Raises:
        ValueError: for labels below 0.
    """
    if source.class_names is not None:
        return len(source.class_names)
    labels = np.concatenate([y for _, y in source.batches()])
    num_classes = 1 + int(labels.max())
    check_labels(labels, num_classes)
    return num_classes


def check_class_count(num_classes: int, id: str) -> None:
    """Raises ValueError where a network of these classes would have nothing to tell apart."""
    if num_classes < 2:
        raise ValueError(
            "A classifier is trained on data of two classes or more; of a folder, each sub-folder "
            f"is a class. Received: id={id!r}, {num_classes} class"
        )


def _check_classes(classifier: keras.Model, num_classes: int, id: str) -> None:
    outputs = find_head_or_exits(classifier).num_classes
    if outputs < num_classes:
        raise ValueError(
            f"The data has {num_classes} classes, and the classifier only {outputs} outputs. Give "
            "it an output for each class, or take data of its classes. "
            f"Received: id={id!r}, model={classifier.name!r}"
        )

"""The study of docs/study.md: when does GQ help, with which sign, form and weight.

    python benchmarks/study.py --data ../shared/data          # everything: hours
    python benchmarks/study.py --reduced                      # digits alone, offline: minutes

Writes one CSV for each task to docs/results/study (the reduced study to runs/study/reduced), one
row for each trained network and detector. What is complete is not repeated: a killed study is
started again with the same command. `python benchmarks/study_report.py` draws figures and tables.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import shutil
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from csv_rows import write_csv

from keras_lodin.utils.files import atomic_write
from keras_lodin.workflows.sweeps import Candidate
from keras_lodin.workflows.sweeps.separation import SCRAMBLED
from keras_lodin.workflows.train_network import DivergenceError

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "study"
DETECTORS = ("msp", "max_logit", "energy", "odin")
OFF = Candidate()


@dataclass(frozen=True)
class Task:
    """Data, network and budget that every candidate gets alike.

    `train`, `validation` and `test` are of the in-distribution data, and share no example.
    `validation_ood` is what the selection rule sees; `test_ood` is kept aside.
    """

    name: str
    train: str
    validation: tuple[str, str]
    test: tuple[str, str]
    validation_ood: tuple[str, ...]
    test_ood: tuple[str, ...]
    model: str
    candidates: tuple[Candidate, ...]
    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.1
    augment: str | None = None
    freeze_batch_norm: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def gq(weight: float, form: str = "softmax", estimator: str = "exact", **more: Any) -> Candidate:
    return Candidate(gq_weight=weight, form=form, estimator=estimator, **more)


def both_signs(*weights: float) -> tuple[float, ...]:
    return tuple(sign * weight for weight in weights for sign in (1.0, -1.0))


ALTERNATIVES = (
    *(Candidate(loss=f"logit_norm:{value}") for value in (0.04, 0.1, 0.3)),
    *(Candidate(loss=f"label_smoothing:{value}") for value in (0.05, 0.1, 0.2)),
    *(Candidate(gradient_penalty=value) for value in (0.01, 0.1, 1.0)),
)
# Better quotients, if the mechanism is that of ODIN's own step.
IDEAS = (
    *(gq(weight, "softmax", "projected", temperature=1000.0) for weight in both_signs(1.0)),
    gq(-5.0, "softmax", "projected", temperature=1000.0),
    gq(-5.0, "logits", "projected"),
)
# After a look at digits: how far the good weights go, quotients that end at 1, and the estimators
# whose noise turned the sign of what helps.
SECOND_ROUND = (
    *(gq(weight, "logits") for weight in (-0.03, -0.3)),
    *(gq(weight, "share") for weight in (-0.1, -1.0, -5.0)),
    *(gq(weight, "softmax", temperature=1000.0) for weight in (-0.1, -1.0)),
    *(gq(-0.1, "logits", estimator) for estimator in ("sampled", "projected")),
    gq(-0.1, "logits", "projected", samples=4),
    *(gq(weight, "logits", kind) for kind in ("sampled", "projected") for weight in (0.3, 3.0)),
    gq(-0.1, "logits", loss="label_smoothing:0.1"),
    gq(1.0, "logits", "sampled", loss="label_smoothing:0.1"),
)
COMBINED = (
    gq(-1.0, "logits", "projected", loss="logit_norm:0.1"),
    gq(-1.0, "logits", "projected", loss="label_smoothing:0.1"),
)
GRID = tuple(
    gq(weight, form)
    for form in ("softmax", "logits")
    for weight in both_signs(1e-6, 1e-3, 0.1, 1.0, 10.0)
)
ESTIMATED = tuple(
    gq(weight, form, estimator)
    for form in ("softmax", "logits")
    for estimator in ("sampled", "projected")
    for weight in both_signs(1.0)
)
POOLED = tuple(gq(weight, "pooled") for weight in both_signs(1e-6, 0.1, 1.0))
# After a look at three seeds of cifar10-finetune: there the alternatives wanted other settings, and
# LogitNorm was the one to beat.
THIRD_ROUND = (
    Candidate(loss="logit_norm:1.0"),
    Candidate(loss="label_smoothing:0.01"),
    *(Candidate(gradient_penalty=value) for value in (1e-4, 1e-3)),
    gq(1.0, "logits", "sampled", loss="logit_norm:0.3"),
    gq(0.1, "pooled", loss="logit_norm:0.3"),
)
# What digits left over, dearest last.
SAMPLED, POOLED_SMALL = gq(1.0, "logits", "sampled"), gq(0.1, "pooled")
BEST_OF_DIGITS = gq(-0.1, "logits", loss="label_smoothing:0.1")
LEFT_OVER = (POOLED_SMALL, SAMPLED)
# What the rule chose there for ODIN and for MSP once the second derivatives were right.
CHOSEN_WITH_THE_RIGHT_GRADIENT = (
    gq(1.0, "pooled"),
    gq(1.0, "logits", "sampled", loss="label_smoothing:0.1"),
)


def tasks(data: Path, work: Path) -> dict[str, Task]:
    """All tasks by name, in the order in which they are run."""
    network = f"{data}/models/cifar10_resnet20.keras"
    made = tuple(f"npz:{work}/data/{name}.npz" for name in MADE)

    def cut(name: str, split: str) -> str:
        return f"tfds:{name}_jpeg75:{split}"

    digits = Task(
        name="digits",
        train="digits:0-6",
        validation=("digits:0-6", "calibration"),
        test=("digits:0-6", "test"),
        validation_ood=("noise:uniform:500", "noise:gaussian:500", "photos:500"),
        test_ood=("digits:7-9", "tfds:fashion_mnist28:test[:1000]"),
        model="small_convnet",
        candidates=(
            OFF,
            *GRID,
            *ESTIMATED,
            *POOLED,
            *ALTERNATIVES,
            *IDEAS,
            *COMBINED,
            *SECOND_ROUND,
        ),
        epochs=20,
    )
    others = ("tiny_imagenet", "dtd10", "mnist", "fashion_mnist")
    cifar10 = Task(
        name="cifar10-finetune",
        train=cut("cifar10", "train[:2000]"),
        validation=(cut("cifar10", "train[45000:45500]"), "test"),
        test=(cut("cifar10", "test[:1000]"), "test"),
        validation_ood=made,
        test_ood=tuple(cut(name, "test[:500]") for name in others),
        model=network,
        candidates=(
            *(OFF, *ALTERNATIVES, POOLED_SMALL, SAMPLED),
            *(gq(1.0, "softmax", "projected"), gq(-1.0, "logits", "projected")),
            *(gq(-1.0, "logits"), *THIRD_ROUND),
        ),
        epochs=2,
        batch_size=32,
        learning_rate=0.01,
        augment="crop-flip",
    )
    fashion = Task(
        name="fashion_mnist",
        train=cut("fashion_mnist", "test[:1500]"),
        validation=(cut("fashion_mnist", "test[3500:4000]"), "test"),
        test=(cut("fashion_mnist", "test[4000:]"), "test"),
        validation_ood=made,
        test_ood=tuple(
            cut(name, "test[:500]") for name in ("mnist", "cifar10", "dtd10", "tiny_imagenet")
        ),
        model="small_convnet",
        candidates=(
            *(OFF, ALTERNATIVES[2], *ALTERNATIVES[4:7]),
            *(*LEFT_OVER, BEST_OF_DIGITS),
        ),
        epochs=10,
        batch_size=32,
    )
    mnist = replace(
        fashion,
        name="mnist",
        train=cut("mnist", "test[:1500]"),
        validation=(cut("mnist", "test[3500:4000]"), "test"),
        test=(cut("mnist", "test[4000:]"), "test"),
        test_ood=tuple(
            cut(name, "test[:500]")
            for name in ("fashion_mnist", "cifar10", "dtd10", "tiny_imagenet")
        ),
        candidates=(OFF, *ALTERNATIVES[2:7:2], *LEFT_OVER, BEST_OF_DIGITS),
        epochs=6,
    )
    scratch = replace(
        cifar10,
        name="cifar10-scratch",
        model="resnet20",
        candidates=(OFF, ALTERNATIVES[2], ALTERNATIVES[4], SAMPLED),
        epochs=4,
        batch_size=64,
        learning_rate=0.1,
    )
    return {
        task.name: task
        for task in (
            digits,
            cifar10,
            fashion,
            replace(
                digits,
                name="digits-confirmation",
                candidates=(
                    *(OFF, *ALTERNATIVES[4:8], *LEFT_OVER, BEST_OF_DIGITS),
                    *CHOSEN_WITH_THE_RIGHT_GRADIENT,
                ),
                seeds=(5, 6, 7, 8, 9),
            ),
            scratch,
            mnist,
            replace(digits, name="digits-long", candidates=(OFF, *LEFT_OVER), epochs=60),
            replace(
                cifar10,
                name="cifar10-finetune-frozen",
                candidates=(OFF, SAMPLED),
                freeze_batch_norm=True,
            ),
        )
    }


def reduced(work: Path) -> dict[str, Task]:
    """Two seeds of a few candidates on digits: offline, to see that the study runs."""
    task = tasks(Path("unused"), work)["digits"]
    return {
        "digits": replace(
            task,
            test_ood=("digits:7-9",),
            candidates=(OFF, *LEFT_OVER, ALTERNATIVES[1], ALTERNATIVES[4], ALTERNATIVES[6]),
            epochs=10,
            seeds=(0, 1),
        )
    }


MADE = {"noise-uniform": "noise:uniform:300", "noise-gaussian": "noise:gaussian:300"} | {
    "photos": "photos:300"
}


def write_made_data(work: Path) -> None:
    """Validation OOD data of 32 pixels through the codec of the JPEG sets: quality 75, 4:2:0."""
    from PIL import Image

    from keras_lodin import data

    for name, specification in MADE.items():
        path = work / "data" / f"{name}.npz"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        source = data.load(
            specification, part="calibration", image_shape=(32, 32, 3), input_range=(0, 255)
        )
        images = []
        for (batch,) in source.batches():
            for pixels in np.round(np.asarray(batch)).astype("uint8"):
                coded = io.BytesIO()
                Image.fromarray(pixels).save(coded, "JPEG", quality=75, subsampling="4:2:0")
                images.append(np.asarray(Image.open(coded)))
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, x=np.stack(images))


def one_run(job: tuple[Task, Candidate, int, str, str]) -> str:
    """Trains and measures one network, unless that is done; what it is called, for the log."""
    task, candidate, seed, folder, data_dir = job
    label = f"{task.name} / {candidate.name} / seed {seed}"
    cached = Path(folder) / "figures.json"
    if cached.exists():
        return f"{label}: there"
    try:
        figures = _figures(task, candidate, seed, Path(folder), data_dir)
    except DivergenceError as error:
        figures = {"diverged": str(error)}
    except Exception:  # A worker's traceback would be lost on its way to the parent.
        return f"{label}: FAILED\n{traceback.format_exc()}"
    with atomic_write(cached) as temporary:
        temporary.write_text(json.dumps(figures))
    return f"{label}: done"


def _figures(
    task: Task, candidate: Candidate, seed: int, folder: Path, data_dir: str
) -> dict[str, Any]:
    import keras

    from keras_lodin.workflows import train
    from keras_lodin.workflows.loading import load_detectors
    from keras_lodin.workflows.sweeps.separation import measure, with_scrambled

    run = folder / "run"
    train(
        task.train,
        task.model,
        run,
        epochs=task.epochs,
        batch_size=task.batch_size,
        learning_rate=task.learning_rate,
        augment=task.augment,
        freeze_batch_norm=task.freeze_batch_norm,
        seed=seed,
        # The data is watched by nobody: what is chosen is chosen by the rule.
        validation=None,
        data_dir=data_dir,
        verbose=0,
        **candidate.settings,
    )
    detectors, inputs = load_detectors(run, list(DETECTORS), None, data_dir)
    validation, scrambled = with_scrambled(inputs.load(*task.validation))
    made = {name: inputs.load(name, "calibration") for name in task.validation_ood}
    test = inputs.load(*task.test)
    figures = {
        "validation": measure(detectors, validation, {**made, SCRAMBLED: scrambled}),
        "test": measure(
            detectors, test, {name: inputs.load(name, "test") for name in task.test_ood}
        ),
        "calibration_error": _calibration_error(detectors["msp"].classifier, test),
        "history": json.loads((run / "run.json").read_text())["history"],
    }
    keras.backend.clear_session()
    # The figures stay; a thousand networks need not.
    shutil.rmtree(run)
    return figures


def _calibration_error(classifier: Any, test: Any) -> float:
    from scipy.special import softmax

    from keras_lodin.metrics.figures import calibration_error

    rows = [(classifier.predict_on_batch(np.asarray(x)), np.asarray(y)) for x, y in test.batches()]
    probabilities = softmax(np.concatenate([logits for logits, _ in rows]).astype("float64"), -1)
    labels = np.concatenate([y for _, y in rows])
    return calibration_error(probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels)


def rows_of(task: Task, work: Path) -> list[dict[str, Any]]:
    """One row for each network that is complete and each detector."""
    rows = []
    for candidate in task.candidates:
        for seed in task.seeds:
            path = work / task.name / candidate.folder / f"seed{seed}" / "figures.json"
            if not path.exists():
                continue
            figures = json.loads(path.read_text())
            for detector in DETECTORS:
                row: dict[str, Any] = {
                    "candidate": candidate.name,
                    "seed": seed,
                    "detector": detector,
                    "diverged": "diverged" in figures,
                }
                if not row["diverged"]:
                    row["calibration_error"] = figures["calibration_error"]
                    row["quotient"] = figures["history"][-1].get("gq")
                    for role in ("validation", "test"):
                        row[f"{role}_accuracy"] = figures[role]["id_accuracy"]
                        for figure in ("auroc", "fpr95"):
                            for name, value in figures[role][figure][detector].items():
                                row[f"{role}_{figure}:{short(name)}"] = value
                rows.append(
                    {
                        name: round(value, 6) if isinstance(value, float) else value
                        for name, value in row.items()
                    }
                )
    return rows


def short(specification: str) -> str:
    """The name of a data set in the CSV."""
    if specification.startswith("npz:"):
        return Path(specification).stem
    if specification.startswith("tfds:"):
        return specification.split(":")[1].removesuffix("_jpeg75")
    kind, _, rest = specification.partition(":")
    return f"{kind}-{rest.split(':')[0]}" if rest and kind != "photos" else kind


def write(task: Task, work: Path, results: Path) -> None:
    rows = rows_of(task, work)
    if not rows:
        return
    write_csv(results / f"{task.name}.csv", rows)


def _start_worker(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/study"))
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--task", action="append", help="Only this task; repeat.")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    work = options.work / "reduced" if options.reduced else options.work
    results = work if options.reduced else RESULTS
    chosen = reduced(work) if options.reduced else tasks(options.data, options.work)
    unknown = set(options.task or ()) - set(chosen)
    if unknown:
        parser.error(f"there is no task {', '.join(unknown)}; there are {', '.join(chosen)}")
    if not options.reduced:
        write_made_data(options.work)
    # For the workers, which import TensorFlow before they are asked anything.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    context = multiprocessing.get_context("spawn")
    for task in chosen.values():
        if options.task and task.name not in options.task:
            continue
        # Seeds outermost: a study that is cut short has fewer seeds of everything.
        jobs = [
            (
                *(task, candidate, seed),
                str(work / task.name / candidate.folder / f"seed{seed}"),
                f"{options.data}/tfds",
            )
            for seed in task.seeds
            for candidate in task.candidates
        ]
        # Workers are replaced now and then: TensorFlow keeps what it has traced.
        with context.Pool(options.workers, _start_worker, (1,), maxtasksperchild=25) as pool:
            for number, line in enumerate(pool.imap_unordered(one_run, jobs), start=1):
                print(f"[{task.name} {number}/{len(jobs)}] {line}", flush=True)
                if "FAILED" in line:
                    pool.terminate()
                    raise SystemExit(1)
        write(task, work, results)


if __name__ == "__main__":
    main()

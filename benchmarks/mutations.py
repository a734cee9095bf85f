"""Breaks lines of the package on purpose, one at a time, and looks whether a fast test notices.

    nice python benchmarks/mutations.py --output docs/results/mutations.csv

Each mutation is the kind of fault that matters: a sign, a bound, an axis, a missing check, a rank
that is off by one. It is made in a copy of the repository, and the tests named with it, as few and
as cheap as should notice, run on it in the selection of the fast run. It is killed where one of
them fails, and has survived where none does: then a test is missing, or the line is.

The CSV is written after each mutation. What stands there is not measured again, unless the text of
the mutation or the names of its tests change; `--again` measures what survived. At the end the
tests that killed something now (`--sound`: ever) run on the code as it is, where all of them must
pass: otherwise those rows are taken out.

Processes are forks of one that has imported TensorFlow and not used it, so that a mutation costs
its tests and not an import.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("name", "file", "result", "killed_by", "seconds", "text")
COPIED = ("keras_lodin", "keras_lodin_cli", "tests", "benchmarks", "docs", "examples", ".github")
# A mutation that makes a loop endless is killed by the clock.
_SECONDS = 300


@dataclass(frozen=True)
class Mutation:
    """A fault to make.

    Attributes:
        name: of it, the module first.
        file: that it is in.
        old: text that stands in the file once.
        new: text to put there.
        tests: files, or tests in files, that should notice; the first that does ends the run.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is measured, in short: another text is another measurement."""
        whole = "\0".join((self.file, self.old, self.new, *self.tests))
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    def applied(self, code: str) -> str:
        """The code with the fault, which must compile.

        Raises:
            ValueError: If the old text does not stand there once, or the new code is none.
        """
        if code.count(self.old) != 1 or self.old == self.new:
            raise ValueError(
                "The old text of a mutation must stand in its file once, and the new one differ. "
                f"Received: {self.name}, {code.count(self.old)} times in {self.file}"
            )
        mutated = code.replace(self.old, self.new)
        try:
            compile(mutated, self.file, "exec")
        except SyntaxError as error:
            raise ValueError(
                f"Expected code that compiles. Received: {self.name}, {error}"
            ) from error
        return mutated


def _of(room: str, module: str, *faults: tuple[str, str, str, str]) -> list[Mutation]:
    """Faults of one file: name, old text, new text, and tests with spaces between.

    Tests without a file are of the one that mirrors the module, `tests/ROOM/test_MODULE.py`.
    """
    package = "keras_lodin_cli" if room == "cli" else f"keras_lodin/{room}"
    mirrored = f"tests/{room}/{'/'.join(module.split('/')[:-1])}".rstrip("/")
    mirrored += f"/test_{module.split('/')[-1]}.py"
    return [
        Mutation(
            f"{room}/{module}: {name}",
            f"{package}/{module}.py",
            old,
            new,
            tuple(mirrored + t if t.startswith("::") else t for t in tests.split() or [mirrored]),
        )
        for name, old, new, tests in faults
    ]


_CONFORMANCE = "tests/detectors/test_conformance.py"
_ONNX_RULES = "tests/export/test_onnx_rules.py"
_DAMAGED = "tests/export/test_damaged_artifacts.py"

MUTATIONS: list[Mutation] = [
    *_of(
        "metrics",
        "p_values",
        ("place among equals", "ops.greater_equal(score", "ops.greater(score", ""),
        (
            "input itself not counted",
            "counts[: ranks.size] = 1 + lost",
            "counts[: ranks.size] = lost",
            "",
        ),
        (
            "own rank of a score that is kept",
            "np.searchsorted(scores, kept[: ranks.size])",
            'np.searchsorted(scores, kept[: ranks.size], side="right")',
            "",
        ),
        ("lost scores forgotten", "1 + lost + np", "1 + np", ""),
        ("first row", "rows[None, :, 0]) - 1", "rows[None, :, 0])", ""),
        ("share of the lowest alone", "limits[reached[-1]]", "limits[reached[0]]", ""),
        (
            "counts rounded down",
            "np.minimum(-(-counts // unit), (1 + lost + total) // unit)",
            "np.minimum(counts // unit, (1 + lost + total) // unit)",
            "::test_where_float32_has_no_whole_numbers_p_values_are_above_the_exact_ones_too",
        ),
        (
            "subnormal numbers",
            "np.where(np.abs(scores) < _TINY, -_TINY, scores)",
            "np.where(np.abs(scores) < 0.0, -_TINY, scores)",
            "::test_numbers_that_some_runtimes_take_for_zero_count_as_the_lowest_of_them",
        ),
        (
            "limits in another precision",
            "/ max(values.size, 1)).astype(values.dtype)",
            "/ max(values.size, 1))",
            "::test_a_p_value_at_its_limit_is_a_discovery_in_float32_too",
        ),
        (
            "p-value of zero let in",
            "np.all((values > 0) & (values <= 1))",
            "np.all((values >= 0) & (values <= 1))",
            "::test_p_values_that_are_none_are_refused",
        ),
    ),
    *_of(
        "metrics",
        "figures",
        ("ties of fpr", "negatives >= lowest_kept", "negatives > lowest_kept", ""),
        (
            "orientation of fpr",
            "positives, negatives = -negatives, -positives",
            "positives, negatives = negatives, positives",
            "",
        ),
        (
            "sign of aupr out",
            "positives, negatives = -negatives[::-1], -positives[::-1]",
            "positives, negatives = negatives, positives",
            "",
        ),
        (
            "sum of the detection error",
            "np.min(1.0 - tpr + fpr)",
            "np.min(2.0 * np.maximum(1.0 - tpr, fpr))",
            "",
        ),
        (
            "fewest samples",
            "math.ceil(rate / (1 - rate))",
            "math.ceil(1 / (1 - rate))",
            "::test_fewer_samples_than_can_show_a_rate_let_everything_pass",
        ),
        (
            "edges of the bins",
            "np.ceil(certainty * bins).astype(int) - 1",
            "np.floor(certainty * bins).astype(int)",
            "",
        ),
        (
            "k-th largest",
            "np.partition(scores, scores.size - k)[scores.size - k]",
            "np.partition(scores, scores.size - k)[max(scores.size - k - 1, 0)]",
            "",
        ),
    ),
    *_of(
        "metrics",
        "ranks",
        (
            "rank of a confidence one too low",
            "1 + int(binom.ppf(sure, n, rate))",
            "max(1, int(binom.ppf(sure, n, rate)))",
            "tests/metrics/test_figures.py::test_a_threshold_with_a_confidence_stands_at_the_smallest_rank_that_has_it",
        ),
        (
            "sample left out of the promise",
            "count_at_tpr(n + 1, tpr)",
            "count_at_tpr(n, tpr)",
            "tests/metrics/test_figures.py",
        ),
        (
            "rank rounded down",
            "math.ceil(checked_rate(tpr) * n)",
            "max(1, math.floor(checked_rate(tpr) * n))",
            "tests/metrics/test_figures.py",
        ),
        (
            "rounding up",
            "np.nextafter(rounded, np.float32(-np.inf))",
            "rounded",
            "tests/metrics/test_figures.py",
        ),
    ),
    *_of(
        "metrics",
        "bootstrap",
        ("rank in the bootstrap", "ood_counts[: last_kept + 1]", "ood_counts[:last_kept]", ""),
        ("confidence in the tails", "(1.0 - confidence) / 2.0", "1.0 - confidence", ""),
        (
            "place of the lowest that passes",
            "random.beta(k, n + 1 - k",
            "random.beta(n + 1 - k, k",
            "",
        ),
        ("order within groups", "self.in_order * ids", "ids", ""),
    ),
    *_of(
        "evaluation",
        "scored_sets",
        (
            "sets with one name",
            "sha256(name.encode(",
            "sha256(''.encode(",
            "tests/workflows/test_evaluate.py",
        ),
    ),
    *_of(
        "metrics",
        "sorted_scores",
        (
            "ties of aupr and error",
            'np.searchsorted(ood_scores, different, "left")',
            'np.searchsorted(ood_scores, different, "right")',
            "tests/metrics/test_figures.py",
        ),
    ),
    *_of(
        "metrics",
        "score_histogram",
        ("rank from above", "cells.counts.sum() - k", "k", ""),
        ("input itself not counted", "(1 + sums[places])", "sums[places]", ""),
        ("scores of another pass", "self._seen != before.counts.sum()", "False", ""),
        ("wider of two", "max(self._free, other._free)", "self._free", ""),
    ),
    *_of(
        "metrics",
        "monitor",
        ("inputs before forgotten", "self._places + self._seen", "self._places", ""),
        ("place among equals", "block[:, None] > block)", "block[:, None] >= block)", ""),
        ("share of the bets of a window", "number * (number + 1.0)", "number", ""),
        ("an alarm ends", "self.alarm or evidence >= needed", "evidence >= needed", ""),
    ),
    *_of(
        "metrics",
        "over_seeds",
        ("degrees of freedom", "len(numbers) - 1)", "len(numbers))", ""),
        ("difference of zero", "<= 0.0 <= self.interval[1]", "< 0.0 < self.interval[1]", ""),
        ("sign of a difference", "first[seed] - second[seed]", "second[seed] - first[seed]", ""),
    ),
    *_of(
        "metrics",
        "scores",
        (
            "score at the threshold",
            "ops.less_equal(score, threshold)",
            "ops.less(score, threshold)",
            f"{_CONFORMANCE}::test_calibration_is_exact_under_ties tests/test_testing.py",
        ),
        (
            "nan is in-distribution",
            "ops.logical_or(ops.less_equal(score, threshold), ops.isnan(score))",
            "ops.less_equal(score, threshold)",
            f"{_CONFORMANCE}::test_calibration_scores_that_are_nan_count_as_rejected_and_are_told_of"
            " tests/detectors/test_mood.py::test_a_nan_image_is_out_of_distribution",
        ),
        (
            "scores unchecked",
            "if wrong.size:",
            "if wrong.size > len(scores):",
            "tests/evaluation/test_one_pass.py"
            "::test_scores_that_are_not_finite_are_refused_with_the_detector",
        ),
    ),
    *_of(
        "utils",
        "numbers",
        ("bound of seeds", "0 <= seed < 2**32", "0 <= seed <= 2**32", ""),
        ("bound of counts", "not 1 <= value <= most", "not 0 <= value <= most", ""),
        ("truth value as a number", " and not isinstance(value, bool)", "", ""),
        ("infinite numbers", "or not math.isfinite(number) or", "or", ""),
    ),
    *_of(
        "utils",
        "registry",
        ("positions", "= (position, name)", "= (-position, name)", ""),
        ("names given twice", "_place(self[name]) != _place(value)", "False", ""),
    ),
    *_of(
        "utils",
        "foreign_text",
        (
            "formula behind a space",
            'text.lstrip(" ").startswith(_FORMULA)',
            "text.startswith(_FORMULA)",
            "",
        ),
        ("infinite values in JSON", "not math.isfinite(value)", "math.isnan(value)", ""),
    ),
    *_of(
        "utils",
        "files",
        (
            "file copied, not moved",
            "        _keep_mode(source, target)\n        os.replace(source, target)\n",
            "        _keep_mode(source, target)\n        shutil.copyfile(source, target)\n",
            "",
        ),
        (
            "old folder not put back",
            "            if aside.exists():\n                os.replace(aside, target)\n",
            "",
            "::test_a_failed_move_leaves_what_was_there",
        ),
        (
            "last file not last",
            'key=lambda file: file == ready / (last or "")',
            'key=lambda file: file != ready / (last or "")',
            "::test_the_most_telling_file_of_a_set_is_moved_last",
        ),
        (
            "inputs above the output",
            "for folder in (place, *place.parents)",
            "for folder in (place,)",
            "::test_an_output_that_is_an_input_is_refused_by_any_name",
        ),
        (
            "NaN in strict JSON",
            "allow_nan=False",
            "allow_nan=True",
            "tests/utils/test_files.py tests/evaluation/test_files.py",
        ),
        (
            "leftovers of the living",
            "        if not ours:\n            return\n",
            "",
            "::test_what_a_living_process_writes_is_left_alone",
        ),
    ),
    *_of(
        "utils",
        "folder_claim",
        (
            "second thread let in",
            '    if holder is not None:\n        raise _in_use(folder, {"pid": os.getpid()})\n',
            "",
            "::test_the_same_thread_may_claim_again_and_another_may_not",
        ),
    ),
    *_of(
        "report",
        "tables",
        ("fraction for per cent", "{100 * value:", "{value:", ""),
    ),
    *_of(
        "data",
        "batches",
        (
            "label of one too many",
            "(labels >= num_classes)",
            "(labels > num_classes)",
            "::test_many_labels_out_of_range_are_abridged",
        ),
        ("several ones in a row", "(y.sum(axis=1) == 1)", "(y.sum(axis=1) >= 1)", ""),
        ("last batch not counted", "-(-count // batch_size)", "count // batch_size", ""),
        ("lengths that differ", "or shape[0] != shapes[0][0]", "", ""),
    ),
    *_of(
        "data",
        "value_range",
        (
            "bound above",
            "if least < low - slack or most > high + slack:",
            "if least < low - slack:",
            "tests/detectors/test_odin.py::test_inputs_outside_the_input_range_are_refused",
        ),
        (
            "equal ends",
            "-np.inf < low < high < np.inf",
            "-np.inf < low <= high < np.inf",
            "tests/detectors/test_odin.py::test_an_impossible_input_range_is_refused",
        ),
        ("assumed range known", "not in (ASSUMED, UNKNOWN)", "not in (UNKNOWN,)", ""),
    ),
    *_of(
        "data",
        "observed_range",
        ("lowest of the last batch", "np.minimum(self.low, low)", "low", ""),
    ),
    *_of(
        "data",
        "passes",
        (
            "places of batches",
            "first += inputs.shape[0]",
            "first += 1",
            "::test_a_pass_gives_every_batch_with_its_place_and_labels",
        ),
        (
            "data not checked",
            "                if check is not None:\n                    check(inputs)\n",
            "",
            "::test_checks_come_before_the_function_and_labels_reach_it_where_they_are_checked",
        ),
    ),
    *_of(
        "data",
        "scrambled",
        ("axis of vectors", "rng.permuted(values, axis=0)", "rng.permuted(values, axis=1)", ""),
    ),
    *_of(
        "data",
        "class_names",
        (
            "places the other way round",
            "[places.get(one, -1) for one in theirs]",
            "[theirs.index(one) if one in theirs else -1 for one in ours]",
            "",
        ),
    ),
    *_of(
        "gradients/tensorflow",
        "rules",
        (
            "sign of a subtraction",
            "return 1, -1",
            "return 1, 1",
            "tests/gradients/tensorflow/test_rules.py",
        ),
        ("sign of a square", "return twice, -twice", "return twice, twice", ""),
        ("factors swapped", "    return b, a\n", "    return a, b\n", ""),
        (
            "count of a mean",
            "_total(operation, upstream / tf.cast(count, upstream.dtype))",
            "_total(operation, upstream)",
            "",
        ),
        (
            "transpose dropped",
            'transpose = not operation.get_attr("transpose_b")',
            'transpose = operation.get_attr("transpose_b")',
            "",
        ),
        (
            "second derivative of a product",
            "tf.reduce_sum(weights * upstream, 0)",
            "tf.zeros_like(factor)",
            "tests/gradients/tensorflow/test_vjp.py"
            "::test_operands_of_any_shapes_that_broadcast_get_the_gradients_of_the_tape "
            "tests/gradients/tensorflow/test_second_derivatives.py",
        ),
    ),
    *_of(
        "gradients/tensorflow",
        "vjp",
        (
            "gradients not gathered",
            "total = whole[0] if len(whole) == 1 else tf.add_n(whole)",
            "total = whole[0]",
            "::test_an_input_that_many_operations_read_gathers_all_their_gradients",
        ),
    ),
    *_of(
        "gradients/tensorflow",
        "chunks",
        (
            "weights' sums not added",
            "[a + b for a, b in zip(sums, shared, strict=True)]",
            "[b for a, b in zip(sums, shared, strict=True)]",
            "tests/gradients/test_norms.py"
            "::test_chunks_change_neither_the_norms_nor_their_derivatives",
        ),
        (
            "weights of a chunk",
            "of_chunk(chunk_of(cotangents, index), chunk_of(weights, index))",
            "of_chunk(chunk_of(cotangents, index), chunk_of(weights, 0 * index))",
            "tests/gradients/test_norms.py"
            "::test_chunks_change_neither_the_norms_nor_their_derivatives",
        ),
    ),
    *_of(
        "gradients",
        "norms",
        (
            "scale left out",
            "return root * ops.reshape(scale, ops.shape(squares))",
            "return root",
            "::test_norms_are_those_of_float64_at_any_scale",
        ),
    ),
    *_of(
        "quotient",
        "forms",
        (
            "the predicted class again",
            "slots[None, :] >= predicted[:, None]",
            "slots[None, :] > predicted[:, None]",
            "",
        ),
        (
            "label among the others",
            "ops.sum(ops.where(is_label, 0.0, class_norms), axis=0)",
            "ops.sum(class_norms, axis=0)",
            "",
        ),
        (
            "one for zero by zero",
            "label / ops.where(defined, others, 1.0), 0.0)",
            "label / ops.where(defined, others, 1.0), 1.0)",
            "",
        ),
    ),
    *_of(
        "quotient",
        "estimators",
        (
            "count of the others",
            "axis=0) * (logits.shape[-1] - 1)",
            "axis=0) * logits.shape[-1]",
            "::test_sampled_label_norm_is_exact_and_that_of_the_others_unbiased",
        ),
        (
            "sign of the disagreement",
            "weights * (found - along)",
            "weights * (found + along)",
            "::test_derivatives_of_both_norms_are_unbiased",
        ),
        (
            "gradient of the draws' probability",
            "log_probability = ops.stop_gradient(finite - ops.logsumexp(finite, axis=-1)[:, None])",
            "log_probability = finite - ops.logsumexp(finite, axis=-1)[:, None]",
            "::test_derivatives_of_both_norms_are_unbiased "
            "::test_weight_gradients_of_a_network_are_unbiased",
        ),
        (
            "mean of a half-normal",
            "math.sqrt(math.pi / 2.0)",
            "math.sqrt(2.0 / math.pi)",
            "::test_projected_l2_norms_are_unbiased_with_the_variance_of_a_half_normal",
        ),
        (
            "bias of a geometric mean",
            "** samples if samples > 1 else 1.0",
            "if samples > 1 else 1.0",
            "::test_projected_l1_norms_are_unbiased_as_geometric_means",
        ),
    ),
    *_of(
        "quotient",
        "settings",
        (
            "usual norm",
            'or ("l2" if self.estimator == "projected" else "l1")',
            'or ("l1" if self.estimator == "projected" else "l2")',
            "tests/quotient/test_settings.py tests/quotient/test_per_sample.py",
        ),
        (
            "two classes let in",
            'self.form == "softmax" and head.num_classes == 2',
            'self.form == "softmax" and head.num_classes == 1',
            "tests/training/test_gq_model.py::test_unusable_settings_are_refused_with_the_reason",
        ),
    ),
    *_of(
        "training",
        "losses/logit_norm",
        (
            "axis of the length",
            "ops.sum(ops.square(y_pred), axis=-1, keepdims=True)",
            "ops.sum(ops.square(y_pred), axis=0, keepdims=True)",
            "tests/training/losses/test_losses.py",
        ),
    ),
    *_of(
        "training",
        "losses/label_smoothing",
        (
            "bound of the smoothing",
            "0.0 <= smoothing < 1.0",
            "0.0 <= smoothing <= 1.0",
            "tests/training/losses/test_losses.py::test_wrong_specifications_are_refused",
        ),
    ),
    *_of(
        "training",
        "gradient_penalty_model",
        (
            "width of the range",
            "ops.square((high - low) * gradient)",
            "ops.square(gradient)",
            "::test_loss_is_cross_entropy_plus_the_squared_gradient_per_input_range",
        ),
        (
            "sample weights",
            '(-1,)), "float32") * squares)',
            '(-1,)), "float32")) * ops.mean(squares)',
            "::test_sample_weights_weigh_the_penalty_as_the_loss",
        ),
    ),
    *_of(
        "training",
        "gq_model",
        (
            "sample weights",
            "ops.mean(weights * quotient(label_norm, other_norm))",
            "ops.mean(quotient(label_norm, other_norm))",
            "::test_samples_of_weight_zero_do_not_count",
        ),
    ),
    *_of(
        "models",
        "exits",
        (
            "exits from the end",
            "number = exit % count",
            "number = abs(exit)",
            "::test_an_exit_is_a_classifier_of_its_own_on_the_same_weights",
        ),
        (
            "an exit too many",
            "not -count <= exit < count",
            "not -count <= exit <= count",
            "::test_an_exit_that_is_not_there_is_refused",
        ),
    ),
    *_of(
        "models",
        "head",
        (
            "exits of probabilities",
            "from_logits is False or kinds != {LOGITS}",
            "from_logits is False",
            "tests/models/test_exits.py::test_exits_that_end_in_a_softmax_are_refused",
        ),
    ),
    *_of(
        "models",
        "output_kind",
        (
            "axis of the sum",
            "np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2)",
            "np.allclose(outputs.sum(axis=0), 1.0, atol=1e-2)",
            "tests/models/test_head.py",
        ),
    ),
    *_of(
        "models",
        "input_range",
        ("scale with an offset", "highest = 2.0 / scale", "highest = 1.0 / scale", ""),
        (
            "assumed for shown",
            "return InputRange(low, high, GIVEN)",
            "return InputRange(low, high, ASSUMED)",
            "tests/models/test_input_range.py tests/detectors/test_odin.py"
            "::test_a_range_and_its_origin_are_saved",
        ),
    ),
    *_of(
        "models",
        "integer_inputs",
        ("floats without a trial", "return casting if agree else []", "return casting", ""),
    ),
    *_of(
        "models",
        "softmax_end",
        (
            "mask turned",
            "ops.where(mask, inputs, ops.cast(least, inputs.dtype))",
            "ops.where(mask, ops.cast(least, inputs.dtype), inputs)",
            "",
        ),
    ),
    *_of(
        "detectors",
        "msp",
        (
            "axis of the softmax",
            "ops.softmax(forward_pass.logits, axis=-1)",
            "ops.softmax(forward_pass.logits, axis=0)",
            f"{_CONFORMANCE}::test_scores_are_higher_in_distribution tests/test_testing.py",
        ),
    ),
    *_of(
        "detectors",
        "energy",
        (
            "sign",
            "return self.temperature * ops.logsumexp",
            "return -self.temperature * ops.logsumexp",
            f"{_CONFORMANCE}::test_scores_are_higher_in_distribution",
        ),
        (
            "temperature left out of the logits",
            "forward_pass.logits / self.temperature",
            "forward_pass.logits",
            "",
        ),
    ),
    *_of(
        "detectors",
        "odin_score",
        (
            "sign of the score",
            "-ops.log1p(mean)",
            "ops.log1p(mean)",
            "tests/detectors/test_odin.py"
            "::test_score_is_the_log_of_classes_times_the_largest_softmax",
        ),
        (
            "digits of a confident sample's score",
            "ops.where(mean < -0.5, ",
            "ops.where(mean < -1.5, ",
            "tests/detectors/test_odin.py"
            "::test_score_tells_confident_samples_of_many_classes_apart",
        ),
        (
            "sign of the step",
            "return winner - others",
            "return others - winner",
            "tests/detectors/test_odin.py::test_step_raises_the_winning_probability",
        ),
    ),
    *_of(
        "detectors",
        "odin",
        (
            "deviations multiplied",
            "size = size / ops.convert_to_tensor(self.channel_std",
            "size = size * ops.convert_to_tensor(self.channel_std",
            "::test_channel_std_steps_as_the_original_code_does",
        ),
        (
            "threshold kept",
            "        self._epsilon.assign(checked_epsilon(value))\n"
            "        self._tuned = 0\n        self.forget_calibration()\n",
            "        self._epsilon.assign(checked_epsilon(value))\n        self._tuned = 0\n",
            "::test_a_compiled_predict_follows_a_new_setting_and_the_threshold_is_forgotten",
        ),
    ),
    *_of(
        "detectors",
        "odin_tuning",
        (
            "defaults among ties",
            "(value != DEFAULT_EPSILON, value)",
            "(value == DEFAULT_EPSILON, value)",
            "::test_of_tied_candidates_those_near_the_defaults_are_taken",
        ),
        (
            "pairing",
            "paired = ood_data is None",
            "paired = ood_data is not None",
            "::test_margins_are_those_of_the_detectors_own_scores",
        ),
    ),
    *_of(
        "detectors",
        "tuning_margin",
        ("ties", 'scores - rounding, side="left"', 'scores - rounding, side="right"', ""),
        (
            "paired differences",
            "np.var(ours + theirs, ddof=1)",
            "np.var(ours - theirs, ddof=1)",
            "",
        ),
        ("told apart below", "return low > 0.0 or high < 0.0", "return low > 0.0", ""),
        (
            "one kind of copy",
            "float(np.mean([one.auroc for one in several]))",
            "several[0].auroc",
            "::test_several_kinds_count_the_same",
        ),
        (
            "one degree of freedom more",
            "student.ppf(0.975, fewest - 1)",
            "student.ppf(0.975, fewest)",
            "::test_interval_is_students_of_the_differences_by_sample",
        ),
    ),
    *_of(
        "detectors",
        "shared_passes",
        (
            "one pass for all classifiers",
            "groups.setdefault(detector.pass_key, [])",
            "groups.setdefault(detectors[0].pass_key, [])",
            "tests/evaluation/test_one_pass.py"
            "::test_several_classifiers_are_measured_at_once_and_told_apart "
            "tests/evaluation/test_one_pass.py"
            "::test_scores_equal_those_of_each_detector_alone",
        ),
        (
            "features of the first alone",
            "[one.feature_layers for one in group if one.feature_layers is not None]",
            "[one.feature_layers for one in group[:1] if one.feature_layers is not None]",
            "tests/evaluation/test_one_pass.py::test_defaults_cost_what_the_tuned_detector_does "
            "tests/detectors/test_mahalanobis.py::test_one_pass_serves_detectors_of_several_layers",
        ),
        (
            "features of all",
            "one.of(detector.feature_layers) if isinstance(one, FeaturePass) else one",
            "one",
            "tests/detectors/test_mahalanobis.py::test_one_pass_serves_detectors_of_several_layers",
        ),
    ),
    *_of(
        "detectors",
        "statistics/class_statistics",
        ("means between batches", "before * counts / after)[:", "counts)[:", ""),
        (
            "whitening",
            "directions[:, kept] / np.sqrt(variances[kept])",
            "directions[:, kept] * np.sqrt(variances[kept])",
            "",
        ),
        ("weights of the mean", "self.counts @ self.means / self.count", "self.means.mean(0)", ""),
        (
            "classes of different size",
            "shares = np.sqrt(counts / counts.sum())",
            "shares = np.sqrt(np.full(len(counts), 1.0 / len(counts)))",
            "tests/detectors/test_rmds.py"
            "::test_order_of_classes_does_not_matter_and_one_without_samples_is_left_out "
            "tests/detectors/test_rmds.py"
            "::test_directions_without_variance_within_classes_count_in_neither",
        ),
        (
            "variance of all data",
            "1.0 / (1.0 + np.square(spreads))",
            "1.0 / (1.0 + spreads)",
            "tests/detectors/test_rmds.py::test_score_is_that_of_two_covariances_of_scikit_learn",
        ),
    ),
    *_of(
        "detectors",
        "mahalanobis",
        (
            "classes without samples",
            "np.where(whitening.present, -0.5 * lengths, -np.inf)",
            "-0.5 * lengths",
            "::test_a_class_without_samples_is_never_the_nearest",
        ),
        (
            "sign of the step",
            "-weight * ops.matmul(_offset",
            "weight * ops.matmul(_offset",
            "::test_step_raises_the_score_and_none_costs_no_gradient",
        ),
    ),
    *_of(
        "detectors",
        "mood",
        (
            "size on a boundary",
            "ops.greater(complexity[:, None]",
            "ops.greater_equal(complexity[:, None]",
            "::test_a_size_on_a_boundary_belongs_to_the_earlier_exit",
        ),
        (
            "sign of the mean energies",
            "self._energy(forward_pass.logits) - means",
            "self._energy(forward_pass.logits) + means",
            "::test_scores_equal_a_plain_recomputation",
        ),
    ),
    *_of(
        "detectors",
        "gen",
        (
            "sign",
            "return -ops.sum(terms[:, :count]",
            "return ops.sum(terms[:, :count]",
            "::test_gen_is_the_generalized_entropy",
        ),
        (
            "smallest for largest",
            "terms[:, :count]",
            "terms[:, -count:]",
            "::test_gen_is_the_generalized_entropy",
        ),
        (
            "sure samples",
            "ops.concatenate([rest, others]",
            "ops.concatenate([ops.log1p(-ops.exp(log_softmax[:, :1])), others]",
            "::test_gen_is_the_generalized_entropy",
        ),
    ),
    *_of(
        "detectors",
        "entropy",
        (
            "sign",
            "return ops.sum(ops.exp(log_softmax)",
            "return -ops.sum(ops.exp(log_softmax)",
            "tests/detectors/test_gen.py::test_entropy_is_that_of_scipy",
        ),
    ),
    *_of(
        "detectors",
        "rmds",
        (
            "width over all data",
            "self._narrowness * ops.square(u)",
            "ops.square(u)",
            "::test_score_is_that_of_two_covariances_of_scikit_learn",
        ),
        (
            "classes without samples",
            "np.where(whitening.present, -0.5 * lengths, -np.inf)",
            "-0.5 * lengths",
            "::test_order_of_classes_does_not_matter_and_one_without_samples_is_left_out",
        ),
        (
            "lengths left as they are",
            "rows_on_sphere(features[0]) if self.normalize else features[0]",
            "features[0]",
            "::test_both_covariances_have_the_same_shrinkage",
        ),
    ),
    *_of(
        "detectors",
        "statistics/class_means",
        (
            "samples of all classes",
            "self.sums / np.maximum(self.counts, 1)[:, None]",
            "self.sums / max(int(self.counts.sum()), 1)",
            "tests/detectors/test_she.py"
            "::test_score_is_the_product_with_the_mean_of_correct_samples",
        ),
        (
            "counts not merged",
            "        self.sums += other.sums\n        self.counts += other.counts\n",
            "        self.sums += other.sums\n",
            "tests/detectors/statistics/test_feature_bank.py"
            "::test_merged_statistics_are_those_of_all_samples",
        ),
    ),
    *_of(
        "detectors",
        "statistics/feature_bank",
        (
            "level of what is left",
            "left // (len(waiting) - number)",
            "left // len(waiting)",
            "::test_level",
        ),
        (
            "merged beyond the capacity",
            "                heapq.heappush(kept, item)\n        self._trim()\n",
            "                heapq.heappush(kept, item)\n",
            "::test_order_batches_and_parts_do_not_matter",
        ),
        (
            "too few samples let in",
            "if len(values) < k:",
            "if len(values) < 1:",
            "tests/detectors/test_knn.py::test_too_few_samples_are_refused",
        ),
    ),
    *_of(
        "detectors",
        "statistics/finite",
        (
            "not checked",
            "if not finite.all():",
            "if not finite.any():",
            "tests/detectors/statistics/test_feature_bank.py"
            "::test_features_that_are_not_finite_are_refused_and_nothing_is_counted "
            "tests/detectors/statistics/test_class_statistics.py"
            "::test_features_that_are_not_finite_are_refused_and_change_nothing",
        ),
    ),
    *_of(
        "detectors",
        "directions",
        (
            "sign of the tangent",
            "(cotangent - along * unit)",
            "(cotangent + along * unit)",
            "tests/detectors/test_mahalanobis.py::test_a_step_goes_through_the_normalization",
        ),
        (
            "at the mean",
            "ops.maximum(distances, ops.maximum(least, _SHORTEST))",
            "ops.maximum(distances, _SHORTEST)",
            "tests/detectors/test_fdbd.py::test_features_at_the_mean_and_at_zero_have_a_score "
            "tests/detectors/test_nci.py::test_features_at_the_mean_are_near_no_weights",
        ),
        (
            "row of the smallest",
            "places = ops.argmax(values, axis=-1)",
            "places = ops.argmin(values, axis=-1)",
            "tests/detectors/test_she.py"
            "::test_score_is_the_product_with_the_mean_of_correct_samples",
        ),
    ),
    *_of(
        "detectors",
        "knn",
        (
            "nearest for the k-th",
            "ops.minimum(held, places.shape[-1]) - 1",
            "ops.minimum(held, places.shape[-1]) * 0",
            "::test_score_is_the_distance_of_scikit_learn",
        ),
        (
            "places without a sample",
            "ops.transpose(self._bank)) + self._empty",
            "ops.transpose(self._bank))",
            "::test_places_without_a_sample_are_no_neighbours",
        ),
    ),
    *_of(
        "detectors",
        "nnguide",
        (
            "energies left out of the bank",
            "return energies * rows_on_sphere(features)",
            "return rows_on_sphere(features)",
            "::test_score_is_the_guided_energy",
        ),
        (
            "mean over more than there are",
            "ops.sum(held * largest, axis=-1) / ops.sum(held, axis=-1)",
            'ops.sum(held * largest, axis=-1) / settings["k"]',
            "",
        ),
    ),
    *_of(
        "detectors",
        "fdbd",
        (
            "sign of the margins",
            "ops.max(logits, axis=-1, keepdims=True) - logits",
            "logits - ops.max(logits, axis=-1, keepdims=True)",
            "::test_score_is_the_mean_distance_by_that_to_the_mean",
        ),
        (
            "equal rows counted",
            "/ apart.sum(\n        axis=1, keepdims=True\n    ).clip(1)",
            "/ (len(rows) - 1)",
            "::test_classes_of_equal_rows_have_no_boundary",
        ),
    ),
    *_of(
        "detectors",
        "residual",
        (
            "directions of the least variance",
            "directions[:, ::-1], rank",
            "directions, rank",
            "tests/detectors/test_vim.py::test_scores_of_every_dimension_are_of_one_adapt",
        ),
        (
            "variance about the mean",
            "statistics.covariance + np.outer(shift, shift)",
            "statistics.covariance",
            "tests/detectors/test_vim.py::test_scores_of_every_dimension_are_of_one_adapt",
        ),
        (
            "sign of the origin",
            "return -np.linalg.pinv",
            "return np.linalg.pinv",
            "tests/detectors/test_vim.py::test_scores_of_every_dimension_are_of_one_adapt",
        ),
        (
            "bound of the paper's rule",
            "512 if size >= 768",
            "512 if size > 768",
            "tests/detectors/test_vim.py::test_the_papers_rule",
        ),
    ),
    *_of(
        "detectors",
        "vim",
        (
            "sign of the virtual logit",
            "axis=-1) - virtual",
            "axis=-1) + virtual",
            "::test_scores_of_every_dimension_are_of_one_adapt",
        ),
        (
            "residuals from the other end",
            "np.cumsum(squares[:, ::-1], axis=-1)[:, ::-1]",
            "np.cumsum(squares, axis=-1)",
            "::test_scores_of_every_dimension_are_of_one_adapt",
        ),
        (
            "residuals of rounding",
            "residuals[rank:] = residuals[rank - 1]",
            "residuals[rank:] = residuals[rank:]",
            "::test_dead_units_leave_a_residual_to_measure",
        ),
        (
            "logits below zero let in",
            "if largest <= 0.0:",
            "if largest <= -np.inf:",
            "::test_logits_that_are_below_zero_and_features_that_are_the_origin_are_refused",
        ),
    ),
    *_of(
        "detectors",
        "react",
        (
            "small features cut off",
            "ops.where(features > largest",
            "ops.where(features < largest",
            "::test_score_is_that_of_numpy_for_every_candidate_after_one_adapt",
        ),
        (
            "cut at the largest of the sample",
            'if settings["percentile"] < 1.0:',
            'if settings["percentile"] <= 1.0:',
            "::test_score_is_that_of_numpy_for_every_candidate_after_one_adapt",
        ),
    ),
    *_of(
        "detectors",
        "head_detector",
        (
            "signed features let in",
            "if self.head.negative_share > _MOST_NEGATIVE:",
            "if self.head.negative_share > 1.0:",
            "tests/detectors/test_scale.py::test_signed_features_are_refused",
        ),
    ),
    *_of(
        "models",
        "linear_head",
        (
            "bias within the weights",
            "return np.concatenate(parts) - self.bias",
            "return np.concatenate(parts)",
            "tests/models/test_linear_head.py::test_logits_are_features_times_kernel_plus_bias",
        ),
        (
            "curved ends let in",
            "linear = not np.any(np.abs(found - logits) > allowed)",
            "linear = True",
            "tests/models/test_linear_head.py"
            "::test_logits_that_are_not_linear_in_the_features_are_refused",
        ),
    ),
    *_of(
        "detectors",
        "activation_scaling",
        (
            "share that is cut off kept",
            "max(1, size - round(size * percentile))",
            "max(1, round(size * percentile))",
            "tests/detectors/test_scale.py::test_score_is_that_of_numpy",
        ),
        (
            "ties kept whole",
            "return above + equal * left / "
            "ops.maximum(ops.sum(equal, axis=-1, keepdims=True), 1.0)",
            "return above + equal",
            "tests/detectors/test_ash.py::test_features_that_tie_for_the_last_places_share_them",
        ),
        (
            "bias scaled too",
            "factor[:, None] * (logits - bias) + bias",
            "factor[:, None] * logits",
            "tests/detectors/test_scale.py::test_score_is_that_of_numpy",
        ),
        (
            "bound of the percentile",
            "if percentile > _LARGEST_PERCENTILE:",
            "if percentile > 1.0:",
            "tests/detectors/test_scale.py::test_impossible_percentiles_are_refused",
        ),
    ),
    *_of(
        "detectors",
        "scale",
        (
            "exponent left out",
            "ops.exp(scaling_ratio(features, ops.sum(largest, axis=-1)))",
            "scaling_ratio(features, ops.sum(largest, axis=-1))",
            "::test_score_is_that_of_numpy",
        ),
    ),
    *_of(
        "detectors",
        "ash",
        (
            "mean over all",
            "ops.sum(features, axis=-1, keepdims=True) / count",
            "ops.mean(features, axis=-1, keepdims=True)",
            "::test_score_is_that_of_numpy",
        ),
        (
            "variant without its factor",
            'if self.variant == "p":',
            'if self.variant in ("p", "s"):',
            "::test_score_is_that_of_numpy",
        ),
    ),
    *_of(
        "detectors",
        "nci",
        (
            "features from zero",
            "ops.max(logits, axis=-1) - of_mean",
            "ops.max(logits, axis=-1)",
            "::test_score_is_nearness_to_the_weights_and_length",
        ),
        (
            "sign of the length",
            'return nearness + settings["alpha"]',
            'return nearness - settings["alpha"]',
            "::test_score_is_nearness_to_the_weights_and_length",
        ),
    ),
    *_of(
        "detectors",
        "she",
        (
            "wrong samples in the pattern",
            "correct = logits.argmax(axis=-1) == labels",
            "correct = labels >= 0",
            "::test_score_is_the_product_with_the_mean_of_correct_samples",
        ),
        (
            "class without samples",
            "np.where(every.counts[:, None] > 0, own, every.mean)",
            "own",
            "::test_classes_without_a_correct_sample_and_without_any",
        ),
    ),
    *_of(
        "detectors",
        "kl_matching",
        (
            "classes that get nothing",
            'np.maximum(statistics["softmax"].means, _SMALLEST)',
            'statistics["softmax"].means',
            "::test_a_class_that_is_never_predicted_is_no_candidate_and_sure_samples_are_finite",
        ),
        (
            "sign of the entropy",
            "ops.max(cross, axis=-1) - negative_entropy",
            "ops.max(cross, axis=-1) + negative_entropy",
            "::test_score_is_that_of_scipy_and_labels_do_not_matter",
        ),
    ),
    *_of(
        "detectors",
        "gradnorm",
        (
            "share of one class",
            "1.0 / self.num_classes",
            "1.0 / (self.num_classes - 1)",
            "::test_score_is_the_norm_of_the_gradient_of_a_tape",
        ),
    ),
    *_of(
        "detectors",
        "temperature_scaling",
        (
            "samples left out stand for nothing",
            "np.average(mean - own, weights=weights)",
            "np.average(mean - own)",
            "::test_what_a_bank_leaves_out_is_stood_for",
        ),
        (
            "multiplied by the temperature",
            "forward_pass.logits / self._temperature",
            "forward_pass.logits * self._temperature",
            "::test_temperature_and_score_are_those_of_scipy",
        ),
    ),
    *_of(
        "detectors",
        "dice",
        (
            "threshold kept",
            "kernel > threshold",
            "kernel >= threshold",
            "::test_score_is_that_of_numpy_for_every_candidate_after_one_adapt",
        ),
        (
            "mask by the weights alone",
            "self._mean[:, None] * kernel > threshold",
            "kernel > threshold",
            "::test_score_is_that_of_numpy_for_every_candidate_after_one_adapt",
        ),
    ),
    *_of(
        "detectors",
        "percentiles",
        (
            "step rounded down",
            "table[round(percentile * _STEPS)]",
            "table[int(percentile * _STEPS)]",
            "::test_every_thousandth_has_its_place",
        ),
        (
            "parts of a thousandth",
            "or abs(number * _STEPS - (thousandths or 0)) > 1e-6",
            "or thousandths is None",
            "tests/detectors/test_react.py::test_what_is_no_percentile_is_refused "
            "tests/detectors/test_dice.py::test_what_is_no_percentile_is_refused",
        ),
    ),
    *_of(
        "detectors",
        "openmax",
        (
            "sign of the unknown class",
            "axis=-1) - ops.sum(lost, axis=-1)",
            "axis=-1) + ops.sum(lost, axis=-1)",
            "::test_score_orders_as_the_definition_does",
        ),
        (
            "own place counted",
            "largest[:, None, :] > logits[:, :, None]",
            "largest[:, None, :] >= logits[:, :, None]",
            "::test_score_orders_as_the_definition_does",
        ),
        (
            "tail of the nearest",
            "[-tail_size:]",
            "[:tail_size]",
            "::test_score_orders_as_the_definition_does",
        ),
        (
            "wrong samples in the tail",
            "correct = logits.argmax(axis=-1) == labels",
            "correct = labels >= 0",
            "::test_score_orders_as_the_definition_does "
            "::test_of_a_class_without_a_correct_sample_nothing_is_known",
        ),
    ),
    *_of(
        "detectors",
        "adascale",
        (
            "percentile turned",
            'high - settings["place"] * (high - low)',
            'low + settings["place"] * (high - low)',
            "::test_score_is_that_of_numpy",
        ),
        (
            "sign of the step",
            "step = ops.sign(gradient)",
            "step = -ops.sign(gradient)",
            "::test_movement_is_that_of_numpy",
        ),
        (
            "values that matter most",
            "largest = -ops.top_k(-flat, count)[0][:, -1]",
            "largest = ops.top_k(flat, count)[0][:, -1]",
            "::test_movement_is_that_of_numpy",
        ),
        (
            "place above all",
            "(values[:, None] - table[:-1]) / widths",
            "(values[:, None] - table[1:]) / widths",
            "::test_place_is_the_share_of_samples_below",
        ),
        (
            "fraction of a feature dropped",
            "places, 0.0, 1.0)",
            "places, 0.0, 1.0) // 1.0",
            "::test_score_is_that_of_numpy",
        ),
    ),
    *_of(
        "detectors",
        "combined",
        (
            "product of p-values",
            "ops.sum(ops.log(p_values), axis=-1)",
            "ops.sum(p_values, axis=-1)",
            "::test_the_score_is_made_of_the_p_values",
        ),
        (
            "score that is not a number",
            'ops.where(ops.isnan(sum(scores)), np.float32("nan"), combined)',
            "combined",
            "",
        ),
        (
            "steps not counted",
            "1.0 + sum(one.cost_in_passes - 1.0",
            "1.0 + sum(0.0 * one.cost_in_passes",
            "::test_it_costs_the_shared_pass_and_every_step_beyond",
        ),
    ),
    *_of(
        "detectors",
        "settings_tuning",
        (
            "defaults lost among ties",
            "choice = at_defaults if tied else best",
            "choice = best",
            "::test_the_defaults_stay_where_nothing_can_be_told",
        ),
        (
            "defaults not tried",
            "dict.fromkeys([*checked, defaults[name]])",
            "dict.fromkeys(checked or [defaults[name]])",
            "",
        ),
        (
            "runner-up from the end",
            "key=lambda other: -other.auroc",
            "key=lambda other: other.auroc",
            "::test_every_candidate_has_the_figures_of_the_detector_with_its_settings",
        ),
        (
            "fewer of either",
            "if min(counts) < FEWEST_SAMPLES",
            "if max(counts) < FEWEST_SAMPLES",
            "::test_out_of_distribution_data_decide_where_there_are_some",
        ),
        ("pairs of strangers", "paired=ood_data is None", "paired=ood_data is not None", ""),
    ),
    *_of(
        "detectors",
        "tunable_detector",
        (
            "threshold kept",
            "        self._tuned = 0\n        self.forget_calibration()\n",
            "        self._tuned = 0\n",
            "tests/detectors/test_gen.py"
            "::test_a_changed_setting_is_in_the_next_scores_and_forgets_the_threshold",
        ),
        (
            "statistics of the defaults lost",
            "        other.set_weights(self.get_weights())\n",
            "",
            "tests/detectors/test_settings_tuning.py"
            "::test_a_tuned_detector_has_one_with_the_defaults_beside_it",
        ),
    ),
    *_of(
        "detectors",
        "contrast_pass",
        (
            "one kind of copy",
            "copies = [partial(make, batch.inputs) for make in CONTRASTS.values()]",
            "copies = [partial(make, batch.inputs) for make in [*CONTRASTS.values()][:1] * 3]",
            "tests/detectors/test_settings_tuning.py::test_images_are_told_from_every_kind_of_copy",
        ),
        (
            "first candidate alone looked at",
            "values.min(axis=-1)",
            "values[:, 0]",
            "::test_a_candidate_that_has_no_score_is_told_of",
        ),
    ),
    *_of(
        "detectors",
        "feature_pass",
        (
            "gradient of the first layers",
            "given.get(number, ops.zeros_like(part))",
            "next(iter(given.values()), ops.zeros_like(part))",
            "tests/detectors/test_mahalanobis.py::test_step_follows_finite_differences_in_float64",
        ),
    ),
    *_of(
        "evaluation",
        "choosing",
        (
            "judged by what tuned",
            "samples.inputs[k::2]",
            "samples.inputs[::2]",
            "::test_samples_that_chose_the_settings_do_not_judge",
        ),
        (
            "sample standard deviation",
            "np.std(differences, ddof=1)",
            "np.std(differences)",
            "::test_the_margin_is_the_mean_of_two_kinds_and_its_interval_that_of_a_mean",
        ),
        (
            "interval of a mean",
            "** 0.5\n            quantile",
            "\n            quantile",
            "::test_the_margin_is_the_mean_of_two_kinds_and_its_interval_that_of_a_mean",
        ),
        (
            "parts of an interval",
            "for _, half in found))) / len(found)",
            "for _, half in found)))",
            "::test_the_margin_is_the_mean_of_two_kinds_and_its_interval_that_of_a_mean",
        ),
        (
            "worse in one",
            "any(gain + half < 0.0",
            "all(gain + half < 0.0",
            "::test_worse_in_one_kind_is_worse_whatever_the_mean",
        ),
        (
            "cheapest of all",
            "evidence.gain(best.name, one.name)[1][0] <= 0.0",
            "evidence.gain(best.name, one.name)[1][1] <= 1.0",
            "::test_of_those_that_cannot_be_told_from_the_best_the_cheapest_is_recommended",
        ),
        (
            "size before passes",
            "(one.passes, one.bytes // 2**20)",
            "(one.bytes // 2**20, one.passes)",
            "::test_of_those_that_cannot_be_told_from_the_best_the_cheapest_is_recommended",
        ),
        (
            "classes left out beside real data",
            "known = None if ood_data is not None else train_data",
            "known = train_data",
            "::test_out_of_distribution_data_decide_where_there_are_some",
        ),
        (
            "means of other groups",
            "if len(v) == fewest and len(v) > 1}",
            "if len(v) > 1}",
            "::test_detectors_that_some_classes_left_out_are_no_data_for_are_not_compared",
        ),
        (
            "first samples",
            "np.sort(order[:most])",
            "np.arange(len(order))[:most]",
            "::test_samples_are_drawn_from_all_of_the_data",
        ),
    ),
    *_of(
        "evaluation",
        "choice",
        (
            "better by a chance",
            "self.interval[0] > 0.0 and not self.worse",
            "self.interval[1] > 0.0 and not self.worse",
            "tests/evaluation/test_choosing.py::test_better_is_better_beyond_doubt_and_in_nothing_worse",
        ),
        (
            "worse in one forgiven",
            "self.interval[0] > 0.0 and not self.worse",
            "self.interval[0] > 0.0",
            "tests/evaluation/test_choosing.py::test_better_is_better_beyond_doubt_and_in_nothing_worse",
        ),
    ),
    *_of(
        "evaluation",
        "results",
        (
            "costs of another row",
            '{"passes": members[0]["passes"]}',
            '{"passes": self.rows[0]["passes"]}',
            "::test_means_are_taken_over_several_sets_only",
        ),
    ),
    *_of(
        "evaluation",
        "page",
        (
            "confidence left out",
            "confidence = confidence_of(given)",
            "confidence = None",
            "tests/evaluation/test_results.py::test_the_page_says_what_a_threshold_promises",
        ),
    ),
    *_of(
        "data",
        "clouds",
        (
            "width of the smoothing",
            "np.exp(-2.0 * (np.pi * width) ** 2 * squared)",
            "np.exp(-((np.pi * width) ** 2) * squared)",
            "::test_the_smoothing_is_a_gaussian_with_ends_joined",
        ),
        (
            "one seed for all",
            "rng.uniform(values.min(axis=0), values.max(axis=0), values.shape)",
            "rng.uniform(values.min(), values.max(), values.shape)",
            "::test_vectors_stay_within_the_range_of_each_feature",
        ),
        (
            "smallest left below",
            "smooth -= smooth.min()",
            "smooth -= smooth.mean()",
            "::test_the_smoothing_is_a_gaussian_with_ends_joined",
        ),
    ),
    *_of(
        "data",
        "mirrored",
        (
            "last part never taken",
            "rng.integers(size - part + 1, size=(count, 1))",
            "rng.integers(max(size - part, 1), size=(count, 1))",
            "::test_every_part_is_taken",
        ),
        (
            "not mirrored",
            "np.maximum(part - 1 - steps, steps - part)",
            "steps % part",
            "::test_neighbours_were_neighbours_or_are_the_same",
        ),
    ),
    *_of(
        "evaluation",
        "accuracy",
        ("chance without the count itself", "binom.sf(correct - 1,", "binom.sf(correct,", ""),
    ),
    *_of(
        "evaluation",
        "extreme_examples",
        ("places of later batches", "self._seen += len(scores)", "self._seen += COUNT", ""),
    ),
    *_of(
        "evaluation",
        "one_pass",
        (
            "extremes turned",
            "ExtremeExamples(lowest=lowest)",
            "ExtremeExamples(lowest=not lowest)",
            "::test_extremes_are_the_lowest_of_id_and_the_highest_of_ood",
        ),
        (
            "full spectrum without the clean data",
            "for name in sets.spectra[spectrum]]",
            "for name in sets.spectra[spectrum][spectrum:]]",
            "::test_full_spectrum_counts_the_shifted_data_as_in_distribution",
        ),
    ),
    *_of(
        "workflows",
        "sweeps/halving",
        ("survivors rounded down", "math.ceil(count / FACTOR)", "count // FACTOR", ""),
        ("budget met exactly", "if wide.cost <= budget:", "if wide.cost < budget:", ""),
    ),
    *_of(
        "workflows",
        "sweeps/recommendation",
        ("half a point exactly", ">= -allowance - 1e-12", "> -allowance + 1e-9", ""),
        ("gain that may be chance", "    if low > 0.0:\n", "    if high > 0.0:\n", ""),
    ),
    *_of(
        "workflows",
        "sweeps/candidate",
        ("cost of a rare quotient", "1.0 + passes / self.every", "1.0 + passes * self.every", ""),
    ),
    *_of(
        "workflows",
        "run_folder",
        ("foreign files let in", "or holds_others(output)", "or not holds_others(output)", ""),
        ("settings that are gone", "for name in {**now, **before}", "for name in now", ""),
    ),
    *_of(
        "workflows",
        "option_checks",
        (
            "validation by parts",
            "validation is not None and not parse(id).has_parts and overlap",
            "validation is not None and overlap",
            "::test_training_data_are_no_validation_data",
        ),
    ),
    *_of(
        "export",
        "onnx/rules/pooling",
        (
            "windows that overlap",
            'axis=1, reduction="add"',
            'axis=1, reduction="none"',
            f"{_ONNX_RULES}::test_windows_that_pick_the_same_pixel_add_up",
        ),
        (
            "the last of equal pixels",
            'one.op("Max", other)',
            'one.op("Min", other)',
            f"{_ONNX_RULES}::test_of_equal_pixels_of_a_window_the_first_has_the_gradient",
        ),
    ),
    *_of(
        "export",
        "onnx/rules/products",
        (
            "dropped transpose",
            "turned = terms[1][1] != out[-1]",
            "turned = terms[1][1] == out[-1]",
            f"{_ONNX_RULES}::test_product_gradient",
        ),
    ),
    *_of(
        "export",
        "onnx/rules/indexing",
        (
            "begin of a backward slice",
            "first = 0 if step > 0 else -1",
            "first = 0",
            f"{_ONNX_RULES}::test_gradient_of_a_slice_that_is_turned_round_begins_at_the_end",
        ),
    ),
    *_of(
        "export",
        "onnx/weights",
        (
            "layout of weights",
            'value.transpose(numbers) if kind == "Transpose" else',
            'value.reshape(value.transpose(numbers).shape) if kind == "Transpose" else',
            "tests/export/test_onnx_weights.py",
        ),
    ),
    *_of(
        "export",
        "metadata",
        ("empty ranges", "_is_number(high) and low < high", "_is_number(high)", _DAMAGED),
        (
            "infinite threshold",
            "threshold if math.isfinite(threshold) else None",
            "threshold",
            "tests/export/test_artifact.py"
            "::test_artifact_without_threshold_calls_nothing_out_of_distribution",
        ),
        (
            "later versions read",
            "_is_count(version) and version > METADATA_VERSION",
            "_is_count(version) and version > METADATA_VERSION + 1",
            _DAMAGED,
        ),
    ),
    *_of("export", "digest", ("damage let in", "raise not_as_exported(path)", "return", _DAMAGED)),
    *_of(
        "export",
        "parity",
        (
            "NaN agrees",
            "return all(value <= allowed[name] for",
            "return not any(value > allowed[name] for",
            "tests/export/test_saved_model.py"
            "::test_classifier_whose_outputs_are_no_numbers_is_not_written",
        ),
        (
            "verdicts not compared",
            'if not np.array_equal(actual["is_ood"][decided], expected["is_ood"][decided]):',
            'if actual["is_ood"].shape != expected["is_ood"].shape:',
            "",
        ),
    ),
    *_of(
        "export",
        "saved_model",
        (
            "not verified",
            "_verify(reference, run, detector, recorded)",
            "pass",
            "::test_classifier_that_changes_by_itself_is_not_written",
        ),
        (
            "programs let in",
            "    if found:\n        raise ValueError(\n",
            "    if found and not path.exists():\n        raise ValueError(\n",
            _DAMAGED,
        ),
    ),
    *_of(
        "export",
        "artifact",
        (
            "channels first",
            "(shape[0], *shape[2:], shape[1])",
            "tuple(shape)",
            "tests/export/test_onnx.py::test_channels_first_on_request",
        ),
    ),
    *_of(
        "export",
        "own_artifacts",
        (
            "foreign file replaced",
            "content.find(METADATA_KEY.encode()) >= 0",
            "content.find(METADATA_KEY.encode()) >= -1",
            "",
        ),
    ),
    *_of(
        "export",
        "litert/windows",
        (
            "cut at the front",
            "slice(max(-at, 0), max(-at, 0) + size)",
            "slice(0, size)",
            "tests/export/test_litert_windows.py",
        ),
    ),
    *_of(
        "cli",
        "registered",
        (
            "order of names",
            "for _, name, description in sorted(found)}",
            "for _, name, description in sorted(found, reverse=True)}",
            "tests/test_registries.py tests/test_names_on_the_command_line.py",
        ),
    ),
    *_of(
        "cli",
        "options",
        (
            "batches of nothing",
            '"--batch-size", type=click.IntRange(1)',
            '"--batch-size", type=click.IntRange(0)',
            "tests/test_command_line.py::test_a_users_mistake_ends_with_one_sentence_and_code_2",
        ),
    ),
    *_of(
        "cli",
        "printing",
        (
            "infinite numbers in JSON",
            "encodable(json_value(document))",
            "encodable(document)",
            "tests/test_command_line.py::test_what_is_no_number_is_null_in_json",
        ),
    ),
]


def check() -> None:
    """Whether every mutation can be made and every test named is there; raises for one that is not.

    Raises:
        ValueError: If an old text is not there once, new code does not compile, a name is there
            twice, or a test file or a test is missing.
    """
    names = [mutation.name for mutation in MUTATIONS]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Each mutation needs a name of its own. Received: {twice}")
    for mutation in MUTATIONS:
        mutation.applied((ROOT / mutation.file).read_text(encoding="utf-8"))
        for place in mutation.tests:
            path, _, test = place.partition("::")
            file = ROOT / path
            if not file.is_file() or f"def {test}" not in file.read_text(encoding="utf-8"):
                raise ValueError(f"There is no such test. Received: {mutation.name}, {place}")


def copied(folder: Path) -> Path:
    """A copy of what tests read, of the files as they stand."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "*.npz")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder)
    return folder


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int | None, str]:
    """Runs tests on the copy in a fork.

    Returns:
        pytest's exit status, None where the time was over, and what it printed.
    """
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if process == 0:
            status = 70
            try:
                os.setsid()
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                status = _pytest(folder, tests)
            finally:
                os._exit(status)
        status = _waited(process)
        output.seek(0)
        return status, output.read().decode("utf-8", "replace")


def _pytest(folder: Path, tests: Sequence[str]) -> int:
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    # Not what merely lies in the repository, as the environment of `make` does.
    own = {"", str(ROOT), str(ROOT / "benchmarks")}
    sys.path[:] = [str(folder), *(place for place in sys.path if place not in own)]
    found = importlib.util.find_spec("keras_lodin")
    if found is None or not str(found.origin).startswith(str(folder)):
        raise RuntimeError(f"Expected the package of the copy. Received: {found}")
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--tb=no", "-rfE"]
    status = int(pytest.main([*options, *tests]))
    sys.stdout.flush()
    return status


def _waited(process: int) -> int | None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def measured(folder: Path, mutation: Mutation) -> dict[str, str]:
    """Makes the fault in the copy, runs its tests, and takes the fault out again.

    Raises:
        RuntimeError: If pytest ran no test, or could not run.
    """
    file = folder / mutation.file
    code = file.read_text(encoding="utf-8")
    # Its date is in seconds, and mutations may be as short and as quick as that.
    compiled = Path(importlib.util.cache_from_source(str(file)))
    start = time.monotonic()
    try:
        compiled.unlink(missing_ok=True)
        file.write_text(mutation.applied(code), encoding="utf-8")
        status, output = run_tests(folder, mutation.tests)
    finally:
        file.write_text(code, encoding="utf-8")
        compiled.unlink(missing_ok=True)
    failed = [
        line.partition(" ")[2].partition(" - ")[0]
        for line in output.splitlines()
        if line.startswith(("FAILED ", "ERROR "))
    ]
    # 1: a test failed; 2: a file of tests could not be read; below 0: a signal.
    if status not in (0, 1, 2, None) and status > 0:
        raise RuntimeError(f"pytest could not run the tests of {mutation.name}:\n{output}")
    return {
        "name": mutation.name,
        "file": mutation.file,
        "result": "survived" if status == 0 else "killed",
        "killed_by": "" if status == 0 else failed[0] if failed else f"exit status {status}",
        "seconds": f"{time.monotonic() - start:.1f}",
        "text": mutation.text,
    }


def read(path: Path) -> dict[str, dict[str, str]]:
    """The rows that still hold, by name: those of mutations whose text is the same."""
    texts = {mutation.name: mutation.text for mutation in MUTATIONS}
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: row
            for row in csv.DictReader(file)
            if texts.get(row["name"]) == row["text"]
        }


def write(path: Path, rows: dict[str, dict[str, str]]) -> None:
    """All mutations in their order; those without a result are open.

    The package's own way to write a file is not used: it may be what is broken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for one in MUTATIONS:
            is_open = {"name": one.name, "file": one.file, "result": "open"}
            writer.writerow(rows.get(one.name, is_open))
    os.replace(temporary, path)


def _import_slowly() -> None:
    """What every test imports and no mutation touches, with the settings of tests/conftest.py."""
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3",
        CUDA_VISIBLE_DEVICES="-1",
        TF_ENABLE_ONEDNN_OPTS="1",
        TF_NUM_INTRAOP_THREADS="1",
        TF_NUM_INTEROP_THREADS="1",
        OMP_NUM_THREADS="1",
    )
    for name in ("tensorflow", "keras", "scipy.stats", "sklearn.metrics"):
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results/mutations.csv")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names, or beginnings of them")
    parser.add_argument("--again", action="store_true", help="measure survivors again as well")
    parser.add_argument("--sound", action="store_true", help="look at earlier kills as well")
    parser.add_argument("--list", action="store_true", help="name the mutations and their results")
    parser.add_argument("--check", action="store_true", help="whether all of them can be made")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin none after so many")
    arguments = parser.parse_args()
    check()
    if arguments.check:
        print(f"{len(MUTATIONS)} mutations can be made")
        return
    rows = read(arguments.output)
    chosen = [
        one
        for one in MUTATIONS
        if arguments.only is None or one.name.startswith(tuple(arguments.only))
    ]
    if arguments.list:
        for one in chosen:
            print(f"{rows.get(one.name, {}).get('result', 'open'):9}{one.name}")
        return
    end = time.monotonic() + 60 * arguments.minutes
    _import_slowly()
    with tempfile.TemporaryDirectory() as temporary:
        folder = copied(Path(temporary).resolve())
        new = []
        for mutation in chosen:
            result = rows.get(mutation.name, {}).get("result", "open")
            wanted = ("open", "survived") if arguments.again else ("open",)
            if result not in wanted or time.monotonic() > end:
                continue
            row = measured(folder, mutation)
            rows[mutation.name] = row
            new.append(row)
            write(arguments.output, rows)
            print(f"{row['seconds']:>6} s  {row['result']:9}{row['name']}  {row['killed_by']}")
            sys.stdout.flush()
        _take_out_what_fails_anyway(folder, rows, list(rows.values()) if arguments.sound else new)
    write(arguments.output, rows)
    results = [row["result"] for row in rows.values()]
    print(
        f"{len(MUTATIONS)} mutations: {results.count('killed')} killed, "
        f"{results.count('survived')} survived, {len(MUTATIONS) - len(results)} open"
    )


def _take_out_what_fails_anyway(
    folder: Path, rows: dict[str, dict[str, str]], new: list[dict[str, str]]
) -> None:
    tests = sorted({row["killed_by"] for row in new if "::" in row["killed_by"]})
    if not tests or run_tests(folder, tests)[0] == 0:
        return
    for test in tests:
        if run_tests(folder, [test])[0] != 0:
            print(f"fails on the code as it is: {test}")
            for name in [name for name, row in rows.items() if row["killed_by"] == test]:
                del rows[name]


if __name__ == "__main__":
    main()

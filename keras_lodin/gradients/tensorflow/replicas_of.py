"""The strategies of `tf.distribute`, and how a batch is shared out among their replicas."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_lodin.gradients.replicas import Batches, Replicas, check_strategy


@contextlib.contextmanager
def replicas_of(strategy: str | None) -> Iterator[Replicas]:
    """Within it a training may run on the devices and hosts of a strategy.

    Args:
        strategy: "mirrored" for all devices of this machine: its GPUs, or what CPUs TensorFlow was
            told to simulate; "multi-worker" for those of all hosts in the environment variable
            `TF_CONFIG`; None for the strategy in whose scope this is, or one device.

    Raises:
        ValueError: for what is no strategy, hosts that nobody named, or a strategy within another.
        ConnectionError: if another host goes, or cannot be reached.
    """
    check_strategy(strategy)
    if strategy is not None and tf.distribute.has_strategy():
        raise ValueError(
            "`strategy` must be None within the scope of another strategy, which is then used. "
            f"Received: strategy={strategy!r}"
        )
    chosen = tf.distribute.get_strategy() if strategy is None else _CHOICES[strategy]()
    try:
        yield _Replicas(chosen) if chosen.num_replicas_in_sync > 1 else Replicas()
    except tf.errors.OpError as error:
        # Around it TensorFlow prints where in the graph it was at work.
        _, aborted, reason = str(error).partition("Collective ops is aborted by: ")
        if not aborted or not has_several_hosts(chosen):
            raise
        raise ConnectionError(
            "Another host of the training has gone or cannot be reached. Start all of them again "
            "with the same command: the training goes on behind the last epoch that it finished. "
            f"Received: {' '.join(reason.split())}"
        ) from error


def has_several_hosts(strategy: Any) -> bool:
    """Whether a strategy has replicas on other hosts than this one."""
    count = strategy.num_replicas_in_sync
    return bool(count > 1 and count > len(strategy.extended.worker_devices))


class _Replicas(Replicas):
    """The replicas of a strategy."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        self.count = strategy.num_replicas_in_sync
        super().__init__(parts=self.count)
        self._several_hosts = has_several_hosts(strategy)
        self.is_chief = not self._several_hosts or _is_chief(strategy.cluster_resolver)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        return self._strategy.scope()

    def shared_out(self, batches: Batches) -> Batches:
        # Not left to Keras, by which TensorFlow would make batches of one size out of those before
        # and behind the end of an epoch, or hand every host other files.
        count, here = self.count, len(self._strategy.extended.worker_devices)

        def of_host(context: Any) -> tf.data.Dataset:
            first = context.input_pipeline_id * here

            def parts(*columns: tf.Tensor) -> tf.data.Dataset:
                size = tf.shape(columns[0], tf.int64)[0]

                def part(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
                    start, end = size * number // count, size * (number + 1) // count
                    return tuple(column[start:end] for column in columns)

                return tf.data.Dataset.range(first, first + here).map(part)

            return batches.flat_map(parts).prefetch(here)

        return self._strategy.distribute_datasets_from_function(of_host)

    def check_alike(self, **facts: object) -> None:
        if not self._several_hosts:
            return
        # 0 for a call without facts, which waits.
        own = tf.constant([[0, *map(_digest, facts.values())]], tf.int64)

        def gather() -> tf.Tensor:
            return tf.distribute.get_replica_context().all_gather(own, axis=0)

        @tf.function(autograph=False)
        def gathered() -> Any:
            return self._strategy.run(gather)

        (found, *_) = self._strategy.experimental_local_results(gathered())
        differ = np.ptp(found.numpy()[:, 1:], axis=0) > 0
        names = [name.replace("_", " ") for name, one in zip(facts, differ, strict=True) if one]
        if names:
            raise ValueError(
                "The hosts of a training must be started with the same command on the same data, "
                "and share the folder of the run. "
                f"Received: {', '.join(names)}, not the same on every host"
            )


def _digest(fact: object) -> int:
    text = json.dumps(fact, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def _is_chief(resolver: Any) -> bool:
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return int(resolver.task_id) == 0


@functools.cache
def _mirrored() -> Any:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@functools.cache
def _multi_worker() -> Any:
    _check_cluster(os.environ.get("TF_CONFIG"))
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            "The hosts of a training must be joined before TensorFlow computes anything: call "
            "`train` first in the process, or use the command line. "
            "Received: strategy='multi-worker' in a process in which TensorFlow is at work"
        ) from error
    except tf.errors.OpError as error:
        raise ConnectionError(
            "The hosts in TF_CONFIG could not be joined. Each must be started, have its own port "
            f"free and reach the addresses of the others. Received: {_first_line(error)}"
        ) from error


def _first_line(error: tf.errors.OpError) -> str:
    return str(error).strip().partition("\n")[0]


def _check_cluster(text: str | None) -> None:
    """Raises ValueError unless this tells which hosts there are and which of them this is."""
    try:
        told = json.loads(text or "")
        task, hosts = told["task"], told["cluster"]
        if task["type"] in ("chief", "worker") and hosts[task["type"]][int(task["index"])]:
            return
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise ValueError(
        "`strategy='multi-worker'` (--strategy multi-worker) needs the environment variable "
        "TF_CONFIG in the process of every host, with the addresses of all and the place of its "
        'own: {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}. '
        f"Received: {'no TF_CONFIG' if text is None else f'TF_CONFIG={text!r}'}"
    )


_CHOICES = {"mirrored": _mirrored, "multi-worker": _multi_worker}

"""Seconds of an epoch and of compiling, for networks, kinds of method and batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from scale import networks, training
from scale.cells import loaded
from scale.methods import Method
from scale.plan import Recipe
from scale.programs import Programs, device_dtype, epoch_arguments


def time_programs(
    data: Path, settings: list[str], limit: int | None, say: Callable[[str], None] = print
) -> None:
    """Says how long an epoch takes, one after the other.

    Args:
        data: what `data.pack` wrote.
        settings: `NETWORK:KIND:BATCH`, with `:IMAGES` for part of the data and `:IMAGES:SEEDS` for
            several seeds in one program.
        limit: images of each set; None for all.
        say: is given a line for each.
    """
    began = time.perf_counter()
    programs, _, _ = loaded(data, limit)
    say(f"{time.perf_counter() - began:.1f} s: data on {jax.devices()[0].device_kind}")
    parsed = []
    for setting in settings:
        network, kind, batch, *rest = setting.split(":")
        images, seeds = (int(rest[0]) if rest else 0), (int(rest[1]) if rest[1:] else 0)
        part = programs
        if images:
            part = Programs(programs.images[:images], programs.labels[:images], programs.tests, 990)
        parsed.append((setting, network, kind, int(batch), seeds, part))
    for setting, network, kind, batch, seeds, part in parsed:
        try:
            _time_one(setting, network, kind, batch, seeds, part, say)
        except Exception as error:  # out of memory, say: the others can still be timed
            say(f"{setting}: {type(error).__name__}: {str(error)[:300]}")
    for *_, part in parsed:
        part.close()


def _time_one(
    setting: str,
    network: str,
    kind: str,
    batch: int,
    seeds: int,
    part: Programs,
    say: Callable[[str], None],
) -> None:
    recipe = Recipe(20, batch)
    arguments = epoch_arguments(Method.of("off"), part, 0, 0, recipe)
    if seeds:
        built = networks.build(network, dtype=device_dtype())
        epoch = training.epoch_of(built, kind, batch)
        axes = (0, None, None, None, 0, None, None, None)
        many = jax.jit(jax.vmap(epoch, in_axes=axes), donate_argnums=0)
        state = jax.vmap(lambda seed: training.start(built, seed))(jnp.arange(seeds))
        arguments = (*arguments[:3], jnp.arange(seeds), *arguments[4:])
        before = time.perf_counter()
        epoch = many.lower(state, *arguments).compile()
        compiled = time.perf_counter() - before
    else:
        epoch = part.get((network, kind, batch))
        compiled = part.seconds[(network, kind, batch)]
        state = training.start(networks.build(network), 0)
    state, _ = jax.block_until_ready(epoch(state, *arguments))
    before = time.perf_counter()
    state, _ = jax.block_until_ready(epoch(state, *arguments))
    seconds = (time.perf_counter() - before) / max(seeds, 1)
    steps = len(part.labels) // batch
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
    say(
        f"{setting}: {1e3 * seconds / steps:.2f} ms a step, "
        f"{seconds / steps * 50_000 / batch:.2f} s an epoch of 50,000, "
        f"{compiled:.0f} s to compile, peak so far {peak:.1f} GiB"
    )

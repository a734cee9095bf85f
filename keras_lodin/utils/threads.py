"""Work that other threads do before its results are asked for, never far ahead."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

_END: Any = object()


def in_threads(
    function: Callable[[S], T], items: Iterable[S], threads: int, ahead: int
) -> Generator[T, None, None]:
    """A function of each item, in their order.

    Args:
        function: what is to be done.
        items: gone through in the thread that asks.
        threads: how many work.
        ahead: how many results are under way, or wait, before they are asked for.

    Yields:
        each result; what the function raised is raised where its result would be.
    """
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[T]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def made_ahead(items: Iterable[T], ahead: int) -> Generator[T, None, None]:
    """The same items, of which so many are made in another thread before they are asked for.

    Args:
        items: gone through in that thread, from where the first is asked for.
        ahead: how many are under way, or wait.
    """
    elements = iter(items)
    made = in_threads(lambda _: next(elements, _END), itertools.count(), 1, ahead)
    with closing(made):
        yield from itertools.takewhile(lambda one: one is not _END, made)

"""Work that other threads do before its results are asked for, never far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


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

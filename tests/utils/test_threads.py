"""Work that is done before its results are asked for."""

import threading

import pytest

from keras_lodin.utils.threads import in_threads, made_ahead


def test_items_are_made_ahead_in_another_thread_and_no_more_than_asked():
    made, threads = [], set()

    def items():
        for number in range(10):
            threads.add(threading.get_ident())
            made.append(number)
            yield number

    ahead = made_ahead(items(), 2)
    assert next(ahead) == 0
    assert list(ahead) == list(range(1, 10))
    assert threads
    assert threading.get_ident() not in threads

    made.clear()
    ahead = made_ahead(items(), 2)
    next(ahead)
    ahead.close()
    assert len(made) <= 3


def test_what_an_item_raises_is_raised_in_its_place():
    def items():
        yield 1
        raise OSError("unreadable")

    ahead = made_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="unreadable"):
        next(ahead)


def test_results_come_in_the_order_of_the_items_however_long_one_takes():
    later = threading.Event()

    def result(number):
        if number == 0:
            assert later.wait(10)
        else:
            later.set()
        return number

    assert list(in_threads(result, range(6), threads=2, ahead=4)) == list(range(6))

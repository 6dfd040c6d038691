"""prefetch: the same items in the same order, errors where they happened, no thread left behind."""

import threading
import time

import pytest

from talkingface.media.prefetch import prefetch


def test_items_come_in_order():
    assert list(prefetch(range(100), size=3)) == list(range(100))


def test_an_error_is_raised_after_the_items_before_it():
    def broken():
        yield 1
        raise OSError("disk")

    seen = []
    with pytest.raises(OSError, match="disk"):
        for item in prefetch(broken()):
            seen.append(item)
    assert seen == [1]


def test_only_a_few_items_wait():
    made = []
    items = prefetch((made.append(n) or n for n in range(50)), size=2)
    next(items)
    time.sleep(0.1)
    assert len(made) <= 5
    items.close()


def test_a_loop_that_is_left_early_stops_the_thread():
    before = set(threading.enumerate())
    for item in prefetch(iter(int, 1)):
        assert item == 0
        break
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not set(threading.enumerate()) - before

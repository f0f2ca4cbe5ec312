"""SIGTERM ends a block like Ctrl-C does, once, and only where nobody else has a say in it."""

import os
import signal
import threading

import pytest

from preprocess.signals import Terminated, raise_on_sigterm


def end_twice():
    """A second SIGTERM must not disturb what cleans up after the first."""
    with raise_on_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_raised_once_and_its_way_is_restored():
    with pytest.raises(KeyboardInterrupt) as raised:
        end_twice()
    assert raised.type is Terminated
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_block_within_another_leaves_it_to_the_outer_one():
    with raise_on_sigterm():
        handler = signal.getsignal(signal.SIGTERM)
        with raise_on_sigterm():
            assert signal.getsignal(signal.SIGTERM) is handler
        assert signal.getsignal(signal.SIGTERM) is handler


def test_another_thread_changes_nothing():
    seen = []

    def work():
        with raise_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]

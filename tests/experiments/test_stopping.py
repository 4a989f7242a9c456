"""SIGTERM and SIGINT have a run saved; `faults.py` stops real runs so and goes on with them."""

import os
import signal

import pytest

from experiments import stopping


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_the_second_kills(number):
  before = {x: signal.getsignal(x) for x in (signal.SIGTERM, signal.SIGINT)}
  try:
    stopped = stopping.stop_on_signal()
    assert not stopped()
    os.kill(os.getpid(), number)
    assert stopped() and signal.getsignal(number) == signal.SIG_DFL
  finally:
    for x, handler in before.items():
      signal.signal(x, handler)

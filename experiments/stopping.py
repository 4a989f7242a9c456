"""A signal asks a run to save itself and stop."""

from collections.abc import Callable
import signal


def stop_on_signal() -> Callable[[], bool]:
  """Whether SIGTERM or SIGINT has come, so that the run is to be saved; a second one kills it."""
  come = []

  def handle(number, frame):
    del frame
    come.append(number)
    signal.signal(number, signal.SIG_DFL)

  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, handle)
  return lambda: bool(come)

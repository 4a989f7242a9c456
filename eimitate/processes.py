"""Several processes, on one host or many, that train as one: joining, and knowing the same.

All compile the same update over all their devices. The first process leads: it alone acts,
evaluates, logs and saves, and the others learn from it what came of that.
"""

from collections.abc import Callable, Mapping
import functools
import pickle
import socket
import threading
import time
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from eimitate import configuration
from eimitate import errors

T = TypeVar('T')

_CHUNK = 1 << 26  # Bytes that are broadcast at once.


def join(coordinator: str, num_processes: int, process_id: int, wait: float) -> None:
  """Joins the other processes; call it before jax touches a device.

  Args:
    coordinator: `host:port` of the leader, who listens there; empty for a process alone.
    num_processes: how many there are.
    process_id: of this one, from 0, the leader.
    wait: seconds for all to come.

  Raises:
    InputError: if the coordinator cannot be reached, or others do not come.
  """
  field = 'config.parallel.coordinator'
  errors.check(num_processes >= 1, 'config.parallel.num_processes', num_processes, '1 or more')
  expected = f'0 to {num_processes - 1}, a different one for each process'
  within = 0 <= process_id < num_processes
  errors.check(within, 'config.parallel.process_id', process_id, expected)
  errors.check(wait > 0, 'config.parallel.wait', wait, 'more than 0 seconds')
  host, separator, port = coordinator.rpartition(':')
  if not coordinator and num_processes == 1:
    return
  good = bool(host and separator and port.isdecimal())
  errors.check(good, field, repr(coordinator), 'host:port of process 0')
  # Where jax cannot join, its C++ aborts the process: what is likely to fail is tried before.
  if process_id:
    _reach(field, host, int(port), wait)
  else:
    _listen(field, int(port))
  failed = []

  def initialize():
    try:
      jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=int(wait) + 3600,
        shutdown_timeout_seconds=int(wait) + 1,
      )
    except Exception as error:
      failed.append(error)

  joining = threading.Thread(target=initialize, daemon=True)
  joining.start()
  joining.join(wait)
  found = f'not all of {num_processes} processes after {wait:g} s'
  errors.check(not joining.is_alive(), 'config.parallel.num_processes', found, 'as many as started')
  if failed:
    raise errors.InputError(f'{field}: found {failed[0]}, expected {coordinator} to answer')


def _reach(field, host, port, wait):
  deadline, reason = time.monotonic() + wait, None
  while time.monotonic() < deadline:
    try:
      socket.create_connection((host, port), timeout=wait).close()
      return
    except OSError as error:
      reason = error
      time.sleep(0.2)
  found = f'{host}:{port} unreachable for {wait:g} s ({reason})'
  raise errors.InputError(f'{field}: found {found}, expected process 0 to listen there')


def _listen(field, port):
  try:
    socket.create_server(('', port)).close()
  except OSError as error:
    found = f'port {port} not free ({error})'
    raise errors.InputError(f'{field}: found {found}, expected one to listen on') from error


def leads() -> bool:
  """Whether this process is the one that acts, logs and saves."""
  return jax.process_index() == 0


def any_process(condition: bool) -> bool:
  """Whether `condition` holds in any process; all must ask."""
  if jax.process_count() == 1:
    return condition
  return bool(_together(multihost_utils.process_allgather, np.int32(condition)).any())


def on_leader(function: Callable[[], T]) -> T:
  """What `function` returns in the leader, in every process; all must call this.

  Raises:
    Exception: in all, what it raises in the leader.
  """
  if jax.process_count() == 1:
    return function()
  outcome: Any = None
  if leads():
    try:
      outcome = function(), None
    except Exception as error:  # The others wait: they must hear of it.
      outcome = None, error
  told = _broadcast(outcome)
  value, error = outcome or told
  if error is not None:
    raise error
  return value


def only_leader(function: Callable[[], Any]) -> Any:
  """What `function` returns in the leader; None in the others, which do not call it.

  Raises:
    Exception: in all, what it raises in the leader.
  """
  returned = []
  on_leader(lambda: returned.append(function()))
  return returned[0] if returned else None


def check_same(settings: Mapping[str, Any]) -> None:
  """Raises `InputError` in every process if any has other settings than the leader."""
  different = configuration.differences(on_leader(lambda: settings), settings)
  found = '; '.join(different) or 'other settings in another process'
  same = not any_process(bool(different))
  errors.check(same, 'processes', found, 'the same settings in all')


def gather(tree: Any) -> Any:
  """A pytree of `[D, ...]`, whose rows are spread over the processes, whole in each of them."""
  if jax.process_count() == 1:
    return tree
  return _together(multihost_utils.process_allgather, tree, tiled=True)


def on_host(tree: Any) -> Any:
  """A replicated pytree as one of several processes can save it: in NumPy, and its own copy."""
  return tree if jax.process_count() == 1 else jax.tree.map(np.array, tree)


def _together(function, *arguments, **options):
  """What all processes call; jax raises a ValueError of its own where one of them is gone."""
  try:
    return function(*arguments, **options)
  except (ValueError, jax.errors.JaxRuntimeError) as error:
    raise ConnectionError(f'another process is gone: {error}') from error


def _broadcast(value):
  """The leader's `value`; as bytes, since numbers would lose the sign of a zero."""
  data = np.frombuffer(pickle.dumps(value) if leads() else b'', np.uint8)
  broadcast = functools.partial(_together, multihost_utils.broadcast_one_to_all)
  chunks, rest = broadcast(np.array(divmod(len(data), _CHUNK), np.int32))
  size = int(chunks) * _CHUNK + int(rest)
  received = []
  for start in range(0, size, _CHUNK):
    length = min(_CHUNK, size - start)
    # Few lengths, so that few programs are compiled.
    block = np.zeros(1 << (length - 1).bit_length(), np.uint8)
    if leads():
      block[:length] = data[start : start + length]
    received.append(broadcast(block)[:length])
  return pickle.loads(np.concatenate(received).tobytes())

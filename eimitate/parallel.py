"""The only place that knows of devices.

A learner's function works on one device's share and takes `axis_name`; here it is mapped over
devices. Learner state and demonstrations are replicated, unstacked; the replay is sharded on a
leading device axis.
"""

from collections.abc import Callable, Sequence
import os

import jax
import jax.numpy as jnp

from eimitate import errors

AXIS_NAME = 'devices'
_MOST_DEVICES = 4


def prepare_cpu_devices(requested: int = 0) -> None:
  """Makes one CPU device per core (up to 4); call it before jax touches a device.

  On small networks two CPU devices are about twice as fast as one: XLA's own threads gain little.
  """
  count = requested or min(len(os.sched_getaffinity(0)), _MOST_DEVICES)
  try:
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError:  # The backend is up already, as in a notebook: use what it has.
    pass


def choose_devices(requested: int, rows: int) -> list[jax.Device]:
  """The devices to learn on.

  Args:
    requested: a number, or 0 for the largest one up to 4 that divides `rows`.
    rows: of the batch, that devices share evenly.

  Raises:
    InputError: if there are not that many devices, or they do not divide the half batch.
  """
  available = jax.local_devices()
  if not requested:
    most = min(len(available), _MOST_DEVICES)
    requested = max(n for n in range(1, most + 1) if rows % n == 0)
  field = 'config.parallel.devices'
  enough = 1 <= requested <= len(available)
  errors.check(enough, field, requested, f'1 to {len(available)}, as many as there are')
  divides = rows % requested == 0
  errors.check(divides, field, requested, f'a divisor of {rows}, the rows to share')
  return available[:requested]


def map_update(update: Callable, devices: Sequence[jax.Device]) -> Callable:
  """Maps `update(state, rng_key, replay, demonstrations) -> (state, metrics)` over devices.

  `update` must make state and metrics equal on all devices (`pmean` over `AXIS_NAME`). The state is
  donated.
  """
  return jax.pmap(
    update,
    axis_name=AXIS_NAME,
    in_axes=(None, None, 0, None),
    out_axes=None,
    devices=devices,
    donate_argnums=(0,),
  )


def map_shards(function: Callable, devices: Sequence[jax.Device]) -> Callable:
  """Maps a function of stacked arguments `[D, ...]` over devices; the first one is donated."""
  return jax.pmap(function, axis_name=AXIS_NAME, devices=devices, donate_argnums=(0,))


def replicate(tree, devices: Sequence[jax.Device]):
  """A pytree on every device, unstacked, laid out as `map_update` returns it.

  The axis has the same name, or the next call would compile anew.
  """
  copy = jax.pmap(
    lambda tree, _: tree, AXIS_NAME, in_axes=(None, 0), out_axes=None, devices=devices
  )
  return copy(tree, jnp.zeros(len(devices)))


def stack(tree, devices: Sequence[jax.Device]):
  """`D` copies of a pytree on a leading axis, one per device."""
  copy = jax.pmap(lambda tree, _: tree, AXIS_NAME, in_axes=(None, 0), devices=devices)
  return copy(tree, jnp.zeros(len(devices)))


def first_copy(tree):
  """A replicated pytree on one device, for acting."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)

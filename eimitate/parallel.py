"""The only place that knows of devices.

A learner's function works on one device's share and takes `axis_name`; here it is mapped over
devices. Learner state and demonstrations are replicated, unstacked; the replay is sharded on a
leading device axis.
"""

from collections.abc import Callable, Sequence
import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

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


class Placement(NamedTuple):
  """How a run lies on its devices.

  devices: what it runs on.
  map_update: maps `update(state, rng_key, replay, demonstrations) -> (state, replay, metrics)` over
    devices. `update` must make state and metrics equal on all devices (`pmean` over `AXIS_NAME`);
    the replay is each device's own, `[D, ...]`. State and replay are donated.
  map_shards: maps a function of stacked arguments `[D, ...]`; the first one is donated.
  replicate: a pytree on every device, unstacked, laid out as `map_update` returns it.
  shard: spreads a pytree of `[D, ...]`, one row per device.
  stack: `D` copies of a pytree on a leading axis, one per device.
  """

  devices: Sequence[jax.Device]
  map_update: Callable[[Callable], Callable]
  map_shards: Callable[[Callable], Callable]
  replicate: Callable[[Any], Any]
  shard: Callable[[Any], Any]
  stack: Callable[[Any], Any]


def place(backend: str, devices: Sequence[jax.Device]) -> Placement:
  """A run on `devices`, by `pmap` or `shard_map`: the same results.

  Raises:
    InputError: on another backend.
  """
  field = 'config.parallel.backend'
  errors.check(backend in _BACKENDS, field, repr(backend), ' or '.join(_BACKENDS))
  return _BACKENDS[backend](devices)


def _by_pmap(devices):
  mapped = functools.partial(jax.pmap, axis_name=AXIS_NAME, devices=devices)

  # All have the same axis name, or the next call would compile anew.
  def replicate(tree):
    return mapped(lambda x, _: x, in_axes=(None, 0), out_axes=None)(tree, jnp.zeros(len(devices)))

  def stack(tree):
    return mapped(lambda x, _: x, in_axes=(None, 0))(tree, jnp.zeros(len(devices)))

  return Placement(
    devices=devices,
    map_update=functools.partial(
      mapped, in_axes=(None, None, 0, None), out_axes=(None, 0, None), donate_argnums=(0, 2)
    ),
    map_shards=functools.partial(mapped, donate_argnums=(0,)),
    replicate=replicate,
    shard=mapped(lambda x: x),
    stack=stack,
  )


def _by_shard_map(devices):
  mesh = jax.make_mesh((len(devices),), (AXIS_NAME,), axis_types=(AxisType.Auto,), devices=devices)
  everywhere, own = PartitionSpec(), PartitionSpec(AXIS_NAME)
  # A shard keeps the leading axis, at length 1; the mapped functions know nothing of it.
  first = lambda tree: jax.tree.map(lambda x: x[0], tree)
  again = lambda tree: jax.tree.map(lambda x: x[None], tree)

  def mapped(function, in_specs, out_specs, donate):
    # Checked, it would multiply averaged gradients by the number of devices.
    sharded = jax.shard_map(
      function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
    return jax.jit(sharded, donate_argnums=donate)

  def map_update(update):
    def one(state, rng_key, replay, demonstrations):
      state, replay, metrics = update(state, rng_key, first(replay), demonstrations)
      return state, again(replay), metrics

    in_specs = (everywhere, everywhere, own, everywhere)
    return mapped(one, in_specs, (everywhere, own, everywhere), (0, 2))

  def map_shards(function):
    return mapped(lambda *arguments: again(function(*map(first, arguments))), own, own, (0,))

  def shard(tree):
    return jax.device_put(tree, NamedSharding(mesh, own))

  def stack(tree):
    copy = lambda x: jnp.broadcast_to(x, (len(devices),) + jnp.shape(x))
    return shard(jax.tree.map(copy, tree))

  return Placement(
    devices=devices,
    map_update=map_update,
    map_shards=map_shards,
    replicate=lambda tree: jax.device_put(tree, NamedSharding(mesh, everywhere)),
    shard=shard,
    stack=stack,
  )


_BACKENDS = {'pmap': _by_pmap, 'shard_map': _by_shard_map}


def first_copy(tree):
  """A replicated pytree on one device, for acting."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)

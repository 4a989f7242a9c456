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
import numpy as np

from eimitate import errors
from eimitate import memory

AXIS_NAME = 'devices'
_MOST_DEVICES = 4


def prepare_cpu_devices(requested: int = 0) -> None:
  """Makes one CPU device per core (up to 4); call it before jax touches a device.

  Two CPU devices on two cores are 1.1 to 1.3 times as fast as one (experiments/results/benchmark).
  More than there are cores are made up to 4, to try things out, or by JAX_NUM_CPU_DEVICES.
  """
  if jax.config.jax_num_cpu_devices > 0:  # pyrefly: ignore[missing-attribute]
    return
  cores = len(os.sched_getaffinity(0))
  count = min(requested, max(cores, _MOST_DEVICES)) if requested else min(cores, _MOST_DEVICES)
  try:
    jax.config.update('jax_num_cpu_devices', count)
  except RuntimeError:  # The backend is up already, as in a notebook: use what it has.
    pass


def choose_devices(requested: int, rows: int, most: int = _MOST_DEVICES) -> list[jax.Device]:
  """The devices to learn on, as many of each process.

  Args:
    requested: a number, or 0 for the largest one up to 4 per process that divides `rows`.
    rows: of the batch, that devices share evenly.
    most: as many as there is use for, where the number is not given.

  Raises:
    InputError: if there are not that many devices, or they do not divide the rows.
  """
  processes = jax.process_count()
  available = [jax.local_devices(process) for process in range(processes)]
  _check_platforms(sum(available, []))
  each = min(map(len, available))
  if not requested:
    per_process = range(1, min(each, _MOST_DEVICES) + 1)
    fits = lambda count: rows % count == 0 and count <= max(most, processes)
    requested = max(filter(fits, (processes * n for n in per_process)), default=0)
    expected = f'a divisor of {rows}, the rows to share'
    errors.check(requested > 0, 'config.parallel.num_processes', processes, expected)
  field = 'config.parallel.devices'
  enough = 1 <= requested <= processes * each
  expected = f'1 to {processes * each}, as many as there are'
  if available[0][0].platform == 'cpu':
    expected += '; JAX_NUM_CPU_DEVICES makes more'
  errors.check(enough, field, requested, expected)
  even = requested % processes == 0
  errors.check(even, field, requested, f'a multiple of {processes}, the processes to share them')
  divides = rows % requested == 0
  errors.check(divides, field, requested, f'a divisor of {rows}, the rows to share')
  return [device for devices in available for device in devices[: requested // processes]]


def _check_platforms(devices):
  platforms = sorted({device.platform for device in devices})
  expected = 'one platform: set JAX_PLATFORMS, the same for every process'
  errors.check(len(platforms) == 1, 'devices', ' and '.join(platforms), expected)


def free_bytes(devices: Sequence[jax.Device]) -> float:
  """Memory that each of the devices has left; infinite where nothing says how much.

  Of several processes' devices, those of this one.
  """
  devices = [x for x in devices if x.process_index == jax.process_index()]
  stats = [device.memory_stats() or {} for device in devices]
  if all('bytes_limit' in found for found in stats):
    return min(found['bytes_limit'] - found['bytes_in_use'] for found in stats)
  return memory.free_bytes() / len(devices)  # CPU devices share the machine's.


class Placement(NamedTuple):
  """How a run lies on its devices.

  devices: what it runs on.
  map_update: maps `update(state, rng_key, replay, demonstrations) -> (state, replay, metrics)` over
    devices. `update` must make state and metrics equal on all devices (`pmean` over `AXIS_NAME`);
    the replay is each device's own, `[D, ...]`. State and replay are donated.
  map_shards: maps a function of stacked arguments `[D, ...]`; the first one is donated.
  replicate: a pytree on every device, unstacked, laid out as `map_update` returns it.
  shard: spreads a pytree of `[D, ...]`, the same in every process, one row per device.
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
    InputError: on another backend, or devices of several platforms.
  """
  _check_platforms(devices)
  field = 'config.parallel.backend'
  errors.check(backend in _BACKENDS, field, repr(backend), ' or '.join(_BACKENDS))
  return _BACKENDS[backend](devices)


def _by_pmap(devices):
  mapped = functools.partial(jax.pmap, axis_name=AXIS_NAME, devices=devices)
  # A process sees the rows of its own devices only.
  own = [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]

  # All have the same axis name, or the next call would compile anew.
  def replicate(tree):
    if not jax.tree.leaves(tree):
      return tree
    return mapped(lambda x, _: x, in_axes=(None, 0), out_axes=None)(tree, jnp.zeros(len(own)))

  spread = mapped(lambda x: x)

  def shard(tree):
    return spread(jax.tree.map(lambda x: x[own[0] : own[-1] + 1], tree))

  def stack(tree):
    return mapped(lambda x, _: x, in_axes=(None, 0))(tree, jnp.zeros(len(own)))

  return Placement(
    devices=devices,
    map_update=functools.partial(
      mapped, in_axes=(None, None, 0, None), out_axes=(None, 0, None), donate_argnums=(0, 2)
    ),
    map_shards=functools.partial(mapped, donate_argnums=(0,)),
    replicate=replicate,
    shard=shard,
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

  def put(tree, spec):
    sharding = NamedSharding(mesh, spec)
    one = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
    return jax.tree.map(lambda x: one(np.asarray(x)), tree)

  def stack(tree):
    copy = lambda x: np.broadcast_to(x, (len(devices),) + np.shape(x))
    return put(jax.tree.map(copy, tree), own)

  return Placement(
    devices=devices,
    map_update=map_update,
    map_shards=map_shards,
    replicate=lambda tree: put(tree, everywhere),
    shard=lambda tree: put(tree, own),
    stack=stack,
  )


_BACKENDS = {'pmap': _by_pmap, 'shard_map': _by_shard_map}


def first_copy(tree):
  """A replicated pytree on one device, for acting."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)

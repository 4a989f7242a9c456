"""Host actors with Ray: each worker has environments of its own, on whatever node Ray puts it."""

import collections
from collections.abc import Callable
import logging
from typing import Any

import jax

from eimitate import acting
from eimitate import errors


def start(
  make_act: Callable[[], Callable],
  make_environments: Callable[[], Any],
  stack: int,
  workers: int,
) -> acting.Collect:
  """Actors in Ray workers, on the cluster that `RAY_ADDRESS` names or else on this host.

  A worker that dies, or can do nothing, costs the episodes that it was in: they count as failures,
  and another worker takes its place. Episodes are those that `acting.on_host` would record.

  Args:
    make_act: makes an agent's `act`, compiled, in a worker.
    make_environments: makes a worker's dm_env environments, as many in each.
    stack: see `acting.collect_episodes`.
    workers: how many; each has an equal part of the seeds.

  Raises:
    InputError: if Ray is not installed, or there is no such cluster.
  """
  field = 'config.actors.placement'
  try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
  except ImportError as error:
    expected = 'the package: pip install ray'
    raise errors.InputError(f"{field}: found 'ray' without it, expected {expected}") from error
  if not ray.is_initialized():
    try:
      ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
      reason = ' '.join(str(error).split())[:200]
      raise errors.InputError(f'{field}: found {reason}, expected a Ray cluster') from error
  remote = ray.remote(_Worker)

  def begin(number):
    # On all living nodes in turn; Ray's own spreading may put all on one.
    alive = (node for node in ray.nodes() if node['Alive'] and node['Resources'].get('CPU'))
    nodes = sorted(node['NodeID'] for node in alive)
    there = NodeAffinitySchedulingStrategy(nodes[number % len(nodes)], soft=True)
    placed = remote.options(scheduling_strategy=there)
    return placed.remote(make_act, make_environments, stack, number, workers)

  actors: list[Any] = [begin(number) for number in range(workers)]

  def collect(params, rng_key, temperature, seeds):
    shared = ray.put((jax.device_get(params), jax.random.key_data(rng_key), temperature))
    each = len(seeds) // workers
    parts = [seeds[number * each :][:each] for number in range(workers)]
    under_way = [actor.collect.remote(shared, part) for actor, part in zip(actors, parts)]
    trajectories, failures, reason = [], collections.Counter(), None
    for number, future in enumerate(under_way):
      try:
        recorded, failed = ray.get(future)
      except ray.exceptions.RayError as error:
        # An error of a worker's carries its whole traceback; the last line says what it was.
        reason, last = error, str(error).strip().split('\n')[-1]
        logging.warning('Worker %d is replaced: %s: %s', number, type(error).__name__, last)
        actors[number] = begin(number)
        recorded, failed = [None] * each, {type(error).__name__: each}
      trajectories += recorded
      failures.update(failed)
    if not any(trajectories):
      raise errors.EnvironmentsFailed('every worker failed before a step') from reason
    return acting.Collected(trajectories, failures)

  return collect


class _Worker:
  """One of Ray's actors."""

  def __init__(self, make_act, make_environments, stack, number, workers):
    # The learner's accelerators are its own, and on every node the same episodes come out.
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', 1)
    self._collect = acting.on_host(make_act(), make_environments(), stack, number, workers)

  def collect(self, shared, seeds):
    """One episode for each seed."""
    params, key_data, temperature = shared
    return self._collect(params, jax.random.wrap_key_data(key_data), temperature, seeds)

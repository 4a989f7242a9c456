"""A round's episodes, acted and pushed: by actors on the host, in Ray's workers or on device."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from eimitate import acting
from eimitate import acting_on_device
from eimitate import acting_with_ray
from eimitate import errors
from eimitate import evaluation
from eimitate import inputs as inputs_lib
from eimitate import parallel
from eimitate import processes
from eimitate import runs
from eimitate import states
from eimitate import types
from eimitate.replay import episodes


class Round(NamedTuple):
  """What was collected.

  agent_steps: how many. episodes, stored: begun, and how many of them were recorded.
  mean_return: the task's, per episode that was recorded.
  failures: by what raised, how many episodes ended because their environment failed.
  """

  agent_steps: int
  episodes: int
  stored: int
  mean_return: float
  failures: Mapping[str, int]

  @property
  def metrics(self) -> dict[str, float]:
    """As they are logged."""
    each = {f'collect/failed_episodes/{name}': n for name, n in sorted(self.failures.items())}
    failed = sum(self.failures.values())
    return {'collect/mean_return': self.mean_return, 'collect/failed_episodes': failed} | each


# `(state, rng_key, temperature) -> (state, Round)`: one episode per actor, and all in the replay.
Collect = Callable[[states.State, chex.PRNGKey, np.float32], tuple[states.State, Round]]


def make_collect(
  run: runs.Run,
  agent: types.Agent,
  inputs: inputs_lib.Inputs,
  placement: parallel.Placement,
  once: Callable[[Callable], Callable],
) -> Collect:
  """Starts the actors that `run.config.actors` asks for.

  Args:
    run, agent, inputs, placement: of the run.
    once: wraps what must be traced only once.

  Raises:
    InputError: if there is no Ray where it is asked for.
  """
  if run.config.actors.placement == 'device':
    return _on_device(agent, inputs, placement, once)
  act = processes.only_leader(lambda: _start_actors(run, agent, inputs, once))
  push = _make_push(agent, placement, inputs.longest + 1, once)
  count = len(inputs.environments) * run.config.actors.workers

  def collect(state, rng_key, temperature):
    params = parallel.first_copy(agent.params(state.learner))
    first, stored = state.counters['episodes'], state.counters['stored']
    seeds = [_episode_seed(run.seed, first + i) for i in range(count)]
    trajectories, failures = processes.on_leader(lambda: act(params, rng_key, temperature, seeds))
    recorded = [trajectory for trajectory in trajectories if trajectory]
    if not recorded:
      raise errors.EnvironmentsFailed(f'every environment failed before a step: {dict(failures)}')
    done = Round(
      agent_steps=sum(len(trajectory.actions) for trajectory in recorded),
      episodes=count,
      stored=len(recorded),
      mean_return=float(np.mean([trajectory.task_return for trajectory in recorded])),
      failures=failures,
    )
    return state._replace(replay=push(state.replay, recorded, stored)), done

  return collect


def _start_actors(run, agent, inputs, once) -> acting.Collect:
  config, stack = run.config, inputs.spec.stack
  if config.actors.placement == 'host':
    return acting.on_host(jax.jit(once(agent.act)), inputs.environments, stack)
  # Of what is here only this is sent to the workers.
  make_agent, agent_config, spec = (
    evaluation.AGENTS[run.agent].make_agent,
    run.agent_config,
    inputs.spec,
  )
  described = (
    run.task,
    inputs.action_repeat,
    config.environment,
    config.frame_size,
    config.actors.num,
  )
  return acting_with_ray.start(
    lambda: jax.jit(make_agent(agent_config, spec).act),
    lambda: evaluation.make_environments(*described),
    stack,
    config.actors.workers,
  )


def _on_device(agent, inputs, placement, once) -> Collect:
  """Only totals come to the host."""
  devices, count = len(placement.devices), len(inputs.environments)
  filler = acting_on_device.make_filler(agent, inputs.environments.share(devices))
  fill = placement.map_update(once(filler))

  def collect(state, rng_key, temperature):
    learner, replay, totals = fill(state.learner, rng_key, state.replay, temperature)
    totals = jax.device_get(totals)
    if not totals['agent_steps']:
      raise errors.EnvironmentsFailed('every environment failed before a step')
    failed = int(totals['failures'])
    done = Round(
      agent_steps=int(totals['agent_steps']),
      episodes=count,
      stored=count,
      mean_return=float(totals['returns']) / count,
      failures={'not_finite': failed} if failed else {},
    )
    return state._replace(learner=learner, replay=replay), done

  return collect


def _make_push(agent, placement, rows_most, once) -> Callable[..., Any]:
  """`(replay, trajectories, first) -> replay`: episodes are dealt to the shards by their number."""
  devices, add = len(placement.devices), placement.map_shards(once(agent.add))

  def push(replay, trajectories, first):
    for number, trajectory in enumerate(trajectories, first):
      for part in episodes.parts(trajectory, rows_most - 1):
        rows = episodes.to_rows(part)
        padded = episodes.pad_rows(rows, rows_most)
        # Every shard sees the episode; only one takes it.
        taken = np.where(np.arange(devices) == number % devices, len(rows.reward), 0)
        stacked = jax.tree.map(lambda x: np.broadcast_to(x, (devices,) + x.shape), padded)
        replay = add(replay, *placement.shard((stacked, taken.astype(np.int32))))
    return replay

  return push


def _episode_seed(seed: int, episode: int) -> int:
  """A seed in [0, 2^32) for one episode of one run."""
  return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])

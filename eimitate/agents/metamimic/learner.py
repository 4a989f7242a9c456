"""Two D4PG learners over shared experience (MetaMimic, Algorithms 1 to 4).

The imitation learner samples what actors did with a goal before them, by priority; the task
learner samples all that any actor did, uniformly. Either sees its own reward and discount.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate import types
from eimitate.agents import d4pg
from eimitate.agents.d4pg import config as d4pg_config
from eimitate.agents.metamimic import config as config_lib
from eimitate.agents.metamimic import networks
from eimitate.replay import episodes

_TASK, _TRACKING = 0, 1


class Both(NamedTuple):
  """One of each learner's: parameters, states, replays."""

  imitation: Any
  task: Any


def make_agent(config: config_lib.Config, spec: types.EnvironmentSpec) -> types.Agent:
  """Builds MetaMimic for an environment that shows goals.

  Args:
    config: settings.
    spec: of observations with a goal and steps with two rewards, the task's and tracking's.

  Returns:
    A `types.Agent` whose parameters, state and replay are `Both`. It acts with the imitation
    policy where an observation has a goal, and with the task policy where it has none.

  Raises:
    InputError: if a setting is out of range, or observations have no goals.
  """
  two = spec.goal > 0 and spec.rewards == 2
  errors.check(two, 'environment', 'no goals', 'one that follows demonstrations')
  for name in Both._fields:
    d4pg_config.validate(getattr(config, name), f'config.{name}')
    shown, expected = getattr(config, name).demonstration_fraction, '0: actions are not known'
    errors.check(not shown, f'config.{name}.demonstration_fraction', shown, expected)
  alone = networks.task_spec(spec)
  imitation = d4pg.make_agent(config.imitation, spec._replace(rewards=1))
  task = d4pg.make_agent(config.task, alone)

  def init(rng_key, params=None):
    imitation_key, task_key = jax.random.split(rng_key)
    params = params or Both(None, None)
    return Both(imitation.init(imitation_key, params.imitation), task.init(task_key, params.task))

  def choose(observations, by_imitation, by_task):
    imitates = networks.has_goal(spec, observations)[:, None]
    return jnp.where(imitates, by_imitation, by_task)

  def act(params, rng_key, observations, temperature):
    imitation_key, task_key = jax.random.split(rng_key)
    seen = networks.without_goal(spec, observations)
    return choose(
      observations,
      imitation.act(params.imitation, imitation_key, observations, temperature),
      task.act(params.task, task_key, seen, temperature),
    )

  def act_greedily(params, rng_key, observations):
    seen = networks.without_goal(spec, observations)
    return choose(
      observations,
      imitation.act_greedily(params.imitation, rng_key, observations),
      task.act_greedily(params.task, rng_key, seen),
    )

  def update(state, rng_key, replay, demonstrations, axis_name=None):
    imitation_key, task_key = jax.random.split(rng_key)
    first, imitation_replay, imitation_metrics = imitation.update(
      state.imitation, imitation_key, replay.imitation, demonstrations, axis_name
    )
    second, task_replay, task_metrics = task.update(
      state.task, task_key, replay.task, demonstrations, axis_name
    )
    metrics = _named('imitation', imitation_metrics) | _named('task', task_metrics)
    return Both(first, second), Both(imitation_replay, task_replay), metrics

  def add(replay, rows, count):
    imitates = networks.has_goal(spec, rows.observation[:1])[0]
    return Both(
      imitation.add(replay.imitation, _of_reward(rows, _TRACKING), jnp.where(imitates, count, 0)),
      task.add(replay.task, _of_reward(_alone(spec, rows), _TASK), count),
    )

  return types.Agent(
    init=init,
    act=act,
    act_greedily=act_greedily,
    update=update,
    params=lambda state: Both(imitation.params(state.imitation), task.params(state.task)),
    init_replay=lambda size: Both(imitation.init_replay(size), task.init_replay(size)),
    add=add,
    reshard=lambda shards, like: Both(
      imitation.reshard(shards.imitation, like.imitation), task.reshard(shards.task, like.task)
    ),
  )


def _of_reward(rows: episodes.Rows, which: int) -> episodes.Rows:
  """Rows as the learner of one reward sees them."""
  return rows._replace(reward=rows.reward[:, which], discount=rows.discount[:, which])


def _alone(spec: types.EnvironmentSpec, rows: episodes.Rows) -> episodes.Rows:
  """Rows without goals."""
  return rows._replace(observation=networks.without_goal(spec, rows.observation))


def _named(learner: str, metrics: types.Metrics) -> dict[str, jax.Array]:
  """`loss/x` of each learner as `loss/LEARNER_x`."""
  return {name.replace('loss/', f'loss/{learner}_'): value for name, value in metrics.items()}

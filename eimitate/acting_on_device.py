"""On-device actors: act and step in one scan, for environments that are jax programs."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import environments as environments_lib
from eimitate import parallel
from eimitate import types
from eimitate.replay import episodes


class Collected(NamedTuple):
  """What `B` environments did.

  rows: `[B, S, ...]`, episodes one after another as the replay lays them out: a row without an
    action stands at each one's end. The last episode of each is cut where the rows end.
  failed: `[B, S - 1]` bool, where an episode ended because a number was not finite.
  """

  rows: episodes.Rows
  failed: jax.Array


def collect(
  act: Callable[[chex.PRNGKey, jax.Array], jax.Array],
  environments: environments_lib.OnDevice,
  rng_key: chex.PRNGKey,
) -> Collected:
  """As many steps of every environment as the longest episode has; pure and jittable.

  An episode that ends earlier is followed by another one, so that no environment waits.

  Args:
    act: `(rng_key, observations [B, O]) -> actions [B, A]`.
    environments: `B` of them.
    rng_key: consumed.
  """
  reset_key, act_key = jax.random.split(rng_key)

  def step(states, key):
    actions = act(key, states.observation)
    following = environments.step(states, actions)
    has_action = ~(states.last | following.failed)
    rows = episodes.Rows(
      states.observation,
      jnp.where(has_action[:, None], actions, 0),
      jnp.where(has_action, following.reward, 0),
      following.discount,
      has_action,
    )
    return following, (rows, following.failed & ~states.last)

  # The first step begins the episodes.
  keys = jax.random.split(act_key, 1 + environments.longest_episode)
  states, (rows, failed) = jax.lax.scan(step, environments.idle(reset_key), keys)
  end = jax.tree.map(lambda x: jnp.zeros_like(x[0]), rows)._replace(observation=states.observation)
  rows = jax.tree.map(lambda x, y: jnp.concatenate([x[1:], y[None]]).swapaxes(0, 1), rows, end)
  return Collected(rows, failed[1:].T)


def make_filler(agent: types.Agent, environments: environments_lib.OnDevice) -> Callable[..., Any]:
  """What collects and pushes on every device, to be mapped over devices as an update is.

  Returns:
    `(learner, rng_key, replay, temperature) -> (learner, replay, totals)`. Every device takes its
    own share of the environments, `environments`, and pushes into its own replay. The totals of all
    devices are `agent_steps`, `failures` and `returns`, the sum over environments of the return of
    the first episode.
  """

  def fill(learner, rng_key, replay, temperature):
    rng_key = jax.random.fold_in(rng_key, jax.lax.axis_index(parallel.AXIS_NAME))
    params = agent.params(learner)
    act = lambda key, observations: agent.act(params, key, observations, temperature)
    rows, failed = collect(act, environments, rng_key)

    def add(replay, rows):
      return agent.add(replay, rows, jnp.int32(len(rows.reward))), None

    replay, _ = jax.lax.scan(add, replay, rows)
    first = jnp.cumprod(rows.has_action, 1)
    totals = {
      'agent_steps': rows.has_action.sum(),
      'failures': failed.sum(),
      'returns': (first * rows.reward).sum(),
    }
    return learner, replay, jax.lax.psum(totals, parallel.AXIS_NAME)

  return fill


@functools.partial(jax.jit, static_argnums=(0, 2))
def _rollout(policy, params, environments, rng_key):
  return collect(functools.partial(policy, params), environments, rng_key)


def rollout(
  policy: Callable[..., jax.Array],
  params: types.Params,
  environments: environments_lib.OnDevice,
  seed: int,
) -> list[types.Trajectory | None]:
  """The first episode of every environment; None where no step of it was done.

  Args:
    policy: `(params, rng_key, observations [B, O]) -> actions [B, A]`.
    params: of the policy.
    environments: `B` of them.
    seed: of their initial states and of the policy's random numbers.
  """
  rows = jax.device_get(_rollout(policy, params, environments, jax.random.key(seed)).rows)
  trajectories = []
  for i, has_action in enumerate(rows.has_action):
    steps = int(np.argmin(has_action))  # The last row never has one.
    trajectory = types.Trajectory(
      rows.observation[i, : steps + 1],
      rows.action[i, :steps],
      rows.reward[i, :steps],
      rows.discount[i, :steps],
    )
    trajectories.append(trajectory if steps else None)
  return trajectories

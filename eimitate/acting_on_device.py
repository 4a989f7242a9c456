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
  saved: `[B, S, ...]`, what each row's simulation can be restored from, where that was asked for.
  """

  rows: episodes.Rows
  failed: jax.Array
  saved: Any = None


def collect(
  act: Callable[[Any, jax.Array], jax.Array],
  environments: environments_lib.OnDevice,
  rng_key: chex.PRNGKey,
  given: Any = None,
  save: bool = False,
) -> Collected:
  """As many steps of every environment as the longest episode has; pure and jittable.

  An episode that ends earlier is followed by another one, so that no environment waits.

  Args:
    act: `(given, observations [B, O]) -> actions [B, A]`.
    environments: `B` of them.
    rng_key: consumed.
    given: `[S - 1, ...]`, what `act` is given at each step; a key by default.
    save: whether to keep what the simulations can be restored from.
  """
  reset_key, act_key = jax.random.split(rng_key)
  if given is None:
    given = jax.random.split(act_key, environments.longest_episode)

  def step(states, given):
    actions = act(given, states.observation)
    following = environments.step(states, actions)
    has_action = ~(states.last | following.failed)
    where = lambda x: jnp.where(has_action.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
    rows = episodes.Rows(
      states.observation,
      where(actions),
      where(following.reward),
      following.discount,
      has_action,
    )
    saved = environments.save(states) if save else None
    return following, (rows, following.failed & ~states.last, saved)

  # The first step begins the episodes, whatever is done in it.
  given = jax.tree.map(lambda x: jnp.concatenate([x[:1], x]), given)
  states, (rows, failed, saved) = jax.lax.scan(step, environments.idle(reset_key), given)
  end = jax.tree.map(lambda x: jnp.zeros_like(x[0]), rows)._replace(observation=states.observation)
  join = lambda x, y: jnp.concatenate([x[1:], y[None]]).swapaxes(0, 1)
  rows = jax.tree.map(join, rows, end)
  saved = jax.tree.map(join, saved, environments.save(states)) if save else None
  return Collected(rows, failed[1:].T, saved)


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
    rows, failed, _ = collect(act, environments, rng_key)

    def add(replay, rows):
      return agent.add(replay, rows, jnp.int32(len(rows.reward))), None

    replay, _ = jax.lax.scan(add, replay, rows)
    first = jnp.cumprod(rows.has_action, 1)
    totals = {
      'agent_steps': rows.has_action.sum(),
      'failures': failed.sum(),
      # Of several rewards the task's is the first.
      'returns': (first * rows.reward.reshape(*first.shape, -1)[..., 0]).sum(),
    }
    return learner, replay, jax.lax.psum(totals, parallel.AXIS_NAME)

  return fill


@functools.partial(jax.jit, static_argnums=(0, 2, 5))
def _rollout(policy, params, environments, rng_key, given, save):
  return collect(functools.partial(policy, params), environments, rng_key, given, save)


def rollout(
  policy: Callable[..., jax.Array],
  params: types.Params,
  environments: environments_lib.OnDevice,
  seed: int,
  given: Any = None,
) -> tuple[list[types.Trajectory | None], int]:
  """The first episode of every environment, None where no step of it was done; how many failed.

  Args:
    policy: `(params, given, observations [B, O]) -> actions [B, A]`.
    params: of the policy.
    environments: `B` of them.
    seed: of their initial states and of the policy's random numbers.
    given: see `collect`; a key by default.
  """
  collected = _rollout(policy, params, environments, jax.random.key(seed), given, False)
  episodes = _first_episodes(collected)
  trajectories = [episode.trajectory if episode else None for episode in episodes]
  return trajectories, sum(_failed(collected, episodes))


def record(
  policy: Callable[..., jax.Array],
  params: types.Params,
  environments: environments_lib.OnDevice,
  seed: int,
  given: Any = None,
) -> list[types.Demonstration | None]:
  """As `rollout`, with the states that an episode can be restored to; None where it failed."""
  collected = _rollout(policy, params, environments, jax.random.key(seed), given, True)
  episodes = _first_episodes(collected)
  return [None if failed else x for x, failed in zip(episodes, _failed(collected, episodes))]


def _failed(collected, episodes) -> list[bool]:
  """Of each first episode whether it ended because its simulation did."""
  failed = jax.device_get(collected.failed)
  steps = [len(episode.trajectory.actions) if episode else 0 for episode in episodes]
  return [bool(row[: count + 1].any()) for row, count in zip(failed, steps)]


def _first_episodes(collected: Collected) -> list[types.Demonstration | None]:
  rows, _, saved = jax.device_get(collected)
  demonstrations: list[types.Demonstration | None] = []
  for i, has_action in enumerate(rows.has_action):
    steps = int(np.argmin(has_action))  # The last row never has one.
    trajectory = types.Trajectory(
      rows.observation[i, : steps + 1],
      rows.action[i, :steps],
      rows.reward[i, :steps],
      rows.discount[i, :steps],
    )
    states = np.zeros((steps + 1, 0))
    if saved is not None:
      states = environments_lib.on_device.to_rows(
        jax.tree.map(lambda x, i=i, end=steps + 1: x[i, :end], saved)
      )
    demonstrations.append(types.Demonstration(trajectory, states, {}) if steps else None)
  return demonstrations

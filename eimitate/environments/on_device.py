"""Environments that are jax programs: a batch of them as two pure functions, as agents see them."""

from collections.abc import Callable, Mapping
import math
from typing import Any, NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import errors
from eimitate import types


class Outcome(NamedTuple):
  """What one step of a simulation leads to.

  observation: `[O]`. reward: `[]`. terminated: `[]` bool; a time limit is not the simulation's.
  """

  observation: jax.Array
  reward: jax.Array
  terminated: jax.Array


class Simulation(NamedTuple):
  """One environment as pure functions, not batched.

  reset: `(rng_key) -> (state, observation [O])`.
  step: `(state, action [A] in [-1, 1]) -> (state, Outcome)`; the state keeps its structure.
  observation_size, action_size: `O` and `A`.
  episode_length: simulation steps until the time limit.
  timestep: seconds of simulated time per step.
  parts: where in an observation each part lies that has a name; empty for one part, `observation`.
  save, restore: `(state) -> saved` and `(saved) -> state`, a pytree of what the rest of a state
    follows from, exactly.
  """

  reset: Callable[[chex.PRNGKey], tuple[Any, jax.Array]]
  step: Callable[[Any, jax.Array], tuple[Any, Outcome]]
  observation_size: int
  action_size: int
  episode_length: int
  timestep: float
  parts: Mapping[str, slice] = {}
  save: Callable[[Any], Any] = lambda state: state
  restore: Callable[[Any], Any] = lambda saved: saved


class States(NamedTuple):
  """Where `B` environments stand.

  simulation: a pytree of `[B, ...]`. observation: `[B, O]`.
  reward: `[B]`, of the last action, summed over its repeat; `[B, R]` where a step has several.
  discount: as the reward; 0 after a termination, 1 after a truncation.
  last: `[B]` bool, whether the episode is over.
  failed: `[B]` bool, whether the last action led to numbers that are not finite. The observation is
    then the one before, and the episode is over.
  env_steps: `[B]` int32, so far in this episode. rng_key: `[B]`, for the episodes to come.
  """

  simulation: Any
  observation: jax.Array
  reward: jax.Array
  discount: jax.Array
  last: jax.Array
  failed: jax.Array
  env_steps: jax.Array
  rng_key: chex.PRNGKey


class OnDevice:
  """`B` of a simulation, with time limit, action repeat and auto-reset; all of it jittable."""

  def __init__(self, simulation: Simulation, action_repeat: int, count: int):
    """Takes `count` of `simulation`.

    Raises:
      InputError: if the repeat is not positive.
    """
    errors.check(action_repeat >= 1, 'action repeat', action_repeat, 'at least 1')
    self._simulation = simulation
    self._count = count
    self.action_repeat = action_repeat

  def __len__(self) -> int:
    """`B`."""
    return self._count

  def share(self, devices: int) -> 'OnDevice':
    """What one of several devices has of them.

    Raises:
      InputError: if the devices do not divide them.
    """
    divides = self._count % devices == 0
    expected = f'a multiple of the {devices} devices (config.parallel.devices)'
    errors.check(divides, 'config.actors.num', self._count, expected)
    return self.of(self._count // devices)

  def of(self, count: int, longest: int = 0) -> 'OnDevice':
    """`count` of the same, whose episodes end after `longest` actions at the most, if not 0."""
    simulation = self._simulation
    if longest:
      length = min(longest * self.action_repeat, simulation.episode_length)
      simulation = simulation._replace(episode_length=length)
    return OnDevice(simulation, self.action_repeat, count)

  @property
  def spec(self) -> types.EnvironmentSpec:
    """What an agent must know."""
    return types.EnvironmentSpec(self._simulation.observation_size, self._simulation.action_size)

  def action_spec(self) -> specs.BoundedArray:
    """`[A]` in [-1, 1], one environment's."""
    return specs.BoundedArray((self._simulation.action_size,), np.float32, -1.0, 1.0, 'action')

  @property
  def parts(self) -> dict[str, slice]:
    """Where in an observation each named part lies."""
    whole = {'observation': slice(0, self._simulation.observation_size)}
    return dict(self._simulation.parts) or whole

  @property
  def longest_episode(self) -> int:
    """Most actions in an episode, by the time limit."""
    return math.ceil(self._simulation.episode_length / self.action_repeat)

  @property
  def control_timestep(self) -> float:
    """Seconds of simulated time per action, the repeat included."""
    return self._simulation.timestep * self.action_repeat

  def save(self, states: States) -> Any:
    """What each environment's simulation can be restored from, `[B, ...]`."""
    return _numbers(jax.vmap(self._simulation.save)(states.simulation))

  def from_rows(self, rows: np.ndarray) -> Any:
    """The saved states `[T, ...]` that `to_rows` made `[T, S]` of (NumPy).

    Raises:
      InputError: if they are none of this simulation.
    """
    begin = lambda: self._simulation.save(self._simulation.reset(jax.random.key(0))[0])
    saved, like = jax.eval_shape(lambda: (begin(), _numbers(begin())))
    leaves, structure = jax.tree.flatten(like)
    sizes = [leaf.size for leaf in leaves]
    errors.check(rows.shape[-1] == sum(sizes), 'state', f'size {rows.shape[-1]}', sum(sizes))
    split = np.split(rows, np.cumsum(sizes)[:-1], -1)
    shaped = [x.reshape(len(x), *leaf.shape).astype(leaf.dtype) for x, leaf in zip(split, leaves)]
    restored = jax.tree.unflatten(structure, shaped)
    wrap = lambda x, was: jax.random.wrap_key_data(x) if _is_key(was) else x
    return jax.tree.map(wrap, restored, saved)

  def reset(self, rng_key: chex.PRNGKey) -> States:
    """Begins an episode in each environment."""
    return self._begin(jax.random.split(rng_key, self._count))

  def idle(self, rng_key: chex.PRNGKey) -> States:
    """What `reset` returns but for zeros, and such that the next step begins an episode.

    A loop over `step` that starts here compiles the beginning of an episode once.
    """
    shapes = jax.eval_shape(lambda: self.reset(rng_key)._replace(rng_key=None))
    states = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    keys = jax.random.split(rng_key, self._count)
    return states._replace(last=jnp.ones(self._count, bool), rng_key=keys)

  def step(self, states: States, actions: jax.Array) -> States:
    """Takes one action in each environment.

    As in dm_env, a step after an episode's last one begins the next episode, whatever the action.

    Args:
      states: where they stand.
      actions: `[B, A]` in [-1, 1].
    """
    chex.assert_shape(actions, (self._count, self._simulation.action_size))
    stepped = jax.vmap(self._act)(states, actions)
    # Some simulations take hundreds of steps to begin: not in every step for the one that ends.
    return jax.lax.cond(
      states.last.any(),
      lambda: _where(states.last, self._begin(states.rng_key), stepped),
      lambda: stepped,
    )

  def _begin(self, rng_keys):
    def one(rng_key):
      rng_key, reset_key = jax.random.split(rng_key)
      simulation, observation = self._simulation.reset(reset_key)
      observation = observation.astype(jnp.float32)
      zero, no = jnp.float32(0), jnp.bool(False)
      return States(simulation, observation, zero, zero + 1, no, no, jnp.int32(0), rng_key)

    return jax.vmap(one)(rng_keys)

  def _act(self, state, action):
    """One action in one environment; the repeat ends early at the episode's end."""
    action = action.astype(jnp.float32)

    def repeat(state, _):
      simulation, outcome = self._simulation.step(state.simulation, action)
      over = state.last | state.failed
      reward = jnp.float32(outcome.reward)
      finite = jnp.isfinite(outcome.observation).all() & jnp.isfinite(reward)
      env_steps = state.env_steps + 1
      terminated = jnp.bool(outcome.terminated)
      # What the simulation is after its end no longer matters, what was seen of it does.
      following = state._replace(
        observation=outcome.observation.astype(jnp.float32),
        reward=state.reward + reward,
        discount=jnp.where(terminated, 0, state.discount),
        last=terminated | (env_steps >= self._simulation.episode_length),
        env_steps=env_steps,
      )
      failed = state._replace(last=jnp.bool(True), failed=jnp.bool(True))
      kept = jax.tree.map(
        lambda old, good, bad: jnp.where(over, old, jnp.where(finite, good, bad)),
        *(x._replace(simulation=None, rng_key=None) for x in (state, following, failed)),
      )
      simulation = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), simulation, before)
      return kept._replace(simulation=simulation, rng_key=state.rng_key), None

    before = state.simulation
    begun = state._replace(reward=jnp.float32(0), discount=jnp.float32(1))
    following, _ = jax.lax.scan(repeat, begun, length=self.action_repeat)
    # What a failed action was given for before it failed does not count: it never happened.
    undone = following.failed
    return following._replace(
      observation=jnp.where(undone, state.observation, following.observation),
      reward=jnp.where(undone, 0, following.reward),
      discount=jnp.where(undone, 1, following.discount),
    )


def to_rows(saved: Any) -> np.ndarray:
  """Saved states `[T, ...]` as rows `[T, S]` float64, which can hold all that they can (NumPy)."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(saved)]
  return np.concatenate([leaf.reshape(len(leaf), -1).astype(np.float64) for leaf in leaves], -1)


def _numbers(tree):
  return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _is_key(leaf):
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _where(condition, chosen, other):
  """Row by row."""

  def one(x, y):
    return jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y)

  return jax.tree.map(one, chosen, other)

"""Following demonstrations where environments are jax programs; `tracking` says what that is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import errors
from eimitate import types
from eimitate.environments import on_device
from eimitate.environments import tracking
from eimitate.rewards import tracking as rewards_lib


class Shown(NamedTuple):
  """`N` demonstrations, padded to the longest one's `L` observations.

  starts: `[N, C, ...]`, what to restore to begin at each of the first `C` steps.
  observations: `[N, L, O]`. parts: by name `[N, L, X]`. lengths: `[N]`, how many are not padding.
  """

  starts: Any
  observations: jax.Array
  parts: Mapping[str, jax.Array]
  lengths: jax.Array


class Following(NamedTuple):
  """Where an environment stands that follows a demonstration, or performs the task.

  simulation: its own state. demonstration: `[]` int32, which one; -1 for none. step: `[]` int32, in
  it. lost: `[]` bool, whether tracking is.
  """

  simulation: Any
  demonstration: jax.Array
  step: jax.Array
  lost: jax.Array


class Follow(on_device.OnDevice):
  """`B` environments: those that follow demonstrations, then those that perform the task.

  As `tracking.Follow` and `tracking.Perform`.
  """

  def __init__(
    self,
    environments: on_device.OnDevice,
    shown: Shown,
    rules: tracking.Rules,
    rewards: Sequence[int] = (tracking.TASK, tracking.TRACKING),
    performers: int = 0,
    task_curriculum: int = 0,
    in_turn: bool = False,
  ):
    """Takes `environments` apart.

    Args:
      environments: how many there are in all, and of what.
      shown: the demonstrations.
      rules: how they are followed; both curricula are at most the `C` first steps of `shown`.
      rewards: which of `tracking.REWARDS` a step has.
      performers: how many perform the task.
      task_curriculum: they begin within so many first steps of a demonstration; 0: as the task.
      in_turn: whether the `i`-th environment always follows the `i`-th demonstration, from its
        beginning, else one drawn anew for each episode.
    """
    super().__init__(environments._simulation, environments.action_repeat, environments._count)
    self._shown, self._rules, self._rewards = shown, rules, tuple(rewards)
    self._performers, self._task_curriculum = performers, task_curriculum
    self._in_turn = in_turn

  def of(self, count: int, longest: int = 0) -> on_device.OnDevice:
    """As many in all; as large a share of them performs."""
    performers = self._performers * count // self._count
    same = performers * self._count == self._performers * count
    expected = f'a multiple of the {self._count // count} devices (config.parallel.devices)'
    errors.check(same, 'config.tracking.task_actors', self._performers, expected)
    plain = super().of(count, longest)
    rules, curriculum = self._rules, self._task_curriculum
    return Follow(plain, self._shown, rules, self._rewards, performers, curriculum, self._in_turn)

  @property
  def spec(self) -> types.EnvironmentSpec:
    """The observation and, behind it, the goal."""
    size = super().spec.observation_size
    return super().spec._replace(observation_size=2 * size, goal=size, rewards=len(self._rewards))

  @property
  def longest_episode(self) -> int:
    """The longest demonstration's or, where some perform, the task's if that is longer."""
    longest = self._shown.observations.shape[1] - 1
    return max(longest, super().longest_episode) if self._performers else longest

  def save(self, states: on_device.States) -> Any:
    """As of the plain environments."""
    return super().save(states._replace(simulation=states.simulation.simulation))

  def _begin(self, rng_keys):
    count = self._count - self._performers
    numbers = jnp.arange(count) if self._in_turn else None
    follow = lambda key, number: self._restore(key, number, self._rules.curriculum)
    begun = jax.vmap(follow)(rng_keys[:count], numbers)
    if not self._performers:
      return begun
    if self._task_curriculum:
      restore = lambda key: self._restore(key, None, self._task_curriculum)
      task = jax.vmap(restore)(rng_keys[count:])
      size = super().spec.observation_size
      task = task._replace(
        simulation=task.simulation.simulation, observation=task.observation[:, :size]
      )
    else:
      task = super()._begin(rng_keys[count:])
    return jax.tree.map(lambda *x: jnp.concatenate(x), begun, jax.vmap(self._perform)(task))

  def _restore(self, rng_key, number, curriculum):
    """Begins to follow a demonstration, drawn where no number is given."""
    rng_key, which_key, step_key = jax.random.split(rng_key, 3)
    if number is None:
      number = jax.random.randint(which_key, (), 0, len(self._shown.lengths))
    step = jax.random.randint(step_key, (), 0, max(curriculum, 1))
    saved = jax.tree.map(lambda x: x[number, step], self._shown.starts)
    simulation = self._simulation.restore(saved)
    observation, no = self._shown.observations[number, step], jnp.bool(False)
    begun = on_device.States(
      simulation, observation, jnp.float32(0), jnp.float32(1), no, no, jnp.int32(0), rng_key
    )
    return self._wrap(begun, Following(simulation, number, step, no))

  def _perform(self, begun):
    """An episode of the task that has just begun."""
    step, no = jnp.int32(0), jnp.bool(False)
    return self._wrap(begun, Following(begun.simulation, jnp.int32(-1), step, no))

  def _wrap(self, begun, following):
    """With the goal, and with as many rewards as a step has."""
    reward = self._several(jnp.zeros(2))
    observation = self._with_goal(begun.observation, following)
    return begun._replace(
      simulation=following, observation=observation, reward=reward, discount=reward + 1
    )

  def _act(self, state, action):
    before = state.simulation
    size = super().spec.observation_size
    following = super()._act(
      state._replace(
        simulation=before.simulation,
        observation=state.observation[:size],
        reward=jnp.float32(0),
        discount=jnp.float32(1),
      ),
      action,
    )
    step, performs = before.step + 1, before.demonstration < 0
    seen = {name: following.observation[place] for name, place in self.parts.items()}
    goal = jax.tree.map(lambda x: x[before.demonstration, step], dict(self._shown.parts))
    parts, cutoff = self._rules.parts, self._rules.cutoff
    # What a failed action led to never happened.
    counts = ~(performs | following.failed)
    reward = jnp.where(counts, rewards_lib.reward(parts, seen, goal), 0)
    lost = before.lost | (counts & rewards_lib.lost(parts, cutoff, seen, goal))
    discount = jnp.where(performs, 1, jnp.where(lost, 0, following.discount))
    followed = ~performs & (step >= self._shown.lengths[before.demonstration] - 1)
    now = Following(following.simulation, before.demonstration, step, lost)
    return following._replace(
      simulation=now,
      observation=self._with_goal(following.observation, now),
      reward=self._several(jnp.stack([following.reward, reward])),
      discount=self._several(jnp.stack([following.discount, discount])),
      last=following.last | followed | (lost & self._rules.ends_when_lost),
    )

  def _with_goal(self, observation, following):
    """Zeros stand for no goal; the last goal stays."""
    number = following.demonstration
    goal = self._shown.observations[
      number, jnp.minimum(following.step + 1, self._shown.lengths[number] - 1)
    ]
    return jnp.concatenate([observation, jnp.where(number < 0, 0, goal)])

  def _several(self, both):
    return both[jnp.array(self._rewards)] if len(self._rewards) > 1 else both[self._rewards[0]]


def show(
  environments: on_device.OnDevice, demonstrations: Sequence[types.Demonstration], starts: int
) -> Shown:
  """Demonstrations as environments on device follow them.

  Args:
    environments: of their task.
    demonstrations: with features observed.
    starts: `C`, at how many of their first steps episodes may begin.

  Raises:
    InputError: if their states are none of the simulation's.
  """
  rows = np.stack([demonstration.states[:starts] for demonstration in demonstrations])
  saved = environments.from_rows(rows.reshape(-1, rows.shape[-1]))
  observations = [demonstration.trajectory.observations for demonstration in demonstrations]
  longest = max(map(len, observations))
  padded = np.stack([np.pad(x, ((0, longest - len(x)), (0, 0)), 'edge') for x in observations])
  return Shown(
    jax.tree.map(lambda x: jnp.asarray(x.reshape(*rows.shape[:2], *x.shape[1:])), saved),
    jnp.asarray(padded, jnp.float32),
    {name: jnp.asarray(padded[..., place]) for name, place in environments.parts.items()},
    jnp.array([len(x) for x in observations], jnp.int32),
  )

"""Every pytree that crosses a folder, with shapes per field.

Letters: `B` batch, `T` actions in an episode, `H` unroll steps, `O` observation size, `A` action
size, `K` sampled actions, `L` latent size.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

Params = chex.ArrayTree
Metrics = Mapping[str, jax.Array]


class EnvironmentSpec(NamedTuple):
  """What an agent must know of an environment; actions always lie in [-1, 1].

  observation_size: `O`, of a vector; 0 where frames are observed. action_size: `A`.
  observation_mean, observation_scale: `O` floats each, typical values and spreads, for agents that
    normalise; empty where nothing is known. Of frames: the background's pixels in [0, 1], one by
    one, and one spread of all.
  frame: height, width and channels of a uint8 image; empty where vectors are observed.
  stack: how many frames, the last ones, an agent sees at once, oldest first along the channels.
  goal: how much of an observation's last axis, at its end, is the goal to reach next; all zero
    where there is none.
  goal_scale: typical spreads of the goals relative to what is observed.
  rewards: how many rewards a step has.
  """

  observation_size: int
  action_size: int
  observation_mean: tuple[float, ...] = ()
  observation_scale: tuple[float, ...] = ()
  frame: tuple[int, ...] = ()
  stack: int = 1
  goal: int = 0
  goal_scale: tuple[float, ...] = ()
  rewards: int = 1

  @property
  def observed(self) -> tuple[int, ...]:
    """Shape of what an agent's networks take: `(O,)`, or height, width, stack x channels."""
    return (*self.frame[:2], self.stack * self.frame[2]) if self.frame else (self.observation_size,)

  @property
  def stored(self) -> jax.ShapeDtypeStruct:
    """Shape and type of one stored observation: a vector, or a single frame."""
    if self.frame:
      return jax.ShapeDtypeStruct(self.frame, np.uint8)
    return jax.ShapeDtypeStruct((self.observation_size,), np.float32)


class Trajectory(NamedTuple):
  """One whole episode on the host (NumPy).

  observations: `[T + 1, O]` float32, or `[T + 1, height, width, channels]` uint8 frames; the last
    one follows the last action.
  actions: `[T, A]` float32 in [-1, 1]; a width of 0 means that they are not known.
  rewards: `[T]` float32, the task's own, summed over the action repeat.
  discounts: `[T]` float32; 0 marks a termination. A time limit is a truncation: 1.

  Where a step has several rewards, the task's is the first, and both arrays are `[T, rewards]`:
  what ends one objective need not end another.
  """

  observations: np.ndarray
  actions: np.ndarray
  rewards: np.ndarray
  discounts: np.ndarray

  @property
  def task_return(self) -> float:
    """The undiscounted sum of the task's rewards."""
    return float(self.rewards.reshape(len(self.rewards), -1)[:, 0].sum())


class Window(NamedTuple):
  """Consecutive steps of one episode, padded past its end.

  observations: `[B, H + 2, O]`, or `[B, H + 2, height, width, stack x channels]` uint8; rows past
    the end repeat the last observation.
  actions: `[B, H + 1, A]`; rows past the end are zero.
  rewards: `[B, H + 1]`.
  discounts: `[B, H + 1]`; 0 after a termination.
  observation_mask: `[B, H + 2]`, 1 where the observation belongs to the episode.
  action_mask: `[B, H + 1]`, 1 where the transition belongs to the episode.
  """

  observations: jax.Array
  actions: jax.Array
  rewards: jax.Array
  discounts: jax.Array
  observation_mask: jax.Array
  action_mask: jax.Array


class Demonstration(NamedTuple):
  """One recorded episode with what it takes to replay it exactly (NumPy).

  trajectory: the steps.
  states: `[T + 1, S]` float64, before each action and at the end: MuJoCo's integration state, or
    what a simulation on device is restored from; a width of 0 means that they are not known.
  model_fields: per-episode model arrays that the task randomises, by MuJoCo's names.
  features: `[T + 1, O]` float32, what was recorded as observations where frames took their place.
  """

  trajectory: Trajectory
  states: np.ndarray
  model_fields: Mapping[str, np.ndarray]
  features: np.ndarray | None = None


class SearchOutput(NamedTuple):
  """What a search says of a batch of roots.

  value: `[B]` root value.
  actions: `[B, K, A]` the sampled root actions.
  weights: `[B, K]` the improved policy over them, summing to 1.
  selected: `[B]` int32, index of the action that the search would act with.
  """

  value: jax.Array
  actions: jax.Array
  weights: jax.Array
  selected: jax.Array


class Agent(NamedTuple):
  """An agent as pure functions; `state` is its learner's pytree.

  init: `(rng_key, params=None) -> state`; parameters given are started from.
  act: `(params, rng_key, observations [B, O], temperature) -> actions [B, A]`, to collect data.
  act_greedily: `(params, rng_key, observations [B, O]) -> actions [B, A]`, to evaluate.
  update: `(state, rng_key, replay, demonstrations, axis_name) -> (state, replay, metrics)`, one
    gradient step on one device's share of the batch; gradients are averaged over `axis_name` if
    given. The replay comes back as it was, but for its priorities where it has any.
  params: `(state) -> params`, what acting needs.
  init_replay: `(capacity) -> replay`, one device's, with room for so many steps.
  add: `(replay, rows, count) -> replay`, one episode of `count` rows as `replay.episodes` lays it
    out, padded; a count of 0 adds nothing.
  reshard: `(replays [D, ...], like [E, ...]) -> replays [E, ...]`, on the host: what `D` devices
    had in their replays, for `E` devices that have empty ones.
  diagnose: `(state, rng_key, replay, demonstrations, evaluated) -> metrics`, what a person asks of
    an agent at evaluation, where it offers that; `evaluated` is an `episodes.Replay` of the
    evaluation's episodes. It changes nothing.
  """

  init: Callable[..., Any]
  act: Callable[[Params, chex.PRNGKey, jax.Array, jax.Array], jax.Array]
  act_greedily: Callable[[Params, chex.PRNGKey, jax.Array], jax.Array]
  update: Callable[..., tuple[Any, Any, Metrics]]
  params: Callable[[Any], Params]
  init_replay: Callable[[int], Any]
  add: Callable[[Any, Any, jax.Array], Any]
  reshard: Callable[[Any, Any], Any]
  diagnose: Callable[..., Metrics] | None = None

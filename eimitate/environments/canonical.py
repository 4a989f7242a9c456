"""Any dm_env environment as agents see it."""

from collections.abc import Mapping

import dm_env
from dm_env import specs
import numpy as np

from eimitate import errors


class Canonical(dm_env.Environment):
  """Flattens observations, maps actions from [-1, 1] and repeats them.

  Observations: whatever parts the environment has, in its own order, as one `[O]` float32 vector.
  Actions: `[A]` in [-1, 1], mapped linearly onto the environment's bounds.
  Rewards: summed over the repeat; a repeat ends early at an episode's end.
  """

  def __init__(self, environment: dm_env.Environment, action_repeat: int = 1):
    """Wraps `environment`.

    Raises:
      InputError: if its actions are not one bounded vector, or the repeat is not positive.
    """
    errors.check(action_repeat >= 1, 'action repeat', action_repeat, 'at least 1')
    spec = environment.action_spec()
    bounded = isinstance(spec, specs.BoundedArray) and len(spec.shape) == 1
    errors.check(bounded, 'action spec', spec, 'a dm_env BoundedArray with one dimension')
    finite = bool(np.isfinite(spec.minimum).all() and np.isfinite(spec.maximum).all())
    errors.check(finite, 'action spec', spec, 'finite bounds')
    self._environment = environment
    if hasattr(environment, 'render'):
      self.render = environment.render
    self.action_repeat = action_repeat
    self._spec = spec
    self._offset = np.broadcast_to((spec.maximum + spec.minimum) / 2, spec.shape)
    self._scale = np.broadcast_to((spec.maximum - spec.minimum) / 2, spec.shape)

  @property
  def longest_episode(self) -> int:
    """Most actions in an episode; 0 where that is not known."""
    return 0

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode."""
    return self._flatten(self._environment.reset())

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    """Applies `action` `[A]` for `action_repeat` environment steps."""
    action = self._offset + self._scale * np.asarray(action, np.float64)
    action = np.clip(action, self._spec.minimum, self._spec.maximum).astype(self._spec.dtype)
    reward, discount = 0.0, 1.0
    for _ in range(self.action_repeat):
      timestep = self._environment.step(action)
      reward += float(timestep.reward or 0.0)
      discount *= 1.0 if timestep.discount is None else float(timestep.discount)
      if timestep.last():
        break
    return self._flatten(timestep._replace(reward=reward, discount=discount))

  def observation_spec(self) -> specs.Array:
    """`[O]` float32."""
    parts = _parts(self._environment.observation_spec())
    size = sum(int(np.prod(spec.shape)) for spec in parts)
    return specs.Array((size,), np.float32, 'observation')

  @property
  def parts(self) -> dict[str, slice]:
    """Where in the features each part lies that the environment names."""
    spec = self._environment.observation_spec()
    if not isinstance(spec, Mapping):
      return {'observation': slice(0, int(np.prod(spec.shape)))}
    ends = np.cumsum([int(np.prod(part.shape)) for part in spec.values()]).tolist()
    return {name: slice(*ends) for name, *ends in zip(spec, [0, *ends], ends)}

  def action_spec(self) -> specs.BoundedArray:
    """`[A]` in [-1, 1]."""
    return specs.BoundedArray(self._scale.shape, np.float32, -1.0, 1.0, 'action')

  def seed(self, seed: int) -> None:
    """Makes what follows a function of `seed`, if the environment has a `seed` method itself."""
    if hasattr(self._environment, 'seed'):
      self._environment.seed(seed)

  def close(self) -> None:
    """Closes the wrapped environment."""
    self._environment.close()

  def _flatten(self, timestep):
    parts = [np.ravel(part) for part in _parts(timestep.observation)]
    return timestep._replace(observation=np.concatenate(parts).astype(np.float32))


def _parts(observation):
  return list(observation.values()) if isinstance(observation, Mapping) else [observation]

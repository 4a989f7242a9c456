"""Behaviour to record without an expert, by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from eimitate import types

# `observations [1, O] -> actions [1, A]`.
Act = Callable[[np.ndarray], np.ndarray]

_SMOOTH_SECONDS = 0.5
_SMOOTH_SPREAD = 0.5


class Demonstrator(NamedTuple):
  """Behaviour to record.

  begin: `(environment, rng) -> act`, once an episode, after the environment's reset.
  longest: actions in an episode, at most; 0 for as many as the environment allows.
  succeeded: whether to keep an episode; one that is not kept is recorded anew from another seed.
  looks: whether observations matter to it; who does not look can demonstrate on device, too.
  """

  begin: Callable[[Any, np.random.Generator], Act]
  longest: int = 0
  succeeded: Callable[[types.Demonstration], bool] = lambda episode: True
  looks: bool = True


def smooth(environment: Any, rng: np.random.Generator) -> Act:
  """Random actions that change slowly: an Ornstein-Uhlenbeck process of standard deviation 0.5.

  Its correlation falls by e in 0.5 s, whatever the environment's control timestep.
  """
  size = environment.action_spec().shape[0]
  keep = np.exp(-environment.control_timestep / _SMOOTH_SECONDS)
  state = rng.normal(size=size)

  def act(observations):
    del observations
    nonlocal state
    state = keep * state + np.sqrt(1 - keep**2) * rng.normal(size=size)
    return np.clip(_SMOOTH_SPREAD * state, -1, 1)[None]

  return act


def _stacking(style: str) -> Demonstrator:
  """The scripted arm of `jaco/stack`; it succeeds where the block is stacked in the end."""

  def begin(environment, rng):
    # It imports MuJoCo, which decides on import whether it can draw.
    from eimitate.demonstrations import stacking

    return stacking.begin(style, environment, rng)

  return Demonstrator(begin, succeeded=lambda episode: bool(episode.trajectory.rewards[-1] == 1))


DEMONSTRATORS: Mapping[str, Demonstrator] = {
  'smooth': Demonstrator(smooth, longest=100, looks=False),
  'direct': _stacking('direct'),
  'roundabout': _stacking('roundabout'),
}

"""The tracking reward: how near an observation is to what a demonstration shows (MetaMimic, Eq. 2).

Pure functions of NumPy or JAX arrays, so that an environment's step and a compiled update share
them. An observation is a mapping from the names of its parts to arrays: an `image`, the `body`'s
joints, whatever else is compared.

As printed, exp(-||o - d||^2) over raw pixels is 0 for any two frames that differ, and
beta1 + beta2 = 17 a step exceeds the critic's support. So every squared distance is divided by its
part's `scale`, and the sum by the weights' own: a reward of at most 1.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np

Array = np.ndarray | jax.Array
Observation = Mapping[str, Array]


class Part(NamedTuple):
  """One part of an observation as the reward compares it.

  weight: beta, its share of the reward among the other parts' weights. 0 leaves it out.
  scale: sigma, in the part's own units squared: a squared distance of `scale` leaves 1/e of the
    part's reward.
  farthest: tracking is lost where the distance, in the part's own units, is larger.
  """

  weight: float = 1.0
  scale: float = 1.0
  farthest: float = np.inf


def reward(parts: Mapping[str, Part], observation: Observation, goal: Observation) -> Array:
  """sum_i beta_i exp(-||o_i - d_i||^2 / sigma_i) / sum_i beta_i, in [0, 1].

  Args:
    parts: by name.
    observation: of each part `[..., X]`, after the action: o_{t+1}.
    goal: of each part, what the demonstration shows at that time: d_{t+1}.

  Returns:
    `[...]`.
  """
  weighed = {name: part for name, part in parts.items() if part.weight > 0}
  total = sum(part.weight for part in weighed.values())
  near = lambda name, part: _exp(-_squared_distance(observation[name], goal[name]) / part.scale)
  return sum(part.weight / total * near(name, part) for name, part in weighed.items())


def lost(
  parts: Mapping[str, Part], cutoff: float, observation: Observation, goal: Observation
) -> Array:
  """Whether tracking is lost, `[...]` bool: the reward is below the cutoff, or a part too far off.

  Args:
    parts: by name.
    cutoff: of the attainable reward, which is 1: 0.5 in Table 1; 0 for none.
    observation, goal: see `reward`.
  """
  too_far = reward(parts, observation, goal) < cutoff
  for name, part in parts.items():
    if np.isfinite(part.farthest):
      too_far |= _squared_distance(observation[name], goal[name]) > part.farthest**2
  return too_far


def scales(width: float, shown: Iterable[Observation]) -> dict[str, float]:
  """Sigma of every part: `width` of its total variance over the demonstrations.

  An error of a tenth of a part's spread then costs as much whatever the part's units.

  Args:
    width: 0.1 means that a root mean squared error of a tenth of the variance leaves 1/e.
    shown: of each demonstration the parts, `[T, X]`; looked at one after another.

  Returns:
    By name; 1 for a part that never moves.
  """
  spreads: dict[str, _Spread] = {}
  for parts in shown:
    for name, rows in parts.items():
      here = _spread(rows)
      spreads[name] = _joined(spreads[name], here) if name in spreads else here
  totals = {name: float(spread.squares.sum() / spread.count) for name, spread in spreads.items()}
  return {name: width * total if total > 0 else 1.0 for name, total in totals.items()}


class _Spread(NamedTuple):
  """How many rows, their mean `[X]`, and the sum of squares `[X]` of what they are from it."""

  count: int
  mean: np.ndarray
  squares: np.ndarray


def _spread(rows):
  mean = rows.mean(0, dtype=np.float64)
  return _Spread(len(rows), mean, np.square(rows - mean).sum(0))


def _joined(a, b):
  count, apart = a.count + b.count, b.mean - a.mean
  mean = a.mean + apart * b.count / count
  return _Spread(count, mean, a.squares + b.squares + apart**2 * a.count * b.count / count)


def _squared_distance(a: Array, b: Array) -> Array:
  return ((a - b) ** 2).sum(-1)


def _exp(x: Array) -> Array:
  return np.exp(x) if isinstance(x, (np.ndarray, np.generic)) else jax.numpy.exp(x)

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.ops import squashed_normal
from eimitate.search import base
from eimitate.search import make_search
from tests.search import models

_CONFIG = base.Config(kind='cem', depth=3)


def _line(reward_fn, value_fn, mean=0.0, bc_mean=0.0, log_std=0.0, bc_log_std=0.0):
  """A point on a line that an action moves by a; rewards are functions of where it gets."""

  normal = lambda m, s: (
    lambda params, latent: squashed_normal.SquashedNormal(
      jnp.full_like(latent, m), jnp.full_like(latent, s)
    )
  )

  def step(params, latent, action):
    del params
    latent = latent + action
    return reward_fn(latent[..., 0]), latent

  value = lambda params, latent: value_fn(latent[..., 0])
  return base.Model(normal(mean, log_std), normal(bc_mean, bc_log_std), step, value, 0.9)


def _search(config, model, latent, noise=False, temperature=0.0):
  search = make_search(config, model)
  return jax.jit(lambda key: search(None, key, latent, noise=noise, temperature=temperature))(
    jax.random.key(0)
  )


def test_matches_the_best_of_all_sequences_on_a_grid():
  # Two bumps, the nearer one smaller: reaching the farther takes three steps the other way.
  reward = lambda x: 0.5 * jnp.exp(-4 * (x + 0.5) ** 2) + 2 * jnp.exp(-4 * (x - 2) ** 2)
  model = _line(reward, lambda x: 3 * jnp.exp(-4 * (x - 2) ** 2))
  starts = np.array([[0.0], [0.6], [3.0]], np.float32)
  output = _search(_CONFIG, model, jnp.array(starts))
  grid = np.array(list(itertools.product(np.linspace(-1, 1, 21), repeat=3)))
  discounts = 0.9 ** np.arange(3)

  def best_of(sequences, start):
    positions = start + np.cumsum(sequences, 1)
    last = model.value(None, jnp.array(positions[:, -1:]))
    return (np.asarray(reward(positions)) @ discounts + 0.9**3 * np.asarray(last)).max()

  for b, start in enumerate(starts[:, 0]):
    best = best_of(grid, start)
    action = float(output.actions[b, output.selected[b], 0])
    from_there = best_of(np.concatenate([np.full((len(grid), 1), action), grid[:, 1:]], 1), start)
    assert from_there > best - 0.1
    # The value is the elites' mean, so a little less than the best.
    assert best - 0.5 < output.value[b] < best + 0.1


def test_looks_as_far_as_its_depth():
  # Whatever is to be had lies more than three steps to the left.
  model = _line(lambda x: 0 * x, lambda x: jnp.maximum(-x - 3.5, 0.0) - 0.01 * jnp.abs(x))
  first = {}
  for depth in (3, 5):
    output = _search(base.Config(kind='cem', depth=depth), model, jnp.zeros((1, 1)))
    first[depth] = float(output.actions[0, output.selected[0], 0])
  assert abs(first[3]) < 0.5
  assert first[5] < -0.5


def test_behaviour_cloning_sequences_are_among_the_candidates():
  # Only the BC policy knows the way: a needle that no other sequence hits.
  model = _line(
    lambda x: (jnp.abs(x - jnp.round(x / 0.777) * 0.777) < 1e-5) * 10.0 * (jnp.abs(x) > 0.1),
    lambda x: 0 * x,
    bc_mean=float(np.arctanh(0.777)),
    bc_log_std=-20.0,
  )
  output = _search(_CONFIG, model, jnp.zeros((1, 1)))
  np.testing.assert_allclose(output.actions[0, output.selected[0], 0], 0.777, atol=1e-4)
  without = _search(base.Config(kind='cem', depth=3, bc_fraction=0.0), model, jnp.zeros((1, 1)))
  assert without.value < 1 < 20 < output.value


def test_leaving_the_behaviour_cloning_plan_costs_its_distance():
  # A slope of s per unit, its first step worth s (1 + 0.9 + 0.81), against b a^2: with a penalty of
  # b the best first action is 2.71 s / 2 b beyond the plan's, 0.5.
  slope, penalty = 0.2, 2.0
  model = _line(lambda x: slope * x, lambda x: 0 * x, bc_mean=float(np.arctanh(0.5)))
  first = {}
  for bc_penalty, bc_fraction in ((0.0, 0.25), (penalty, 0.25), (penalty, 0.0)):
    config = base.Config(kind='cem', depth=3, bc_penalty=bc_penalty, bc_fraction=bc_fraction)
    output = _search(config, model, jnp.zeros((1, 1)))
    first[bc_penalty, bc_fraction] = float(output.actions[0, output.selected[0], 0])
  assert first[0.0, 0.25] > 0.9
  np.testing.assert_allclose(first[penalty, 0.25], 0.5 + slope * 2.71 / (2 * penalty), atol=0.05)
  # Where alpha is 0 nothing of that policy counts.
  assert first[penalty, 0.0] > 0.9


def test_outputs_and_noise():
  model, latent = models.make_model(0), models.latents(0, 5)
  greedy = _search(_CONFIG, model, latent)
  assert greedy.actions.shape == (5, 32, 2)
  np.testing.assert_allclose(greedy.weights.sum(1), 1, rtol=1e-5)
  np.testing.assert_array_equal(greedy.selected, greedy.weights.argmax(1))
  assert (jnp.abs(greedy.actions) <= 1).all()
  repeated = latent[:1].repeat(200, 0)
  noisy = _search(_CONFIG, model, repeated, noise=True, temperature=1.0)
  # Every selected candidate is drawn by its weight: on average the drawn weight is sum of w^2.
  drawn = jnp.take_along_axis(noisy.weights, noisy.selected[:, None], 1).mean()
  np.testing.assert_allclose(drawn, (noisy.weights**2).sum(1).mean(), rtol=0.15)


@pytest.mark.parametrize(
  'field, value',
  [
    ('depth', 0),
    ('num_sequences', 3),
    ('num_elites', 300),
    ('num_iterations', 0),
    ('bc_penalty', -1.0),
  ],
)
def test_bad_settings_are_named(field, value):
  with pytest.raises(ValueError, match=f'search.{field}: found .*{value}.*expected'):
    make_search(base.Config(kind='cem', **{field: value}), models.make_model(0))

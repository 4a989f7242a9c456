"""The node-list search and the one on mctx, which share no tree code, agree in distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.search import base
from eimitate.search import make_search
from tests.search import models

_ROOTS, _REPEATS = 8, 1024


def _statistics(kind, model, num_simulations, num_actions, seed):
  """Root value, entropy of the visits and number of tried actions, each `[repeats, roots]`."""
  config = base.Config(kind=kind, num_simulations=num_simulations, num_actions=num_actions)
  latent = jnp.tile(models.latents(0, _ROOTS), (_REPEATS, 1))
  search = jax.jit(lambda key: make_search(config, model)(None, key, latent, noise=True))
  output = search(jax.random.key(seed))
  weights = np.asarray(output.weights)
  statistics = {
    'value': np.asarray(output.value),
    'entropy': -(weights * np.log(weights + 1e-9)).sum(1),
    'tried': (weights > 0).sum(1),
    'bc_share': weights[:, num_actions - config.num_bc_actions :].sum(1),
  }
  return {name: x.reshape(_REPEATS, _ROOTS) for name, x in statistics.items()}


def _agree(a, b):
  """Whether the means over all roots differ by no more than 4 standard errors."""
  error = np.sqrt((a.var(0) + b.var(0)).sum() / _REPEATS) / _ROOTS
  return abs(a.mean() - b.mean()) <= 4 * error


@pytest.mark.parametrize(
  'num_simulations, num_actions, scale, action_size',
  [(16, 4, 1.0, 1), (20, 16, 100.0, 2), (24, 8, 0.01, 6)],
)
def test_node_list_agrees_with_mctx(num_simulations, num_actions, scale, action_size):
  # Positive values, so that a share of their mean means something.
  model = models.make_model(num_actions, scale, action_size=action_size)
  model = model._replace(value=lambda params, latent: scale * (3 + jnp.tanh(latent.sum(-1))))
  mctx = _statistics('mctx', model, num_simulations, num_actions, 0)
  node_list = _statistics('node_list', model, num_simulations, num_actions, 1)
  for name in mctx:
    assert _agree(node_list[name], mctx[name]), name
  for name in ('value', 'entropy', 'tried'):
    assert not _agree(1.02 * node_list[name], mctx[name]), f'{name}: a bias of 2% goes unseen'

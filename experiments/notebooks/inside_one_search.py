# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside one search
#
# A search needs a model: policies, a step, a value. Here the model is written by hand, so that the
# right answer is known, and we look at what the paper's search makes of it.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import search
from eimitate.ops import squashed_normal

SIMULATIONS = int(os.environ.get('NOTEBOOK_SIMULATIONS', 50))

# %% [markdown]
# ## A model whose best action is known
# The latent is a point on a line, an action in [-1, 1] moves it, and the reward is highest at 0.
# The policy knows nothing; the behaviour-cloning policy has seen an expert who goes to the left,
# carefully.


# %%
def policy(params, latent):
  flat = jnp.zeros_like(latent)
  return squashed_normal.SquashedNormal(mean=flat, log_std=flat)


def bc_policy(params, latent):
  flat = jnp.zeros_like(latent)
  return squashed_normal.SquashedNormal(mean=flat - 0.5, log_std=flat - 1.5)


def step(params, latent, action):
  following = latent + 0.5 * action
  return jnp.exp(-(following[..., 0] ** 2)), following


def value(params, latent):
  return jnp.zeros(latent.shape[:-1])  # It knows nothing, so the search must look ahead.


model = search.Model(policy, bc_policy, step, value, discount=0.99)
config = search.Config(num_simulations=SIMULATIONS)
config

# %% [markdown]
# ## What a search says
# From the latent 1 the best way is to the left. Of 16 sampled actions 4 are the behaviour-cloning
# policy's (alpha = 0.25), in the last slots.

# %%
find = jax.jit(search.make_search(config, model), static_argnames='noise')
latent = jnp.ones((1, 1))
output = find({}, jax.random.key(0), latent, noise=False)
order = np.argsort(-output.weights[0])
for slot in order[:6]:
  drawn = 'BC policy' if slot >= config.num_actions - config.num_bc_actions else 'policy'
  print(
    f'{output.actions[0, slot, 0]:6.2f} by the {drawn:9s}: {output.weights[0, slot]:.2f} of visits'
  )
print(
  f'value of the root {output.value[0]:.3f}, acts {output.actions[0, output.selected[0], 0]:.2f}'
)

# %% [markdown]
# ## The tree
# Areas and widths are visits, colours are values, dashed edges are actions of the behaviour-cloning
# policy.

# %%
from IPython import display

from experiments.figures import search_tree

tree = search_tree.search(config, model, {}, latent)
os.makedirs('runs', exist_ok=True)
search_tree.draw(tree, ['runs/search_tree.png'])
display.Image('runs/search_tree.png')

# %% [markdown]
# ## How many simulations it takes
# The mean over 64 searches of how far the chosen action lies from the best sampled one.

# %%
from eimitate import configuration

latents = jnp.ones((64, 1))
for simulations in sorted({4, 16, SIMULATIONS}):
  sized = configuration.override(config, {'num_simulations': simulations})
  found = jax.jit(search.make_search(sized, model), static_argnames='noise')(
    {}, jax.random.key(1), latents, noise=False
  )
  chosen = jnp.take_along_axis(found.actions[..., 0], found.selected[:, None], 1)[:, 0]
  gap = (chosen - found.actions[..., 0].min(1)).mean()
  print(f'{simulations:3d} simulations: {gap:.2f}')

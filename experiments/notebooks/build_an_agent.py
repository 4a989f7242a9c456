# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # An agent by hand
#
# `eimitate.agents` are pure functions. Here we build EfficientImitate, give it the shipped
# demonstrations of cartpole swingup and episodes of its own, and take gradient steps, without the
# training loop.

# %%
import os

import jax
import numpy as np

from eimitate import acting
from eimitate import agents
from eimitate import demonstrations
from eimitate import environments
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.replay import episodes

UPDATES = int(os.environ.get('NOTEBOOK_UPDATES', 200))

# %% [markdown]
# ## What it learns from
# Five recorded episodes, and an environment with the same action repeat. The specification says all
# that an agent must know of it; its mean and scale are the demonstrations'.

# %%
TASK = 'cartpole/swingup'
dataset = demonstrations.load(demonstrations.shipped_path(TASK)).take(5)
environment = environments.make_environment(TASK, dataset.metadata.action_repeat)
spec = dataset_lib.with_statistics(dataset, environments.environment_spec(environment))
print(f'{len(dataset.episodes)} episodes, mean return {dataset.mean_return:.1f}')
spec

# %% [markdown]
# ## The agent
# `tuned()` are our settings, `paper()` the paper's. Configurations are frozen; `override` gives
# another.

# %%
from eimitate import configuration

config = configuration.override(
  agents.efficient_imitate.tuned(), {'batch_size': 32, 'search.num_actions': 8}
)
agent = agents.efficient_imitate.make_agent(config, spec)
state = agent.init(jax.random.key(0))
sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in state.params.items()}
sizes

# %% [markdown]
# ## An episode of its own
# `agent.act` searches at every step: it maps parameters, a key and a batch of observations to
# actions.

# %%
act = jax.jit(agent.act)
keys = iter(jax.random.split(jax.random.key(1), 1000))
policy = lambda observations: np.asarray(
  act(agent.params(state), next(keys), observations, np.float32(1))
)
[trajectory] = acting.collect_episodes(policy, [environment], seeds=[0]).trajectories
print(f'{len(trajectory.actions)} agent steps, return {trajectory.rewards.sum():.1f}')

# %% [markdown]
# ## Gradient steps
# The replay and the demonstrations are rings of steps. One update samples both, searches every
# position of the agent's half with the target network, and takes one step on the sum of the terms.

# %%
expert = episodes.of(spec, [episode.trajectory for episode in dataset.episodes])
replay = agent.init_replay(10_000)  # Steps.
rows = episodes.to_rows(trajectory)
replay = agent.add(replay, rows, np.int32(len(rows.reward)))

update = jax.jit(agent.update)
history = []
for i in range(UPDATES):
  state, replay, metrics = update(state, jax.random.key(i), replay, expert)
  history.append(jax.device_get(metrics))

for name in ('loss/total', 'discriminator/accuracy_expert', 'model/unexplained_variance'):
  print(f'{name:32s} {history[0][name]:8.3f} -> {history[-1][name]:8.3f}')

# %% [markdown]
# ## What it says of itself
# `diagnose` changes nothing: it compares predicted values with what came of them, and so on. The
# README has a table of the names.

# %%
evaluated = episodes.of(spec, [trajectory])
report = jax.jit(agent.diagnose)(state, jax.random.key(0), replay, expert, evaluated)
{name: round(float(value), 3) for name, value in report.items()}

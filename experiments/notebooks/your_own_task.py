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
# # Your own data on your own environment
#
# Any `dm_env.Environment` with one bounded vector of actions will do. We write one, let somebody
# who knows how record a few episodes, and imitate them.

# %%
import os
import pathlib
import tempfile

import dm_env
from dm_env import specs
import numpy as np

from eimitate import acting
from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import evaluation
from eimitate import logs
from eimitate import runs
from eimitate import training
from eimitate import types
from eimitate.agents import efficient_imitate

AGENT_STEPS = int(os.environ.get('NOTEBOOK_AGENT_STEPS', 1500))
FOLDER = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## The environment
# A boat on a lake is pushed in two directions and should stay at the pier. With a `seed` method
# episodes can be repeated, which exact resuming and evaluation use.


# %%
class Boat(dm_env.Environment):
  """Position and velocity in the plane; 30 steps."""

  def seed(self, seed):
    self._random = np.random.default_rng(seed)

  def reset(self):
    self._position, self._velocity = self._random.uniform(-1, 1, 2), np.zeros(2)
    self._steps = 0
    return dm_env.restart(self._observe())

  def step(self, action):
    self._velocity = 0.8 * self._velocity + 0.1 * np.asarray(action)
    self._position = self._position + self._velocity
    self._steps += 1
    reward = float(np.exp(-4 * np.sum(self._position**2)))
    ended = self._steps == 30
    return (dm_env.truncation if ended else dm_env.transition)(reward, self._observe())

  def observation_spec(self):
    return {name: specs.Array((2,), float, name) for name in ('position', 'velocity')}

  def action_spec(self):
    return specs.BoundedArray((2,), float, -1, 1, 'push')

  def _observe(self):
    return {'position': self._position, 'velocity': self._velocity}


def make():
  return Boat()


# %% [markdown]
# ## Demonstrations
# Recorded through the library's own view of the environment: one flat vector of observations,
# actions in [-1, 1]. Files of Minari, D4RL and robomimic are imported by `python -m
# eimitate.demonstrations import`.

# %%
boat = environments.Canonical(make())
expert = lambda observations: np.clip(-3 * observations[:, :2] - 6 * observations[:, 2:], -1, 1)
recorded = []
for seed in range(5):
  [trajectory] = acting.collect_episodes(expert, [boat], [seed]).trajectories
  states = np.zeros((len(trajectory.observations), 0))  # No simulator states to replay from.
  recorded.append(types.Demonstration(trajectory, states, {}))
metadata = demonstrations.Metadata('lake/pier', 1, 0.1, 'somebody who knows how', {}, seed=0)
demonstrations.save(FOLDER / 'pier.npz', metadata, recorded)
print(f'mean return {np.mean([episode.trajectory.rewards.sum() for episode in recorded]):.1f}')

# %% [markdown]
# ## Training
# The same loop as `./train.sh`'s. `config.environment` names the function that makes the
# environment, here in this notebook; in a file of yours it would be `my_module:make`, and the
# command line `./train.sh --task=lake/pier --config.environment=my_module:make
# --config.demonstrations=pier.npz`.

# %%
config = configuration.override(
  runs.Config(),
  {
    'agent_steps': AGENT_STEPS,
    'environment': f'{make.__module__}:make',
    'demonstrations': str(FOLDER / 'pier.npz'),
    'updates_per_call': 10,
    'evaluation.interval': max(AGENT_STEPS // 5, 60),
    'evaluation.diagnostics': False,  # They take half a minute to compile.
    'checkpoints.interval': AGENT_STEPS,
    'replay.episodes': 100,
    'parallel.devices': 1,
  },
)
agent_config = configuration.override(
  efficient_imitate.tuned(), {'batch_size': 32, 'networks.latent': 16}
)
run = runs.Run('efficient_imitate', 'lake/pier', 0, agent_config, config)
result = training.train(run, FOLDER / 'run')
result

# %% [markdown]
# ## What came of it

# %%
for row in logs.read(FOLDER / 'run' / 'metrics.jsonl'):
  if 'eval/mean_return' in row:
    fraction = row['eval/fraction_of_expert']
    print(f'{row["agent_steps"]:5d} agent steps: {fraction:.2f} of the demonstrations')

loaded = evaluation.load(FOLDER / 'run')
found = evaluation.evaluate(loaded, evaluation.environments_of(loaded, 5))
evaluation.table([found['returns']], loaded.description['expert_return'])

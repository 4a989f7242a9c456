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
# # One-shot imitation with MetaMimic
#
# MetaMimic learns to do whatever a demonstration shows it, from demonstrations without actions. We
# record some, train, and hand it demonstrations that it has never seen. The run here is short, to
# see the parts at work; `experiments.train_metamimic` has the settings for results.

# %%
import dataclasses
import os
import pathlib
import tempfile


from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import evaluation
from eimitate import imitation
from eimitate import logs
from eimitate import runs
from eimitate import training
from eimitate.agents import metamimic
from experiments.configs import metamimic as metamimic_config

AGENT_STEPS = int(os.environ.get('NOTEBOOK_AGENT_STEPS', 5000))
EPISODES = int(os.environ.get('NOTEBOOK_EPISODES', 60))
UNSEEN = max(EPISODES // 6, 1)
FOLDER = pathlib.Path(tempfile.mkdtemp())

# %% [markdown]
# ## Demonstrations
# A scripted demonstrator moves the cup smoothly at random for a hundred actions, each time
# otherwise. What is imitated is the movement, not a task.

# %%
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording

TASK = 'ball_in_cup/catch'
environment = environments.make_environment(TASK, 4)
recorded = recording.record(demonstrators.DEMONSTRATORS['smooth'], environment, EPISODES, seed=0)
timestep, versions = environment.control_timestep, recording.versions()
metadata = demonstrations.Metadata(TASK, 4, timestep, 'smooth random movements', versions, seed=0)
demonstrations.save(FOLDER / 'smooth.npz', metadata, recorded)
lengths = {len(episode.trajectory.actions) for episode in recorded}
print(f'{len(recorded)} episodes of {lengths} agent steps, the last {UNSEEN} are kept unseen')

# %% [markdown]
# ## Training
# One run gives two policies: pi(o_t, d_{t+1}) imitates, pi(o_t) does the task.

# %%
config = configuration.override(
  metamimic_config.make_config(TASK),
  {
    'agent_steps': AGENT_STEPS,
    'demonstrations': str(FOLDER / 'smooth.npz'),
    'num_demonstrations': EPISODES - UNSEEN,
    'updates_per_call': min(50, AGENT_STEPS // 10),
    'evaluation.interval': AGENT_STEPS,
    'checkpoints.interval': AGENT_STEPS,
    'replay.episodes': 100,
    'replay.longest': 250,
    'actors.num': 6,
    'tracking.evaluated': UNSEEN,
    'parallel.devices': 1,
  },
)
part = lambda cls: cls(**{x.name: getattr(config, x.name) for x in dataclasses.fields(cls)})
run = runs.Run('metamimic', TASK, 0, part(metamimic.Config), part(runs.Config))
training.train(run, FOLDER / 'run')
names = sorted({name for row in logs.read(FOLDER / 'run' / 'metrics.jsonl') for name in row})
print(', '.join(name for name in names if name.startswith('eval/')))

# %% [markdown]
# ## One shot
# Every unseen demonstration is followed once, from its first simulator state. Three baselines stand
# beside it: no action at all, the demonstration's own actions replayed with a little noise, and
# what the simulator itself says is the best next action.

# %%
loaded = evaluation.load(FOLDER / 'run')
result = imitation.evaluate(loaded, FOLDER / 'smooth.npz')
print(f'imitates {result["demonstrations"]} unseen demonstrations:')
for name, values in ({'agent': result} | result['baselines']).items():
  print(f'{name:16s} {values["imitation_fraction"]:.2f} of the attainable reward')

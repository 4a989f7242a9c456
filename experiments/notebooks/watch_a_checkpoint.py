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
# # Load a checkpoint, evaluate it, watch it
#
# Train first, `./train.sh`, or point `CHECKPOINT` at any work directory. The video needs `pip
# install imageio-ffmpeg` and OpenGL (`apt-get install libegl1 libgl1`).

# %%
import os
import pathlib

from eimitate import evaluation
from eimitate import logs
import experiments
from experiments import video

# Where `./train.sh` left it, wherever the notebook was opened.
TRAINED = pathlib.Path(experiments.__file__).parents[1] / 'runs' / 'cartpole_swingup_tuned_0'
CHECKPOINT = os.environ.get('NOTEBOOK_CHECKPOINT', TRAINED)
EPISODES = int(os.environ.get('NOTEBOOK_EPISODES', 5))
VIDEO = os.environ.get('NOTEBOOK_VIDEO', f'{CHECKPOINT}/shown.mp4')

# Before anything imports MuJoCo, which decides on import whether it can draw.
video.prepare(VIDEO)

# %% [markdown]
# ## The agent, out of its checkpoint alone

# %%
loaded = evaluation.performing(evaluation.load(CHECKPOINT))
description = loaded.description
print(description['agent'], description['task'], loaded.counters)

# %% [markdown]
# ## Greedy episodes, one of them filmed

# %%
environments = evaluation.environments_of(loaded, EPISODES)
film = video.film_first(environments)
result = evaluation.evaluate(loaded, environments)
summary = evaluation.table([result['returns']], description['expert_return'])
for row, values in summary.items():
  print(row, {name: round(value, 3) for name, value in values.items()})

# %% [markdown]
# ## The agent beside a demonstration it learnt from

# %%
from IPython import display

video.write(VIDEO, film, description, speed=1.0)
display.Video(VIDEO, embed=True)

# %% [markdown]
# ## How it got there

# %%
from experiments.figures import curves

for row in logs.read(f'{CHECKPOINT}/metrics.jsonl'):
  if 'eval/mean_return' in row:
    print(f'{row["agent_steps"]:6d} agent steps: return {row["eval/mean_return"]:.1f}')
curve = VIDEO.replace('.mp4', '.png')
curves.draw_workdirs([CHECKPOINT], curve)
display.Image(curve)

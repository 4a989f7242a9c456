"""Trains an expert from the task's own reward, with D4PG, until it is as good as asked.

python -m experiments.train_expert --task=cartpole/swingup --target_return=873 --seed=0
"""

import dataclasses

from absl import flags

from eimitate import runs
from experiments import command_line
from experiments import launch
from experiments.configs import d4pg

_TASK = flags.DEFINE_string('task', 'cartpole/swingup', 'domain/task of the dm_control suite.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of everything random.', lower_bound=0)
_TARGET = flags.DEFINE_float(
  'target_return',
  None,
  "Ends the run when two evaluations in a row reach it; left out: the paper's expert's, if any.",
)
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Where everything is written; a used one resumes. Empty: runs/TASK_expert_SEED.'
)
_CONFIG = command_line.define_config(d4pg.make_config())


def main() -> None:
  config = command_line.overridden(d4pg.make_config(_TASK.value), _CONFIG)
  if _TARGET.value is not None:
    config = dataclasses.replace(config, target_return=_TARGET.value)
  agent_config, run_config = d4pg.split(config)
  default = f'runs/{_TASK.value.replace("/", "_")}_expert_{_SEED.value}'
  run = runs.Run('d4pg', _TASK.value, _SEED.value, agent_config, run_config)
  launch.launch(run, _WORKDIR.value or default)


if __name__ == '__main__':
  command_line.run(main)

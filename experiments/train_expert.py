"""Trains an expert from the task's own reward, with D4PG, until it is as good as asked.

python -m experiments.train_expert --task=cartpole/swingup --target_return=873 --seed=0
"""

import dataclasses

from absl import flags

from experiments import command_line
from experiments import launch
from experiments.configs import d4pg

_TARGET = flags.DEFINE_float(
  'target_return',
  None,
  "Ends the run when two evaluations in a row reach it; left out: the paper's expert's, if any.",
)
_CONFIG = command_line.define_config(d4pg.make_config())


def main() -> None:
  repeat = _CONFIG.value.action_repeat
  config = d4pg.make_config(launch.TASK.value, launch.PRESET.value, repeat)
  config = command_line.overridden(config, _CONFIG)
  if _TARGET.value is not None:
    config = dataclasses.replace(config, target_return=_TARGET.value)
  name = 'expert' + '_image' * (launch.PRESET.value == 'image')
  launch.launch('d4pg', config, name, d4pg.PRESETS)


if __name__ == '__main__':
  command_line.run(main)

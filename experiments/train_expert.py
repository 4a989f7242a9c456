"""Trains an expert from the task's own reward, with D4PG, until it is as good as asked.

With `--config.reward=tracking` it learns to follow demonstrations instead.

python -m experiments.train_expert --task=cartpole/swingup --target_return=873 --seed=0
python -m experiments.train_expert --task=ball_in_cup/catch --config.reward=tracking
"""

import dataclasses

from absl import flags

from experiments import command_line
from experiments import launch
from experiments.configs import d4pg

flags.adopt_module_key_flags(launch)  # --help lists them, too.
_TARGET = flags.DEFINE_float(
  'target_return',
  None,
  "Ends the run when two evaluations in a row reach it; left out: the paper's expert's, if any.",
)
_CONFIG = command_line.define_config(d4pg.make_config())


def main() -> None:
  given = _CONFIG.value
  named = launch.TASK.value, launch.PRESET.value
  config = d4pg.make_config(*named, given.action_repeat, given.reward)
  config = command_line.overridden(config, _CONFIG)
  if _TARGET.value is not None:
    config = dataclasses.replace(config, target_return=_TARGET.value)
  learns = 'tracking' if given.reward == 'tracking' else 'expert'
  name = learns + '_image' * (launch.PRESET.value == 'image')
  launch.launch('d4pg', config, name, d4pg.PRESETS)


if __name__ == '__main__':
  command_line.run(main)

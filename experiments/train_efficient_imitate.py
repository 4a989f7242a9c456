"""Trains EfficientImitate.

python -m experiments.train_efficient_imitate --task=cartpole/swingup --seed=0
"""

from absl import flags

from eimitate import runs
from experiments import command_line
from experiments import launch
from experiments.configs import efficient_imitate

_TASK = flags.DEFINE_string('task', 'cartpole/swingup', 'domain/task of the dm_control suite.')
_PRESET = flags.DEFINE_string('preset', 'state', 'What is observed: state.')
_VARIANT = flags.DEFINE_string('variant', 'tuned', 'Settings: tuned, paper or released.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of everything random.', lower_bound=0)
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Where everything is written; a used one resumes. Empty: runs/TASK_VARIANT_SEED.'
)
_CONFIG = command_line.define_config(efficient_imitate.make_config())


def main() -> None:
  config = efficient_imitate.make_config(_PRESET.value, _VARIANT.value, _TASK.value)
  config = command_line.overridden(config, _CONFIG)
  agent_config, run_config = efficient_imitate.split(config)
  default = f'runs/{_TASK.value.replace("/", "_")}_{_VARIANT.value}_{_SEED.value}'
  run = runs.Run('efficient_imitate', _TASK.value, _SEED.value, agent_config, run_config)
  launch.launch(run, _WORKDIR.value or default)


if __name__ == '__main__':
  command_line.run(main)

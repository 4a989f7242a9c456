"""Trains EfficientImitate.

python -m experiments.train_efficient_imitate --task=cartpole/swingup --seed=0
"""

from absl import flags

from experiments import command_line
from experiments import launch
from experiments.configs import efficient_imitate

flags.adopt_module_key_flags(launch)  # --help lists them, too.
_VARIANT = flags.DEFINE_string('variant', 'tuned', 'Settings: tuned, paper or released.')
_CONFIG = command_line.define_config(efficient_imitate.make_config())


def main() -> None:
  config = efficient_imitate.make_config(_VARIANT.value, launch.TASK.value, launch.PRESET.value)
  config = command_line.overridden(config, _CONFIG)
  frames = launch.PRESET.value == 'image'
  name = _VARIANT.value + '_image' * frames
  launch.launch('efficient_imitate', config, name, efficient_imitate.PRESETS)


if __name__ == '__main__':
  command_line.run(main)

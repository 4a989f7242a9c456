"""Trains MetaMimic: a policy that imitates any demonstration shown to it, and one for the task.

python -m experiments.train_metamimic --task=ball_in_cup/catch --seed=0 \\
  --config.demonstrations=FILE.npz
"""

from absl import flags

from experiments import command_line
from experiments import launch
from experiments.configs import metamimic

flags.adopt_module_key_flags(launch)  # --help lists them, too.
_CONFIG = command_line.define_config(metamimic.make_config())


def main() -> None:
  repeat = _CONFIG.value.action_repeat
  config = metamimic.make_config(launch.TASK.value, launch.PRESET.value, repeat)
  config = command_line.overridden(config, _CONFIG)
  name = 'metamimic' + '_image' * (launch.PRESET.value == 'image')
  launch.launch('metamimic', config, name, metamimic.PRESETS)


if __name__ == '__main__':
  command_line.run(main)

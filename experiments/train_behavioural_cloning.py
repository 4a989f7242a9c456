"""Trains the baseline that every comparison needs: behavioural cloning.

python -m experiments.train_behavioural_cloning --task=cartpole/swingup --seed=0
"""

from absl import flags

from experiments import command_line
from experiments import launch
from experiments.configs import behavioural_cloning

flags.adopt_module_key_flags(launch)  # --help lists them, too.
_CONFIG = command_line.define_config(behavioural_cloning.make_config())


def main() -> None:
  config = command_line.overridden(behavioural_cloning.make_config(), _CONFIG)
  launch.launch('behavioural_cloning', config, 'bc')


if __name__ == '__main__':
  command_line.run(main)

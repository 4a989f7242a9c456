"""D4PG's settings, MetaMimic's by default (appendix C.1); the networks are for state or frames."""

import dataclasses
import math

from eimitate import errors
from eimitate.networks import mlp
from eimitate.networks import residual


@dataclasses.dataclass(frozen=True)
class TowerConfig:
  """The residual tower, where frames are observed; the defaults are MetaMimic's (Figure 3).

  channels: of each section, a convolution and residual blocks of two.
  blocks: residual blocks in a section.
  output: size of the vector that dense layers go on from.
  normalisation: `instance` (and layer normalisation between dense layers) or `none`.
  activation: `elu` or `relu`.
  """

  channels: tuple[int, ...] = (64, 128, 256, 512)
  blocks: int = 2
  output: int = 256
  normalisation: str = 'instance'
  activation: str = 'elu'


# What MetaMimic compares with: IMPALA's fifteen convolutions, about 1.6M parameters at 128 x 128.
IMPALA = TowerConfig((16, 32, 32), output=180, normalisation='none', activation='relu')


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that D4PG depends on.

  batch_size: windows per update over all devices.
  n_step: rewards in a target before the bootstrap.
  discount: gamma, per agent step.
  target_update_interval: updates between copies of the parameters to the target networks.
  learning_rate: Adam's, of policy and critic.
  policy, critic: hidden layer sizes; from state the first is followed by layer normalisation and
    tanh.
  tower: what frames go through first, of policy and critic each.
  num_atoms, lowest_value, highest_value: the critic's support, both ends included.
  reward_scale: recorded rewards are multiplied by it, so that returns fit the support.
  reward: `environment`, the task's as recorded, or `tracking`, of following a demonstration whose
    next observation is shown as goal.
  sampling: `uniform` from a ring of steps, or `prioritised` by the critic's loss from a replay
    that gives up its lowest priorities first.
  priority_exponent, importance_exponent: of the prioritised sampling and of its correction.
  demonstration_fraction: of the batch that comes from the demonstrations, whose actions and rewards
    are then learnt from (D4PG from demonstrations).
  """

  batch_size: int = 64
  n_step: int = 5
  discount: float = 0.99
  target_update_interval: int = 100
  learning_rate: float = 1e-4
  policy: tuple[int, ...] = (256, 256)
  critic: tuple[int, ...] = (256, 256)
  tower: TowerConfig = TowerConfig()
  num_atoms: int = 101
  lowest_value: float = 0.0
  highest_value: float = 100.0
  reward: str = 'environment'
  reward_scale: float = 1.0
  sampling: str = 'uniform'
  priority_exponent: float = 0.6
  importance_exponent: float = 0.4
  demonstration_fraction: float = 0.0

  @property
  def rewards(self) -> tuple[str, ...]:
    """Which of a step's rewards it learns from."""
    return ('tracking',) if self.reward == 'tracking' else ('task',)

  @property
  def shortest_demonstration(self) -> int:
    """Steps that a demonstration to follow has at least."""
    return self.n_step

  @property
  def needs_demonstrations(self) -> bool:
    """Whether its updates learn from demonstrations."""
    return self.demonstration_fraction > 0

  @property
  def needs_statistics(self) -> bool:
    """Whether it must know how observations spread."""
    return False

  @property
  def shared_rows(self) -> int:
    """Rows of the batch that devices share evenly."""
    return math.gcd(self.batch_size, self.demonstration_rows)

  @property
  def demonstration_rows(self) -> int:
    """Rows of the batch that come from demonstrations."""
    return round(self.demonstration_fraction * self.batch_size)


def validate(config: Config, name: str = 'config') -> None:
  """Raises `InputError` where the config of this name holds what no agent can be built from."""
  for field in ('batch_size', 'n_step', 'target_update_interval', 'learning_rate', 'reward_scale'):
    value = getattr(config, field)
    errors.check(value > 0, f'{name}.{field}', value, 'more than 0')
  errors.check(0 <= config.discount < 1, f'{name}.discount', config.discount, 'in [0, 1)')
  errors.check(config.num_atoms >= 2, f'{name}.num_atoms', config.num_atoms, 'at least 2')
  for field in ('policy', 'critic'):
    sizes = getattr(config, field)
    mlp.check_sizes(f'{name}.{field}', sizes, least=1)
  _validate_tower(config.tower, f'{name}.tower')
  for field in ('priority_exponent', 'importance_exponent', 'demonstration_fraction'):
    value = getattr(config, field)
    errors.check(0 <= value <= 1, f'{name}.{field}', value, 'in [0, 1]')
  shown, batch = config.demonstration_rows, config.batch_size
  some = not config.demonstration_fraction or 0 < shown < batch
  expected = f"a share of the batch's {batch} rows, at least one of them and not all"
  errors.check(some, f'{name}.demonstration_fraction', config.demonstration_fraction, expected)
  choices = {'sampling': ('uniform', 'prioritised'), 'reward': ('environment', 'tracking')}
  for field, known in choices.items():
    value = getattr(config, field)
    errors.check(value in known, f'{name}.{field}', repr(value), ' or '.join(known))
  wide = config.highest_value > config.lowest_value
  errors.check(wide, f'{name}.highest_value', config.highest_value, 'more than lowest_value')


def _validate_tower(tower, name):
  sizes, expected = tower.channels, 'at least one section, all positive'
  errors.check(len(sizes) > 0 and min(sizes) > 0, f'{name}.channels', sizes, expected)
  errors.check(tower.blocks >= 0, f'{name}.blocks', tower.blocks, '0 or more')
  errors.check(tower.output > 0, f'{name}.output', tower.output, 'more than 0')
  choices = {'normalisation': residual.NORMALISATIONS, 'activation': tuple(mlp.ACTIVATIONS)}
  for field, known in choices.items():
    value = getattr(tower, field)
    errors.check(value in known, f'{name}.{field}', repr(value), ' or '.join(known))

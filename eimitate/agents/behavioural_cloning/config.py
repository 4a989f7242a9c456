"""Behavioural cloning's settings."""

import dataclasses

from eimitate import errors
from eimitate.networks import mlp


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that behavioural cloning depends on.

  batch_size: state-action pairs per update over all devices.
  learning_rate, weight_decay: AdamW's.
  policy: hidden layer sizes.
  reward: empty, or `tracking` to clone pi(a_t | o_t, d_{t+1}), what the demonstrator did to get to
    what it shows next: whoever knows that can follow any demonstration.
  """

  batch_size: int = 256
  learning_rate: float = 1e-3
  weight_decay: float = 1e-4
  policy: tuple[int, ...] = (256, 256)
  reward: str = ''

  @property
  def rewards(self) -> tuple[str, ...]:
    """Which of a step's rewards its episodes have; it learns from none."""
    return (self.reward,) if self.reward else ()

  @property
  def shortest_demonstration(self) -> int:
    """Steps that a demonstration to follow has at least."""
    return 1

  @property
  def needs_demonstrations(self) -> bool:
    """Whether it cannot do without demonstrations."""
    return True

  @property
  def needs_statistics(self) -> bool:
    """Whether it must know how observations spread."""
    return True

  @property
  def shared_rows(self) -> int:
    """Rows of the batch that devices share evenly."""
    return self.batch_size


def validate(config: Config) -> None:
  """Raises `InputError` where `config` holds what no agent can be built from."""
  for field in ('batch_size', 'learning_rate'):
    value = getattr(config, field)
    errors.check(value > 0, f'config.{field}', value, 'more than 0')
  mlp.check_sizes('config.policy', config.policy)
  known = ('', 'tracking')
  errors.check(config.reward in known, 'config.reward', repr(config.reward), 'tracking, or none')
  decay = config.weight_decay
  errors.check(decay >= 0, 'config.weight_decay', decay, '0 or more')

"""MetaMimic's settings: those of its two D4PG learners (Table 1)."""

import dataclasses

import numpy as np

from eimitate.agents import d4pg


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that MetaMimic's agent depends on.

  imitation: the learner of pi(o_t, d_{t+1}) from the tracking reward.
  task: the learner of pi(o_t) from the task's. Each sees that, whatever its `reward` says.
  """

  imitation: d4pg.Config = d4pg.Config(sampling='prioritised', reward='tracking')
  task: d4pg.Config = d4pg.Config()

  @property
  def rewards(self) -> tuple[str, ...]:
    """Which of a step's rewards it learns from."""
    return ('task', 'tracking')

  @property
  def shortest_demonstration(self) -> int:
    """Steps that a demonstration has at least."""
    return self.imitation.n_step

  @property
  def needs_demonstrations(self) -> bool:
    """Whether it cannot do without demonstrations."""
    return True

  @property
  def needs_statistics(self) -> bool:
    """Whether it must be told how observations spread: with goals that is always known."""
    return False

  @property
  def shared_rows(self) -> int:
    """Rows of both batches that devices share evenly."""
    return int(np.gcd(self.imitation.batch_size, self.task.batch_size))

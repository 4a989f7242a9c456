"""Records demonstrations: episodes of an agent's deterministic policy, exactly replayable.

python -m experiments.record_demonstrations --checkpoint=DIR --output=FILE.npz --episodes=20
"""

import hashlib

from absl import flags
import jax
import numpy as np

from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate.demonstrations import recording
from experiments import command_line

_CHECKPOINT = flags.DEFINE_string('checkpoint', '', 'A work directory, or one step in it.')
_OUTPUT = flags.DEFINE_string('output', '', 'The npz file to write.')
_EPISODES = flags.DEFINE_integer('episodes', 20, 'How many.', lower_bound=1)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the initial states.', lower_bound=0)
_ACTION_REPEAT = flags.DEFINE_integer(
  'action_repeat', 0, "Environment steps per action; 0 for the checkpoint's own.", lower_bound=0
)
_SPREAD = flags.DEFINE_float(
  'spread', 0.0, 'Uniform noise on initial positions and velocities.', lower_bound=0.0
)


def main() -> None:
  errors.check(_OUTPUT.value.endswith('.npz'), '--output', repr(_OUTPUT.value), 'a name.npz')
  loaded = evaluation.load(_CHECKPOINT.value)
  task, trained = loaded.description['task'], loaded.description['action_repeat']
  repeat = _ACTION_REPEAT.value or trained
  factory = loaded.description['config']['environment']
  errors.check(not factory, 'checkpoint environment', repr(factory), "a task of dm_control's suite")
  environment = environments.make_environment(task, repeat)
  act = lambda observations: loaded.policy(loaded.params, jax.random.key(0), observations)
  seeds = range(_SEED.value, _SEED.value + _EPISODES.value)
  episodes = recording.record(act, environment, seeds, _SPREAD.value)
  metadata = demonstrations.Metadata(
    task=task,
    action_repeat=repeat,
    control_timestep=environment.control_timestep,
    provenance=(
      f'{loaded.description["agent"]}, deterministic, after {loaded.counters["env_steps"]} env'
      f' steps of seed {loaded.description["seed"]} at action repeat {trained}, parameters'
      f' {_fingerprint(loaded.params)}; initial states spread by {_SPREAD.value}'
    ),
    versions=recording.versions(),
    seed=_SEED.value,
  )
  demonstrations.save(_OUTPUT.value, metadata, episodes)
  returns = [float(episode.trajectory.rewards.sum()) for episode in episodes]
  print(
    f'{_OUTPUT.value}: {len(returns)} episodes of {task}, return {np.mean(returns):.1f}'
    f' (standard deviation {np.std(returns):.1f}, lowest {np.min(returns):.1f})'
  )


def _fingerprint(params) -> str:
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]


if __name__ == '__main__':
  command_line.run(main)

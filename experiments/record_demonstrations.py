"""Records demonstrations: of a trained policy, or of a scripted demonstrator.

They are exactly replayable; those of environments on device hold what a simulation is restored
from.

python -m experiments.record_demonstrations --checkpoint=DIR --output=FILE.npz --episodes=20
python -m experiments.record_demonstrations --task=finger/spin --demonstrator=smooth \
  --output=FILE.npz --episodes=500
python -m experiments.record_demonstrations --task=jaco/stack --demonstrator=direct \
  --output=FILE.npz --episodes=500
"""

import contextlib
import hashlib
import os
import pathlib
from typing import NamedTuple

from absl import flags
import jax
import numpy as np

from eimitate import acting_on_device
from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording
from experiments import command_line

_CHECKPOINT = flags.DEFINE_string('checkpoint', '', 'A work directory, or one step in it.')
_BEST = flags.DEFINE_bool('best', False, 'The best evaluated step instead of the latest.')
_DEMONSTRATOR = flags.DEFINE_string(
  'demonstrator', '', f'Without a checkpoint: {" or ".join(demonstrators.DEMONSTRATORS)}.'
)
_TASK = flags.DEFINE_string('task', '', "Without a checkpoint: the demonstrator's domain/task.")
_OUTPUT = flags.DEFINE_string('output', '', 'The npz file to write.')
_EPISODES = flags.DEFINE_integer('episodes', 20, 'How many.', lower_bound=1)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the initial states.', lower_bound=0)
_ACTION_REPEAT = flags.DEFINE_integer(
  'action_repeat', 0, "Environment steps per action; 0 for the checkpoint's own.", lower_bound=0
)
_SPREAD = flags.DEFINE_float(
  'spread', 0.0, 'Uniform noise on initial positions and velocities.', lower_bound=0.0
)
_PROCESSES = flags.DEFINE_integer(
  'processes', 0, 'That a named demonstrator records in; 0 for one per core.', lower_bound=0
)


# On device all episodes are recorded at once, and again for those that failed.
_MOST_ROUNDS = 10


class _Source(NamedTuple):
  """What acts, on which task, at which action repeat, and how it came to be.

  on_device: whether the environments are. loaded: the checkpoint of a policy that acts there.
  """

  demonstrator: demonstrators.Demonstrator
  task: str
  action_repeat: int
  provenance: str
  on_device: bool = False
  loaded: evaluation.Loaded | None = None


def main() -> None:
  errors.check(_OUTPUT.value.endswith('.npz'), '--output', repr(_OUTPUT.value), 'a name.npz')
  folder = pathlib.Path(_OUTPUT.value).absolute().parent
  errors.check(folder.is_dir(), '--output', f'no directory {folder}', 'one that exists')
  given = bool(_CHECKPOINT.value or _DEMONSTRATOR.value)
  errors.check(given, '--checkpoint', 'none', 'one, or a --demonstrator')
  source = _scripted() if _DEMONSTRATOR.value else _trained()
  environment = _make_environment(source)
  with _attempts(source, environment) as attempts:
    episodes, begun = recording.successes(source.demonstrator, attempts, _EPISODES.value)
  metadata = demonstrations.Metadata(
    task=source.task,
    action_repeat=source.action_repeat,
    control_timestep=environment.control_timestep,
    provenance=f'{source.provenance}; initial states spread by {_SPREAD.value}',
    versions=recording.versions(source.on_device),
    seed=_SEED.value,
  )
  demonstrations.save(_OUTPUT.value, metadata, episodes)
  returns = [float(episode.trajectory.rewards.sum()) for episode in episodes]
  print(
    f'{_OUTPUT.value}: {len(returns)} episodes of {source.task}, return {np.mean(returns):.1f}'
    f' (standard deviation {np.std(returns):.1f}, lowest {np.min(returns):.1f});'
    f' {begun - len(returns)} of {begun} begun were no success'
  )


def _make_environment(source):
  if not source.on_device:
    return environments.make_environment(source.task, source.action_repeat)
  expected = '0 on device, where initial states are drawn by the simulation alone'
  errors.check(not _SPREAD.value, '--spread', _SPREAD.value, expected)
  factory = source.loaded.description['config']['environment'] if source.loaded else ''
  made = environments.make_on_device(source.task, source.action_repeat, _EPISODES.value, factory)
  return made.of(len(made), source.demonstrator.longest)


def _record_on_device(source, environment):
  """The first episode of each environment, unless it fails, from one seed after another."""
  if source.loaded:
    policy, params = source.loaded.policy, source.loaded.params
  else:
    policy, params = lambda params, action, seen: action, None
  seeds = range(_SEED.value, _SEED.value + _MOST_ROUNDS * len(environment), len(environment))
  for seed in seeds:
    given = None if source.loaded else _actions(source, environment, seed)
    for episode in acting_on_device.record(policy, params, environment, seed, given):
      if episode:
        yield episode


def _actions(source, environment, first):
  """`[T, B, A]`, of a demonstrator that does not look."""
  seeds = range(first, first + len(environment))
  acting = [source.demonstrator.begin(environment, np.random.default_rng(seed)) for seed in seeds]
  steps = range(environment.longest_episode)
  return np.stack([np.concatenate([act(np.zeros(0)) for act in acting]) for _ in steps])


def _attempts(source, environment):
  """A context with the episodes to choose from, recorded here or in several processes."""
  if source.on_device:
    return contextlib.nullcontext(_record_on_device(source, environment))
  processes = _PROCESSES.value or len(os.sched_getaffinity(0))
  if not _DEMONSTRATOR.value or processes == 1:
    attempts = recording.attempts(source.demonstrator, environment, _SEED.value, _SPREAD.value)
    return contextlib.nullcontext(attempts)
  return recording.attempts_in_processes(
    _DEMONSTRATOR.value,
    source.task,
    source.action_repeat,
    _SEED.value,
    _SPREAD.value,
    processes,
    _EPISODES.value,
  )


def _scripted() -> _Source:
  """The named demonstrator."""
  name, known = _DEMONSTRATOR.value, demonstrators.DEMONSTRATORS
  errors.check(name in known, '--demonstrator', repr(name), ' or '.join(known))
  errors.check(not _CHECKPOINT.value, '--checkpoint', repr(_CHECKPOINT.value), 'none beside it')
  on_device = environments.is_program(_TASK.value)
  expected = 'one that need not look, on device'
  errors.check(not (on_device and known[name].looks), '--demonstrator', repr(name), expected)
  repeat = environments.resolve_action_repeat(_TASK.value, _ACTION_REPEAT.value)
  return _Source(known[name], _TASK.value, repeat, f'the {name} demonstrator', on_device)


def _trained() -> _Source:
  """The deterministic policy of a checkpoint."""
  loaded = evaluation.performing(evaluation.load(_CHECKPOINT.value, _TASK.value, _BEST.value))
  config = loaded.description['config']
  frames, expected = config['frame_size'], 'one of states, which a recording holds'
  errors.check(not frames, 'checkpoint', f'a policy of frames of {frames}', expected)
  task, trained = loaded.description['task'], loaded.description['action_repeat']
  factory = config['environment']
  on_device = config['actors']['placement'] == 'device'
  replayable = on_device or not factory
  errors.check(replayable, 'checkpoint environment', repr(factory), "a task of dm_control's suite")
  act = lambda observations: loaded.policy(loaded.params, jax.random.key(0), observations)
  provenance = (
    f'{loaded.description["agent"]}, deterministic, after {loaded.counters["env_steps"]} env'
    f' steps of seed {loaded.description["seed"]} at action repeat {trained}, parameters'
    f' {_fingerprint(loaded.params)}'
  )
  demonstrator = demonstrators.Demonstrator(lambda environment, rng: act)
  repeat = _ACTION_REPEAT.value or trained
  return _Source(demonstrator, task, repeat, provenance, on_device, loaded if on_device else None)


def _fingerprint(params) -> str:
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]


if __name__ == '__main__':
  command_line.run(main)

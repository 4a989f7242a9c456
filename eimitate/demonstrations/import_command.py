"""`python -m eimitate.demonstrations import`: from a file of another library to a dataset."""

import argparse
import dataclasses
import hashlib
import math
import os
import pathlib
from typing import NamedTuple

from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import formats
from eimitate.demonstrations import importing
from eimitate.demonstrations.formats import minari

_OWN = 'npz'


class _Source(NamedTuple):
  """episodes: as they are. metadata: of our own datasets only. words: on what is left out."""

  episodes: list[types.Demonstration]
  metadata: dataset_lib.Metadata | None
  words: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Defines what `run` reads."""
  parser.add_argument('format', choices=[*formats.READERS, _OWN])
  parser.add_argument('path', help='the file, or the directory of a Minari dataset')
  parser.add_argument('--task', required=True, help='domain/task')
  parser.add_argument('--output', required=True, help='the npz file to write')
  parser.add_argument('--episodes', default='', help='numbers from 0: 0,3,5-9; all if not given')
  parser.add_argument(
    '--observation_keys', default='', help="parts of an observation, in the environment's order"
  )
  parser.add_argument('--action_repeat', type=int, default=1, help="the source's steps per action")
  parser.add_argument(
    '--source_repeat', type=int, default=1, help='environment steps in a step of the source'
  )
  parser.add_argument('--repeated_actions', default='same', help='same, first or mean')
  parser.add_argument('--actions', default='keep', help='keep, clip, rescale or drop')
  parser.add_argument('--action_low', default='', help='for rescale: a number, or one a component')
  parser.add_argument('--action_high', default='', help='likewise')
  parser.add_argument(
    '--control_timestep',
    type=float,
    help="seconds per step of the source, for a task that is not dm_control's",
  )
  parser.add_argument('--source', default='', help='whose demonstrations, for the provenance')


def run(arguments: argparse.Namespace) -> None:
  """Writes the dataset, or nothing, and prints what it did.

  Raises:
    InputError: if the source or an argument is bad, or does not fit the task.
  """
  output = arguments.output
  errors.check(output.endswith('.npz'), '--output', repr(output), 'a name.npz')
  parent = pathlib.Path(output).absolute().parent
  errors.check(parent.is_dir(), '--output', f'no directory {parent}', 'one that exists')
  try:
    source = _read(arguments)
    fingerprint = _fingerprint(arguments)
    episodes, changes = _change(source, arguments)
    metadata = _describe(arguments, source, fingerprint, changes)
    _check_task(arguments, metadata, episodes)
    dataset_lib.save(output, metadata, episodes)
  except OSError as error:
    raise errors.InputError(f'file: found {error}, expected files that can be used') from error
  steps = sum(len(episode.trajectory.rewards) for episode in episodes)
  print(
    '; '.join([f'{output}: {len(episodes)} episodes, {steps} steps of {metadata.task}', *changes])
  )


def _read(arguments):
  keys = tuple(key for key in arguments.observation_keys.split(',') if key)
  if arguments.format != _OWN:
    trajectories, words = formats.read(arguments.format, arguments.path, keys)
    return _Source(importing.wrap(trajectories), None, words)
  errors.check(not keys, '--observation_keys', keys, f'none for {_OWN}')
  dataset = dataset_lib.load(arguments.path)
  task = dataset.metadata.task
  errors.check(arguments.task == task, '--task', repr(arguments.task), f"the file's {task!r}")
  return _Source(list(dataset.episodes), dataset.metadata)


def _change(source, arguments):
  episodes, changes = source.episodes, [source.words]
  if arguments.episodes:
    episodes, words = importing.choose(episodes, importing.parse_choice(arguments.episodes))
    changes.append(words)
  low, high = (_numbers(arguments, name) for name in ('action_low', 'action_high'))
  episodes, words = importing.change_actions(episodes, arguments.actions, low, high)
  changes.append(words)
  repeat, repeated = arguments.action_repeat, arguments.repeated_actions
  episodes, words = importing.subsample(episodes, repeat, repeated)
  changes.append(words)
  return episodes, [words for words in changes if words]


def _numbers(arguments, name):
  text = getattr(arguments, name)
  try:
    return tuple(float(part) for part in text.split(',')) if text else ()
  except ValueError:
    raise errors.InputError(
      f'--{name}: found {text!r}, expected numbers separated by commas'
    ) from None


def _describe(arguments, source, fingerprint, changes):
  name = os.path.basename(os.path.normpath(arguments.path))
  name = os.fsencode(name).decode(errors='replace')
  words = [f'{arguments.format} file {name}, sha256 {fingerprint}', *changes]
  if arguments.source:
    words.insert(0, arguments.source)
  seconds = arguments.control_timestep
  good = seconds is None or 0 < seconds < math.inf
  errors.check(good, '--control_timestep', seconds, 'seconds, more than 0')
  repeat, own = arguments.action_repeat, arguments.source_repeat
  most = importing.MOST_REPEAT
  errors.check(1 <= own <= most, '--source_repeat', own, f'1 to {most}')
  if source.metadata:
    old = source.metadata
    errors.check(own == 1, '--source_repeat', own, f'none for {_OWN}, which says so itself')
    seconds = old.control_timestep if seconds is None else seconds
    provenance = '; '.join([*words, old.provenance])
    return dataclasses.replace(
      old,
      action_repeat=repeat * old.action_repeat,
      control_timestep=repeat * seconds,
      provenance=provenance,
    )
  if seconds is None:
    program = environments.is_program(arguments.task)
    expected = f'seconds, as {arguments.task} is on device'
    errors.check(not program, '--control_timestep', 'none', expected)
    seconds = environments.make_environment(arguments.task, own).control_timestep
  return dataset_lib.Metadata(
    task=arguments.task,
    action_repeat=repeat * own,
    control_timestep=repeat * seconds,
    provenance='; '.join(words),
    versions={},
    seed=-1,
  )


def _check_task(arguments, metadata, episodes):
  # There is no environment to make of a user's own task, and none on the host of a program.
  own = arguments.control_timestep is not None and not environments.is_known(metadata.task)
  if own or environments.is_program(metadata.task):
    return
  environment = environments.make_environment(metadata.task, metadata.action_repeat)
  dataset = dataset_lib.Dataset(metadata, tuple(episodes), '')
  spec = environments.environment_spec(environment)
  dataset_lib.check_matches(
    dataset, metadata.task, metadata.action_repeat, spec, needs_actions=False
  )


def _fingerprint(arguments):
  path = minari.find(arguments.path) if arguments.format == 'minari' else arguments.path
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()

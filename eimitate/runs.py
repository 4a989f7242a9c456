"""What a run is: its settings, what names it, and the work directory that holds it."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import re
from typing import Any, NamedTuple

from eimitate import configuration
from eimitate import errors

LARGEST_SEED = 2**32 - 1
"""jax takes seeds modulo 2^32: larger ones would be the same as smaller ones."""

PLACEMENTS = ('host', 'device', 'ray')
"""Of actors: `host`, in this process, acted on in one batch; `device`, a jax program's; `ray`, in
Ray's workers."""


@dataclasses.dataclass(frozen=True)
class ActorsConfig:
  """num: environments acted on in one batch.

  placement: where they run, one of `PLACEMENTS`.
  workers: Ray's, each with `num` environments.
  temperatures: of the search's action while collecting, from each fraction of the run on.
  """

  num: int = 2
  placement: str = 'host'
  workers: int = 1
  temperatures: tuple[float, ...] = (1.0, 0.5, 0.25)
  fractions: tuple[float, ...] = (0.0, 0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
  """episodes: capacity, in episodes of the longest length.

  longest: agent steps of the longest episode; 0 for the longest demonstration's or what the
    environment says, if that is more. Longer ones are stored in parts of this length.
  """

  episodes: int = 400
  longest: int = 0


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
  """How demonstrations are followed, by agents that imitate them (MetaMimic, section 2).

  task_actors: of `actors.num`, so many perform the task instead.
  parts: the observation's parts that the tracking reward compares and their weights, like
    `position=15,velocity=2`; empty for all of them alike.
  width: sigma of each, as a share of the part's variance over the demonstrations.
  cutoff: tracking is lost where the reward is below it; 0 for never.
  farthest: parts and the distances at which tracking is lost, like `hand_to_block=0.01`.
  curriculum, task_curriculum: episodes that follow, and those that perform the task, begin within
    so many first steps of a demonstration; 0 for its beginning, and for the task's own.
  validation: path of a dataset of demonstrations to evaluate with that are not learnt from; empty
    for those behind the first `num_demonstrations`, as far as there are any.
  evaluated: demonstrations of either kind in an evaluation, at most.
  """

  task_actors: int = 0
  parts: str = ''
  width: float = 0.1
  cutoff: float = 0.5
  farthest: str = ''
  curriculum: int = 0
  task_curriculum: int = 0
  validation: str = ''
  evaluated: int = 20


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """episodes: greedy ones per evaluation; interval: agent steps between evaluations.

  diagnostics: whether the agent also says how it learns; that takes half a minute to compile.
  """

  episodes: int = 5
  interval: int = 500
  diagnostics: bool = True


@dataclasses.dataclass(frozen=True)
class CheckpointsConfig:
  """interval: agent steps between checkpoints; keep: how many of the latest stay."""

  interval: int = 500
  keep: int = 2


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
  """devices: to learn on, 0 for as many as divide the batch (its half, for EfficientImitate).

  backend: `pmap`, or `shard_map`, which jax develops further: the same results.
  coordinator: `host:port` of process 0, where several processes train as one and share `devices`
    evenly. num_processes: how many they are. process_id: this one's, from 0. wait: seconds for all
    to come.
  """

  devices: int = 0
  backend: str = 'pmap'
  coordinator: str = ''
  num_processes: int = 1
  process_id: int = 0
  wait: float = 60.0


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything of a run that is not the agent's.

  agent_steps: length of the run, at most.
  target_return: the run ends when two evaluations in a row reach it; 0 for never.
  updates_per_agent_step: gradient updates for every action taken.
  updates_per_call: updates in one compiled call.
  num_demonstrations: the first so many episodes are learnt from. 0 for none, where the agent
    learns from the recorded reward; and, where it follows demonstrations, for all but some to
    evaluate with: see `tracking.divide`.
  demonstrations: path of a dataset; empty for the one shipped for the task.
  environment: `module:function` that makes a dm_env environment; empty for the dm_control suite.
  action_repeat: environment steps per action; 0 for the task's own.
  frame_size: height and width of the frames to observe; 0 to observe state.
  stack: frames that the agent sees at once.
  init_from: a work directory or one step in it, whose parameters the run starts from; nothing else
    of it is taken over.
  """

  agent_steps: int = 2500
  target_return: float = 0.0
  updates_per_agent_step: float = 4.0
  updates_per_call: int = 50
  num_demonstrations: int = 5
  demonstrations: str = ''
  environment: str = ''
  action_repeat: int = 0
  frame_size: int = 0
  stack: int = 4
  init_from: str = ''
  actors: ActorsConfig = ActorsConfig()
  replay: ReplayConfig = ReplayConfig()
  tracking: TrackingConfig = TrackingConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  checkpoints: CheckpointsConfig = CheckpointsConfig()
  parallel: ParallelConfig = ParallelConfig()


class Run(NamedTuple):
  """What names a run: two runs are the same if and only if these are equal.

  agent: a name in `evaluation.AGENTS`; agent_config: its configuration.
  """

  agent: str
  task: str
  seed: int
  agent_config: Any
  config: Config


def current_temperature(config: ActorsConfig, fraction: float) -> float:
  """The temperature at `fraction` of the run."""
  passed = [t for t, start in zip(config.temperatures, config.fractions) if fraction >= start]
  return passed[-1]


def validate(run: Run) -> None:
  """Raises `InputError` on settings that no run can have."""
  config, seed = run.config, run.seed
  errors.check(0 <= seed <= LARGEST_SEED, 'seed', seed, f'in [0, {LARGEST_SEED}]')
  for settings in (run.agent_config, config):
    configuration.check_finite(settings)
  positive = {
    'agent_steps': config.agent_steps,
    'updates_per_agent_step': config.updates_per_agent_step,
    'updates_per_call': config.updates_per_call,
    'stack': config.stack,
    'actors.num': config.actors.num,
    'actors.workers': config.actors.workers,
    'replay.episodes': config.replay.episodes,
    'evaluation.episodes': config.evaluation.episodes,
    'evaluation.interval': config.evaluation.interval,
    'checkpoints.interval': config.checkpoints.interval,
    'checkpoints.keep': config.checkpoints.keep,
    'tracking.width': config.tracking.width,
    'tracking.evaluated': config.tracking.evaluated,
    'parallel.wait': config.parallel.wait,
  }
  for field, value in positive.items():
    errors.check(value > 0, f'config.{field}', value, 'more than 0')
  for field, value in {
    'target_return': config.target_return,
    'replay.longest': config.replay.longest,
    'tracking.curriculum': config.tracking.curriculum,
    'tracking.task_curriculum': config.tracking.task_curriculum,
  }.items():
    errors.check(value >= 0, f'config.{field}', value, '0 or more')
  tracking = config.tracking
  errors.check(0 <= tracking.cutoff < 1, 'config.tracking.cutoff', tracking.cutoff, 'in [0, 1)')
  some = 0 <= tracking.task_actors < config.actors.num
  expected = f'fewer than the {config.actors.num} actors, so that some follow demonstrations'
  errors.check(some, 'config.tracking.task_actors', tracking.task_actors, expected)
  actors = config.actors
  found = repr(actors.placement)
  errors.check(
    actors.placement in PLACEMENTS, 'config.actors.placement', found, ' or '.join(PLACEMENTS)
  )
  one = actors.placement == 'ray' or actors.workers == 1
  expected = '1, or config.actors.placement=ray'
  errors.check(one, 'config.actors.workers', actors.workers, expected)
  starts, temperatures = actors.fractions, actors.temperatures
  fits = len(temperatures) == len(starts) > 0 and starts[0] == 0
  expected = 'as many as config.actors.temperatures, the first one 0'
  errors.check(fits, 'config.actors.fractions', starts, expected)
  ascending = list(starts) == sorted(starts) and starts[-1] <= 1
  errors.check(ascending, 'config.actors.fractions', starts, 'ascending ones, up to 1')
  expected = '0 or more each'
  errors.check(min(temperatures) >= 0, 'config.actors.temperatures', temperatures, expected)


def _identity(description):
  """What makes a run another one: not on how many devices it runs, nor how frames are drawn.

  Nor what was learnt from, which older directories do not say: the dataset's checksum does.
  """
  config = {k: v for k, v in description.get('config', {}).items() if k != 'parallel'}
  rest = {k: v for k, v in _without_pixels(description).items() if k != 'learnt'}
  return {**rest, 'config': config}


def _without_pixels(description):
  """The background differs a little by the renderer; the demonstrations' checksum does not."""
  spec = description.get('environment_spec', {})
  if not spec.get('frame'):
    return description
  rest = {k: v for k, v in spec.items() if k not in ('observation_mean', 'observation_scale')}
  return {**description, 'environment_spec': rest}


def common(description: Mapping[str, Any]) -> dict[str, Any]:
  """What all processes of a run must have in common: all of its description but their number."""
  config = description['config']
  parallel = {k: v for k, v in config['parallel'].items() if k != 'process_id'}
  return {**_without_pixels(description), 'config': {**config, 'parallel': parallel}}


def _read(path):
  stored: Any = None
  with contextlib.suppress(ValueError):  # No JSON, or no text.
    stored = json.loads(path.read_text())
  whole = isinstance(stored, dict) and isinstance(stored.get('config'), dict)
  errors.check(whole, 'workdir', f'{path} damaged', 'what a run has written there')
  return stored


@contextlib.contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
  """Makes a work directory and keeps other processes out; a process that dies lets go of it.

  Raises:
    InputError: if another one trains there.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  folder = os.open(workdir, os.O_RDONLY)
  try:
    try:
      fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      expected = 'one that no other process trains in'
      raise errors.InputError(f'workdir: found {workdir} in use, expected {expected}') from error
    except OSError:  # Some network's file systems have no such locks.
      logging.warning('%s cannot be locked: do not train there twice at once', workdir)
    yield
  finally:
    os.close(folder)


def claim(workdir: pathlib.Path, description: Mapping[str, Any]) -> None:
  """Writes config.json into a new work directory, or checks that a used one holds this run.

  It must exist, and be locked. A run that is given more agent steps than before is the same,
  prolonged.
  """
  path = workdir / 'config.json'
  if path.exists():
    stored = _read(path)
    before, steps = stored['config'].get('agent_steps'), description['config']['agent_steps']
    prolonged = isinstance(before, int) and before < steps
    if prolonged:
      stored['config']['agent_steps'] = steps
    different = configuration.differences(_identity(stored), _identity(description))
    expected = 'the same settings to resume, more agent_steps to prolong, or another --workdir'
    errors.check(not different, 'workdir', f'{workdir} with {"; ".join(different)}', expected)
    if prolonged:
      logging.warning('%s is prolonged to %d agent steps', workdir, steps)
      _write(path, stored)
    return
  # A start that was killed leaves the half-written one.
  names = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
  used = bool(names - {'config.json.partial'})
  errors.check(not used, 'workdir', f'{workdir} with files but no config.json', 'an empty one')
  _write(path, description)


def _write(path, description):
  text = json.dumps(description, indent=2)
  # A list of numbers, such as a frame's, takes one line.
  text = re.sub(r'\[\n[-+.e\d,\s]+\]', lambda numbers: ' '.join(numbers[0].split()), text)
  partial = path.with_name(f'{path.name}.partial')
  partial.write_text(text + '\n')
  partial.rename(path)

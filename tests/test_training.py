"""The loop on a tiny agent: files, resuming, bad input."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from eimitate import acting
from eimitate import checkpoints
from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import evaluation
from eimitate import logs
from eimitate import runs
from eimitate import training
from eimitate import types
from tests.agents import test_efficient_imitate_learner as learner_test

_FACTORY = 'tests.environments.fakes:make'


@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  """Demonstrations of the point mass: it is pushed towards the middle."""
  environment = environments.make_environment('point', 1, _FACTORY)
  act = lambda observations: np.clip(-observations[:, :1], -1, 1)
  episodes = []
  for seed in range(3):
    [trajectory] = acting.collect_episodes(act, [environment], [seed])
    states = np.zeros((len(trajectory.observations), 1))
    episodes.append(types.Demonstration(trajectory, states, {}))
  path = tmp_path_factory.mktemp('data') / 'point.npz'
  metadata = demonstrations.Metadata('point', 1, 1.0, 'a test', {}, 0)
  demonstrations.save(path, metadata, episodes)
  return str(path)


def _run(data, seed=0, agent=None, **overrides):
  settings = {
    'agent_steps': 120,
    'updates_per_agent_step': 0.5,
    'updates_per_call': 5,
    'num_demonstrations': 2,
    'demonstrations': data,
    'environment': _FACTORY,
    'evaluation.episodes': 2,
    'evaluation.interval': 40,
    'checkpoints.interval': 40,
    'parallel.devices': 2,
    'replay.episodes': 4,
  }
  config = configuration.override(runs.Config(), settings | overrides)
  return runs.Run('efficient_imitate', 'point', seed, agent or learner_test.small(), config)


@pytest.fixture(name='trained', scope='module')
def _trained(data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained') / 'run'
  result = training.train(_run(data), workdir)
  return workdir, result


def test_files_and_counters(trained):
  workdir, result = trained
  names = {path.name for path in workdir.iterdir()}
  assert names == {'config.json', 'metrics.jsonl', 'timing.jsonl', 'tensorboard', 'checkpoints'}
  rows = logs.read(workdir / 'metrics.jsonl')
  assert all(set(logs.COUNTERS) <= set(row) for row in rows)
  assert rows[-1]['agent_steps'] == 120 == rows[-1]['env_steps']
  assert rows[-1]['updates'] == 60
  assert rows[-1]['eval/mean_return'] == result['mean_return']
  assert not any(name.startswith('time/') for row in rows for name in row)
  evaluated = [row['agent_steps'] for row in rows if 'eval/mean_return' in row]
  assert evaluated == [0, 40, 80, 120]
  assert list((workdir / 'tensorboard').iterdir())


def test_checkpoint_rebuilds_alone(trained):
  workdir, result = trained
  loaded = evaluation.load(workdir)
  evaluated = evaluation.evaluate(loaded, 2)
  assert evaluated['mean_return'] == pytest.approx(result['mean_return'])
  assert evaluated['agent_steps'] == 120 and evaluated['task'] == 'point'
  steps = sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())
  assert steps == [80, 120]
  assert evaluation.load(workdir / 'checkpoints' / '80').counters['agent_steps'] == 80


def test_checkpoint_of_another_version(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained[0], workdir)
  for path in (workdir / 'checkpoints').rglob('config/metadata'):
    description = json.loads(path.read_text())
    del description['expert_return']
    path.write_text(json.dumps(description))
  with pytest.raises(ValueError, match=r"one that differs in \['expert_return'\]"):
    evaluation.load(workdir)


def test_resuming_is_exact(data, trained, tmp_path):
  workdir, _ = trained
  # Stopped right after a later round than the last checkpoint: its metrics must be dropped.
  broken = tmp_path / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training._Loop, '_learn', _failing_after(training._Loop._learn, 2))
    with pytest.raises(KeyboardInterrupt):
      training.train(_run(data), broken)
  assert len(logs.read(broken / 'metrics.jsonl')) > 0
  training.train(_run(data), broken)
  assert (broken / 'metrics.jsonl').read_bytes() == (workdir / 'metrics.jsonl').read_bytes()


def _failing_after(learn, calls):
  made = iter(range(100))

  def wrapped(self, state, logger):
    if next(made) >= calls:
      raise KeyboardInterrupt
    return learn(self, state, logger)

  return wrapped


def test_a_finished_run_stays_as_it_is(data, trained):
  workdir, _ = trained
  before = (workdir / 'metrics.jsonl').read_bytes()
  training.train(_run(data), workdir)
  assert (workdir / 'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize(
  'overrides, seed, message',
  [
    ({}, 7, 'seed: stored 0, given 7'),
    ({'updates_per_call': 10}, 0, 'config.updates_per_call: stored 5, given 10'),
  ],
)
def test_another_runs_workdir_is_refused(data, trained, overrides, seed, message):
  workdir, _ = trained
  before = (workdir / 'metrics.jsonl').read_bytes()
  with pytest.raises(ValueError, match=f'workdir: found .*{message}.*expected the same settings'):
    training.train(_run(data, seed=seed, **overrides), workdir)
  assert (workdir / 'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'agent_steps': 0}, 'config.agent_steps: found 0, expected more than 0'),
    ({'num_demonstrations': 9}, 'config.num_demonstrations: found 9, expected 1 to 3'),
    ({'action_repeat': 2}, "action repeat: found 2 .*expected the demonstrations' 1"),
    ({'demonstrations': 'none.npz'}, 'demonstrations: found no file none.npz'),
    ({'environment': 'nothing'}, 'config.environment: found'),
    ({'parallel.devices': 3}, 'config.parallel.devices: found 3, expected a divisor'),
    (
      {'replay.episodes': 1},
      'config.replay.episodes: found 1, expected at least one for each of 2',
    ),
    ({'actors.fractions': (0.5,)}, 'config.actors.fractions: found'),
  ],
)
def test_bad_input_writes_nothing(data, tmp_path, overrides, message):
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match=message):
    training.train(_run(data, **overrides), workdir)
  assert not workdir.exists()


def test_a_strangers_folder_is_refused(data, tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(ValueError, match='with files but no config.json, expected an empty one'):
    training.train(_run(data), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_not_finite_stops_the_run(data, tmp_path):
  agent = learner_test.small(**{'optimiser.learning_rate': 1e30})
  with pytest.raises(FloatingPointError, match='not finite after'):
    training.train(_run(data, agent=agent), tmp_path / 'run')


@pytest.mark.parametrize('make', [lambda path: None, lambda path: path.mkdir()])
def test_no_checkpoint(tmp_path, make):
  make(tmp_path / 'empty')
  with pytest.raises(ValueError, match='checkpoint: found no checkpoint in .*empty'):
    evaluation.load(tmp_path / 'empty')


def test_checkpoint_of_another_task_or_step(trained):
  workdir, _ = trained
  with pytest.raises(ValueError, match="checkpoint task: found 'point', expected 'walker/walk'"):
    evaluation.load(workdir, 'walker/walk')
  with pytest.raises(ValueError, match='checkpoint: found no step 7'):
    checkpoints.open_existing(workdir / 'checkpoints' / '7')


def test_temperature_schedule():
  actors = runs.ActorsConfig()
  temperatures = [runs.current_temperature(actors, x) for x in (0, 0.49, 0.5, 0.74, 0.75, 1)]
  assert temperatures == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_unfinished_last_line_is_left_out(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(json.dumps({'agent_steps': 1}) + '\n{"agent_st')
  assert logs.read(path) == [{'agent_steps': 1}]


def test_config_json_holds_everything(trained):
  description = json.loads((pathlib.Path(trained[0]) / 'config.json').read_text())
  assert description['expert_return'] > 0
  assert len(description['demonstrations']) == 64
  assert len(jax.tree.leaves(description['environment_spec'])) == 2 + 2 * 2

"""The loop on a tiny agent: files, resuming, bad input."""

import errno
import json
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import acting
from eimitate import checkpoints
from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import evaluation
from eimitate import inputs as inputs_lib
from eimitate import logs
from eimitate import parallel
from eimitate import runs
from eimitate import states
from eimitate import training
from eimitate import types
from eimitate.agents import behavioural_cloning
from eimitate.agents import learning
from tests.agents import test_d4pg as d4pg_test
from tests.agents import test_efficient_imitate_learner as learner_test

_FACTORY = 'tests.environments.fakes:make'


_CLONING = behavioural_cloning.Config(batch_size=8, policy=(16,))


@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  return write_demonstrations(tmp_path_factory.mktemp('data') / 'point.npz')


def write_demonstrations(path):
  """Demonstrations of the point mass: it is pushed towards the middle."""
  environment = environments.make_environment('point', 1, _FACTORY)
  act = lambda observations: np.clip(-observations[:, :1], -1, 1)
  episodes = []
  for seed in range(3):
    [trajectory], _ = acting.collect_episodes(act, [environment], [seed])
    states = np.zeros((len(trajectory.observations), 1))
    episodes.append(types.Demonstration(trajectory, states, {}))
  metadata = demonstrations.Metadata('point', 1, 1.0, 'a test', {}, 0)
  demonstrations.save(path, metadata, episodes)
  return str(path)


def small_run(data, seed=0, agent=None, **overrides):
  settings = {
    'agent_steps': 120,
    'updates_per_agent_step': 0.5,
    'updates_per_call': 5,
    'num_demonstrations': 2,
    'demonstrations': data,
    'environment': _FACTORY,
    'evaluation.episodes': 2,
    'evaluation.interval': 40,
    'evaluation.diagnostics': False,
    'checkpoints.interval': 40,
    'parallel.devices': 2,
    'replay.episodes': 4,
  }
  config = configuration.override(runs.Config(), settings | overrides)
  return runs.Run('efficient_imitate', 'point', seed, agent or learner_test.small(), config)


@pytest.fixture(name='trained', scope='module')
def _trained(data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained') / 'run'
  result = training.train(small_run(data), workdir)
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


def test_diagnostics_at_every_evaluation_with_data(data, trained, tmp_path):
  training.train(small_run(data, **{'evaluation.diagnostics': True}), tmp_path / 'run')
  logged = logs.read(tmp_path / 'run' / 'metrics.jsonl')
  rows = [row for row in logged if 'search/improvement' in row]
  # They change nothing.
  assert [row for row in logged if row not in rows] == logs.read(trained[0] / 'metrics.jsonl')
  assert [row['agent_steps'] for row in rows] == [40, 80, 120]
  names = set(rows[0]) - set(logs.COUNTERS)
  assert {name.partition('/')[0] for name in names} == {
    'discriminator', 'gradient', 'model', 'policy', 'search', 'value',
  }  # fmt: skip
  documented = (pathlib.Path(__file__).parents[1] / 'README.md').read_text()
  families = {name.rstrip('0123456789') for name in names if not name.startswith('gradient/')}
  assert all(f'`{name}' in documented for name in families)


def test_checkpoint_rebuilds_alone(trained):
  workdir, result = trained
  loaded = evaluation.load(workdir)
  evaluated = evaluation.evaluate(loaded, evaluation.environments_of(loaded, 2))
  assert evaluated['mean_return'] == pytest.approx(result['mean_return'])
  assert evaluated['agent_steps'] == 120 and evaluated['seed'] == 0
  steps = sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())
  best = checkpoints.Checkpoints(workdir, reading=True).best()
  assert steps == sorted({80, 120, best})
  assert evaluation.load(workdir / 'checkpoints' / '80').counters['agent_steps'] == 80


def test_checkpoint_of_another_version(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained[0], workdir)

  def leave_out(field):
    for path in (workdir / 'checkpoints').rglob('config/metadata'):
      description = json.loads(path.read_text())
      del description[field]
      path.write_text(json.dumps(description))
      digest = path.parents[1] / 'digest' / 'metadata'
      changed = json.loads(digest.read_text()) | {'config': checkpoints._digest_text(description)}
      digest.write_text(json.dumps(changed))

  leave_out('learnt')  # As the first versions did.
  assert evaluation.load(workdir).description['learnt'] == ''
  leave_out('expert_return')
  with pytest.raises(ValueError, match=r"one that differs in \['expert_return'\]"):
    evaluation.load(workdir)


def test_resuming_is_exact(data, trained, tmp_path):
  workdir, _ = trained
  # Killed in a later round than the last checkpoint's: its metrics must be dropped.
  broken = tmp_path / 'run'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training._Parts, 'log_round', _failing_after(training._Parts.log_round, 2))
    with pytest.raises(KeyboardInterrupt):
      training.train(small_run(data), broken)
  assert len(logs.read(broken / 'metrics.jsonl')) > 0
  training.train(small_run(data), broken)
  assert (broken / 'metrics.jsonl').read_bytes() == (workdir / 'metrics.jsonl').read_bytes()


def _failing_after(function, calls):
  made = iter(range(100))

  def wrapped(self, state):
    if next(made) >= calls:
      raise KeyboardInterrupt
    return function(self, state)

  return wrapped


def test_stopping_within_a_round_saves_and_is_exact(data, trained, tmp_path):
  workdir, result = trained
  stopped = tmp_path / 'run'
  # Each of the three rounds asks before it begins and before each of its 4 calls of 5 updates.
  for asked, expected in ((3, (40, 10)), (11, (120, 50))):
    left = iter(range(asked))
    training.train(small_run(data), stopped, lambda: next(left, None) is None)
    counters = evaluation.load(stopped).counters
    assert (counters['agent_steps'], counters['updates']) == expected
  assert training.train(small_run(data), stopped) == result
  assert (stopped / 'metrics.jsonl').read_bytes() == (workdir / 'metrics.jsonl').read_bytes()


def _damages(path):
  whole = path.read_bytes()
  yield whole[: len(whole) // 2]
  middle = len(whole) // 2
  yield whole[:middle] + bytes([whole[middle] ^ 8]) + whole[middle + 1 :]


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # Of orbax's.
def test_a_damaged_checkpoint_is_never_used(data, trained, tmp_path):
  """Whatever file of the latest is damaged: it is refused, unless the damage changes nothing."""
  workdir = tmp_path / 'run'
  shutil.copytree(trained[0], workdir)
  params = evaluation.load(workdir).params
  files = [path for path in (workdir / 'checkpoints' / '120').rglob('*') if path.is_file()]
  refused = 0
  for path in files:
    whole = path.read_bytes()
    for damaged in _damages(path) if whole else ():
      path.write_bytes(damaged)
      try:
        loaded = evaluation.load(workdir)
      except ValueError as error:
        assert 'checkpoint: found step 120' in str(error)
        refused += 1
      else:
        jax.tree.map(np.testing.assert_array_equal, params, loaded.params)
    path.write_bytes(whole)
  assert refused > 5


def test_a_run_goes_on_from_the_last_whole_checkpoint(data, trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained[0], workdir)
  for path in (workdir / 'checkpoints' / '120' / 'replay').rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[:-1])
  with pytest.MonkeyPatch.context() as patch:
    said = []
    patch.setattr('logging.warning', lambda message, *arguments: said.append(message % arguments))
    training.train(small_run(data), workdir)
  assert len(said) == 1 and 'step 120' in said[0] and 'trying the one before' in said[0]
  before = (trained[0] / 'metrics.jsonl').read_bytes()
  assert (workdir / 'metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize(
  ('backend', 'changed'),
  [
    ('pmap', {}),
    # An agent that compiles sooner.
    ('shard_map', {'agent': 'behavioural_cloning', 'agent_config': _CLONING}),
  ],
)
def test_going_on_with_other_numbers_of_devices(data, tmp_path, backend, changed):
  workdir, said = tmp_path / 'run', []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('logging.warning', lambda message, *arguments: said.append(arguments))
    for asked, devices in ((2, 4), (3, 2), (4, 1), (100, 4)):
      left = iter(range(asked))
      settings = {'parallel.devices': devices, 'parallel.backend': backend}
      run = small_run(data, **settings)._replace(**changed)
      training.train(run, workdir, lambda: next(left, None) is None)
  assert said == [(2, 4), (1, 2), (4, 1)]
  counters = evaluation.load(workdir).counters
  assert (counters['agent_steps'], counters['updates']) == (120, 60)


def test_it_ends_after_two_evaluations_that_reach_the_target(data, trained, tmp_path):
  """Also where it is stopped between the two."""
  low = min(row['eval/mean_return'] for row in _evaluations(trained[0])[:2])
  assert low > 0
  left = iter(range(5))  # The first round's collection and updates, and a little.
  for stop in (lambda: next(left, None) is None, lambda: False):
    training.train(small_run(data, target_return=low), tmp_path / 'run', stop)
  reached = [row['agent_steps'] for row in _evaluations(tmp_path / 'run')]
  assert reached == [0, 40]
  training.train(small_run(data, target_return=1e9), tmp_path / 'other')
  assert [row['agent_steps'] for row in _evaluations(tmp_path / 'other')] == [0, 40, 80, 120]


def _evaluations(workdir):
  return [row for row in logs.read(workdir / 'metrics.jsonl') if 'eval/mean_return' in row]


def test_episodes_longer_than_the_longest_are_stored_in_parts(data, tmp_path):
  """As of an environment whose episodes last longer than all demonstrations did."""
  settings = {'replay.longest': 8, 'agent_steps': 40, 'replay.episodes': 12}
  training.train(small_run(data, **settings), tmp_path / 'run')
  assert evaluation.load(tmp_path / 'run').counters['agent_steps'] == 40


def test_starting_from_another_runs_parameters(data, trained, tmp_path):
  workdir, _ = trained
  settings = {'init_from': str(workdir), 'agent_steps': 40, 'updates_per_agent_step': 0.01}
  training.train(small_run(data, seed=5, **settings), tmp_path / 'run')
  first, last = evaluation.load(tmp_path / 'run').params, evaluation.load(workdir).params
  gone = small_run(data, seed=5, **(settings | {'init_from': str(tmp_path / 'gone')}))
  with pytest.raises(ValueError, match='checkpoint: found no checkpoint in'):
    training.train(gone, tmp_path / 'other')
  jax.tree.map(np.testing.assert_array_equal, first, last)


def test_starting_from_other_shapes_is_refused(data, trained, tmp_path):
  run = small_run(
    data, agent=learner_test.small(**{'networks.value': (7,)}), init_from=str(trained[0])
  )
  with pytest.raises(ValueError, match=r'config.init_from: found parameters with .*value.*stored'):
    training.train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_another_agents_checkpoint_is_refused(data, trained, tmp_path):
  other = {'agent': 'behavioural_cloning', 'agent_config': _CLONING}
  expected = "config.init_from: found a checkpoint of 'efficient_imitate', expected one of 'behav"
  with pytest.raises(ValueError, match=expected):
    training.train(small_run(data, init_from=str(trained[0]))._replace(**other), tmp_path / 'run')
  with pytest.raises(ValueError, match="agent: stored 'efficient_imitate', given 'behavioural_c"):
    training.train(small_run(data)._replace(**other), trained[0])
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('step', [1, 2])
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, step):
  """No file may grow: what a full disk does, on any machine; also where a step is replaced."""
  state = {name: {'x': jnp.ones(1000)} for name in ('params', 'learner', 'replay')}
  texts = {'meta': {}, 'config': {}}
  kept = checkpoints.Checkpoints(tmp_path)
  kept.save(1, state, texts, 1.0)
  kept.close()
  kept, (soft, hard) = checkpoints.Checkpoints(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
  try:
    with pytest.raises(OSError, match=f'checkpoint {step} cannot be written'):
      kept.save(step, state, {'meta': {'new': 1}, 'config': {}}, 2.0)
      kept.close()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert checkpoints.Checkpoints(tmp_path).restore_latest(lambda _: state)['meta'] == {}
  assert checkpoints.open_existing(tmp_path)[1] == 1


def test_a_step_is_replaced_only_by_a_whole_one(tmp_path):
  state = {name: {'x': jnp.ones(10)} for name in ('params', 'learner', 'replay')}
  kept = checkpoints.Checkpoints(tmp_path)
  for count in range(3):
    kept.save(7, state, {'meta': {'count': count}, 'config': {}}, float(count))
  assert kept.restore_texts(7)['meta'] == {'count': 2} and kept.best() == 7
  kept.close()
  folder = tmp_path / 'checkpoints'
  assert [path.name for path in folder.iterdir()] == ['7']
  # Killed before the new one was whole.
  (folder / '7').rename(folder / '7.replaced')
  again = checkpoints.Checkpoints(tmp_path)
  assert again.restore_texts(7)['meta'] == {'count': 2}
  # Killed after it.
  again.close()
  shutil.copytree(folder / '7', folder / '7.replaced')
  checkpoints.Checkpoints(tmp_path)
  assert [path.name for path in folder.iterdir()] == ['7']


def test_the_best_checkpoint_stays(data, tmp_path):
  checkpoint = {name: {'x': jnp.ones(2)} for name in ('params', 'learner', 'replay')}
  kept = checkpoints.Checkpoints(tmp_path, keep=1)
  for step, value in {10: 1.0, 20: 5.0, 30: 2.0, 40: 3.0}.items():
    kept.save(step, checkpoint, {'meta': {}, 'config': {}}, value)
  kept.close()
  folder = tmp_path / 'checkpoints'
  assert sorted(int(path.name) for path in folder.iterdir()) == [20, 40]
  assert checkpoints.open_existing(tmp_path)[1] == 40
  assert checkpoints.open_existing(tmp_path, best=True)[1] == 20


def test_a_save_is_as_good_as_the_evaluation_of_its_own_parameters(data, tmp_path):
  training.train(small_run(data, **{'evaluation.interval': 80, 'checkpoints.keep': 9}), tmp_path)
  kept = checkpoints.Checkpoints(tmp_path, reading=True)
  assert [kept._values[step] is None for step in kept.steps()] == [True, False, False]


def test_a_device_without_experience_waits_for_it(data, tmp_path):
  """One of two actors never begins; the other's episodes are dealt to both devices in turn."""
  factory = 'tests.environments.fakes:make_every_other'
  run = small_run(data, environment=factory, agent_steps=100)
  training.train(run, tmp_path / 'run')
  rows = logs.read(tmp_path / 'run' / 'metrics.jsonl')
  collected = [row for row in rows if 'collect/failed_episodes' in row]
  assert all(row['collect/failed_episodes'] == 1 for row in collected)
  assert [row['updates'] for row in collected[:3]] == [0, 0, 20]
  kept = checkpoints.open_existing(tmp_path / 'run')[0]
  counters = kept.restore_texts(100)['meta']['counters']
  assert counters['episodes'] == 10 and counters['stored'] == 5


def test_a_start_that_was_killed_may_be_repeated(data, tmp_path):
  (tmp_path / 'config.json.partial').write_text('{')
  training.train(small_run(data, agent_steps=20), tmp_path)


def test_metrics_that_were_lost_are_not_made_up(tmp_path, caplog):
  (tmp_path / 'metrics.jsonl').write_text('{"agent_steps": 1}\n')
  logs.Logger(tmp_path, 10, 100).close()
  assert logs.read(tmp_path / 'metrics.jsonl') == [{'agent_steps': 1}]
  assert 'has 19 bytes of 100' in caplog.text


def test_a_finished_run_stays_as_it_is(data, trained):
  workdir, _ = trained
  before = (workdir / 'metrics.jsonl').read_bytes()
  training.train(small_run(data), workdir)
  assert (workdir / 'metrics.jsonl').read_bytes() == before


def test_a_run_is_prolonged(data, tmp_path, caplog):
  """Where nothing follows a schedule it ends as if it had been that long from the beginning."""
  steady = {'actors.temperatures': (1.0,), 'actors.fractions': (0.0,), 'parallel.devices': 1}
  training.train(small_run(data, agent_steps=80, **steady), tmp_path / 'run')
  training.train(small_run(data, **steady), tmp_path / 'run')
  assert 'prolonged to 120 agent steps' in caplog.text
  training.train(small_run(data, **steady), tmp_path / 'long')
  for name in ('metrics.jsonl', 'config.json'):
    assert (tmp_path / 'run' / name).read_bytes() == (tmp_path / 'long' / name).read_bytes()
  assert evaluation.load(tmp_path / 'run').description['config']['agent_steps'] == 120


@pytest.mark.parametrize(
  'overrides, seed, message',
  [
    ({}, 7, 'seed: stored 0, given 7'),
    ({'agent_steps': 80}, 0, 'config.agent_steps: stored 120, given 80'),
    ({'updates_per_call': 10}, 0, 'config.updates_per_call: stored 5, given 10'),
    (
      {'updates_per_call': 10, 'agent_steps': 160},
      0,
      'config.updates_per_call: stored 5, given 10',
    ),
  ],
)
def test_another_runs_workdir_is_refused(data, trained, overrides, seed, message):
  workdir, _ = trained
  before = (workdir / 'metrics.jsonl').read_bytes()
  with pytest.raises(ValueError, match=f'workdir: found .*{message}.*expected the same settings'):
    training.train(small_run(data, seed=seed, **overrides), workdir)
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
    ({'actors.fractions': (0.0, 0.9, 0.4)}, 'config.actors.fractions: found .* ascending'),
    ({'actors.temperatures': (1.0, 0.5, -1.0)}, 'config.actors.temperatures: found .* 0 or more'),
    ({'parallel.wait': -1.0}, 'config.parallel.wait: found -1.0, expected more than 0'),
    ({'actors.placement': 'moon'}, "config.actors.placement: found 'moon', expected host or dev"),
    ({'actors.workers': 2}, 'config.actors.workers: found 2, expected 1, or config.actors.placem'),
    ({'parallel.devices': 64}, 'config.parallel.devices: found 64, expected 1 to 4'),
    ({'actors.temperatures': (1.0, 0.5, float('nan'))}, 'config.actors.temperatures: found .*nan'),
    ({'seed': 2**32}, r'seed: found 4294967296, expected in \[0, 4294967295\]'),
    ({'replay.episodes': 10**9}, 'config.replay.episodes: found 1000000000, a replay of .* GiB'),
  ],
)
def test_bad_input_writes_nothing(data, tmp_path, overrides, message):
  workdir = tmp_path / 'run'
  with pytest.raises(ValueError, match=message):
    training.train(small_run(data, **overrides), workdir)
  assert not workdir.exists()


@pytest.mark.parametrize(
  'agent, config',
  [
    ('efficient_imitate', learner_test.small(reward='environment')),
    ('d4pg', d4pg_test.small(demonstration_fraction=0.5)),
  ],
)
def test_rewards_that_are_not_known_are_not_learnt_from(data, tmp_path, agent, config):
  dataset, path = demonstrations.load(data), tmp_path / 'zeros.npz'
  trajectories = [episode.trajectory for episode in dataset.episodes]
  trajectories = [x._replace(rewards=np.zeros_like(x.rewards)) for x in trajectories]
  episodes = [x._replace(trajectory=y) for x, y in zip(dataset.episodes, trajectories)]
  demonstrations.save(path, dataset.metadata, episodes)
  adversarial = small_run(str(path))
  with pytest.raises(ValueError, match='demonstrations rewards: found zeros alone, as where none'):
    training.train(adversarial._replace(agent=agent, agent_config=config), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  assert inputs_lib.load(adversarial).dataset.mean_return == 0
  inputs_lib.load(small_run(data)._replace(agent=agent, agent_config=config))


def test_infinite_settings_of_the_agent_write_nothing(data, tmp_path):
  agent = learner_test.small(**{'loss.bc': float('inf')})
  with pytest.raises(ValueError, match='config.loss.bc: found inf, expected finite numbers'):
    training.train(small_run(data, agent=agent), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('text', [b'{"config": ', b'\xff\xfe', b'[]', b'{"config": []}'])
def test_a_damaged_description_is_refused(data, tmp_path, text):
  path = tmp_path / 'config.json'
  path.write_bytes(text)
  with pytest.raises(ValueError, match='workdir: found .*config.json damaged'):
    training.train(small_run(data), tmp_path)
  assert path.read_bytes() == text and len([*tmp_path.iterdir()]) == 1


def test_two_runs_at_once_in_one_folder_are_refused(data, trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained[0], workdir)
  before = (workdir / 'metrics.jsonl').read_bytes()
  with runs.lock(workdir):
    with pytest.raises(ValueError, match='workdir: found .* in use, expected one that no other'):
      training.train(small_run(data), workdir)
  training.train(small_run(data), workdir)  # It is free again.
  assert (workdir / 'metrics.jsonl').read_bytes() == before


def test_a_strangers_folder_is_refused(data, tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(ValueError, match='with files but no config.json, expected an empty one'):
    training.train(small_run(data), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_not_finite_stops_the_run(data, tmp_path):
  agent = learner_test.small(**{'optimiser.learning_rate': 1e30})
  with pytest.raises(FloatingPointError, match='not finite'):
    training.train(small_run(data, agent=agent), tmp_path / 'run')
  assert not checkpoints.exist(tmp_path / 'run')


def test_the_first_bad_update_and_its_terms_are_named(data, tmp_path, monkeypatch):
  """It goes bad in the second round; the checkpoint of the first stays."""
  step = learning.step

  def worsening(state, target_params, optimiser, gradient, metrics, axis_name):
    late = jnp.where(state.updates < 27, 1.0, jnp.nan)
    metrics = metrics | {'loss/value': metrics['loss/value'] * late}
    return step(state, target_params, optimiser, gradient, metrics, axis_name)

  monkeypatch.setattr(learning, 'step', worsening)
  with pytest.raises(FloatingPointError, match='^loss/value not finite at update 28$'):
    training.train(small_run(data), tmp_path / 'run')
  assert evaluation.load(tmp_path / 'run').counters['updates'] == 20


def test_bad_parameters_are_not_saved(data, tmp_path):
  run = small_run(data)
  inputs = inputs_lib.load(run)
  agent = evaluation.AGENTS[run.agent].make_agent(run.agent_config, inputs.spec)
  placement = parallel.place('pmap', jax.local_devices()[:2])
  state = states.init(run, agent, placement, agent.init_replay(40), None)
  worse = jax.tree.map(lambda x: x / 0, state.learner.params['policy'])
  worse = state.learner.params | {'policy': worse}
  learner = state.learner._replace(params=worse, average=worse)
  with pytest.raises(FloatingPointError, match=r"parameter \['policy'\].* not finite after 0"):
    states.save(None, agent, state._replace(learner=learner), 2, None, {})


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(data, tmp_path, monkeypatch):
  write = logs.Logger.write

  def full(self, counters, metrics):
    if counters['agent_steps'] > 40:
      raise OSError(errno.ENOSPC, 'No space left on device', 'metrics.jsonl')
    write(self, counters, metrics)

  monkeypatch.setattr(logs.Logger, 'write', full)
  with pytest.raises(OSError, match='No space left on device'):
    training.train(small_run(data), tmp_path / 'run')
  assert evaluation.load(tmp_path / 'run').counters['agent_steps'] == 40


def test_a_read_only_work_directory(data, tmp_path, monkeypatch):
  def refuse(path, *_, **__):
    raise OSError(errno.EROFS, 'Read-only file system', str(path))

  monkeypatch.setattr(pathlib.Path, 'mkdir', refuse)
  with pytest.raises(OSError, match='Read-only file system.*run'):
    training.train(small_run(data), tmp_path / 'run')


def test_failures_are_logged_by_reason(data, tmp_path):
  factory = 'tests.environments.fakes:make_failing'
  training.train(small_run(data, environment=factory, agent_steps=20), tmp_path / 'run')
  rows = logs.read(tmp_path / 'run' / 'metrics.jsonl')
  assert [row['eval/failed_episodes'] for row in rows if 'eval/mean_return' in row] == [2, 2]
  [row] = [row for row in rows if 'collect/mean_return' in row]
  assert row['collect/failed_episodes'] == row['collect/failed_episodes/RuntimeError'] == 2


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


def test_interquartile_mean_and_its_interval():
  few = evaluation.interquartile([[0.0, 10.0, 20.0, 1000.0]])
  assert few['iqm_return'] == 15 and few['iqm_low'] <= 15 <= few['iqm_high']
  # Runs are not mixed: two runs of constants leave nothing to chance.
  constant = evaluation.interquartile([[1.0] * 4, [3.0] * 4])
  assert set(constant.values()) == {2.0}
  rng = np.random.default_rng(1)
  wide, narrow = (evaluation.interquartile([rng.normal(size=n)]) for n in (10, 1000))
  width = lambda found: found['iqm_high'] - found['iqm_low']
  assert 0 < 5 * width(narrow) < width(wide)


def test_summary_of_runs():
  summary = evaluation.table([[0.0, 4.0], [8.0, 8.0]], 16.0)
  raw = summary['return']
  assert (raw['mean'], raw['min'], raw['iqm']) == (5.0, 0.0, 6.0)
  assert raw['std'] == pytest.approx(np.std([0, 4, 8, 8]))
  # Only what is drawn of the first run varies: 0, 0 gives 4, all else 6.
  assert (raw['iqm_low'], raw['iqm_high']) == (4, 6)
  fractions = summary['fraction_of_expert']
  assert fractions == {name: value / 16 for name, value in raw.items()}
  assert set(evaluation.table([[1.0]], 0.0)) == {'return'}


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
  spec = description['environment_spec']
  assert (spec['observation_size'], spec['action_size'], spec['stack']) == (2, 1, 1)
  assert len(spec['observation_mean']) == len(spec['observation_scale']) == 2


@pytest.mark.gl
def test_frames_from_states_to_an_evaluated_checkpoint(tmp_path, monkeypatch):
  """Demonstrations drawn, stacks gathered, statistics kept; nothing written if wrong."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  settings = {'demonstrations': '', 'environment': '', 'frame_size': 8, 'stack': 2}
  settings |= {'agent_steps': 125, 'evaluation.interval': 125, 'checkpoints.interval': 125}
  settings |= {'updates_per_agent_step': 0.04, 'evaluation.episodes': 1, 'actors.num': 1}
  agent = learner_test.small_image(**{'networks.normalise_observations': True})
  run = small_run('', agent=agent, **settings, **{'parallel.devices': 1})
  run = run._replace(task='cartpole/swingup')
  with pytest.raises(ValueError, match='config.stack: found 300, expected at most the 126 frames'):
    config = configuration.override(run.config, {'stack': 300})
    training.train(run._replace(config=config), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  result = training.train(run, tmp_path / 'run')
  loaded = evaluation.load(tmp_path / 'run')
  assert loaded.counters['updates'] == 5
  means = loaded.params['statistics']['projector']
  assert any(float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(means))
  evaluated = evaluation.evaluate(loaded, evaluation.environments_of(loaded, 1))
  assert evaluated['mean_return'] == result['mean_return']

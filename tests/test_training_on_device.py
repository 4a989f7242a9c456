"""The loop with actors on device: the same agents, files and exact resuming."""

import jax
import numpy as np
import pytest

from eimitate import acting_on_device
from eimitate import checkpoints
from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate import imitation
from eimitate import logs
from eimitate import runs
from eimitate import training
from eimitate.agents import behavioural_cloning
from eimitate.agents import d4pg
from eimitate.agents import metamimic
from tests.agents import test_efficient_imitate_learner as learner_test
from tests.environments import fakes_on_device
from tests.experiments import programs

_FACTORY = 'tests.environments.fakes_on_device:make'


@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  """Demonstrations of the point mass, recorded on device: it is pushed towards the middle."""
  batch = environments.make_on_device('point', 1, 3, _FACTORY)
  policy = lambda params, key, observations: -observations[:, :1].clip(-1, 1)
  episodes = acting_on_device.record(policy, None, batch, 0)
  path = tmp_path_factory.mktemp('data') / 'point.npz'
  metadata = demonstrations.Metadata('point', 1, 1.0, 'a test', {}, 0)
  demonstrations.save(path, metadata, episodes)
  return str(path)


_SMALL = {
  'behavioural_cloning': behavioural_cloning.Config(batch_size=8, policy=(16,)),
  'd4pg': d4pg.Config(batch_size=8, policy=(16,), critic=(16,)),
  'metamimic': metamimic.Config(
    d4pg.Config(batch_size=8, policy=(16,), critic=(16,), sampling='prioritised', n_step=2),
    d4pg.Config(batch_size=8, policy=(16,), critic=(16,)),
  ),
  'efficient_imitate': learner_test.small(**{'search.acting_kind': 'gumbel', 'unroll_steps': 1}),
}


def _run(data, agent='behavioural_cloning', task='point', **overrides):
  settings = {
    'agent_steps': 120,
    'updates_per_agent_step': 0.25,
    'updates_per_call': 5,
    'num_demonstrations': 2 if data else 0,
    'demonstrations': data,
    'environment': _FACTORY if task == 'point' else '',
    'actors.num': 2,
    'actors.placement': 'device',
    'evaluation.episodes': 2,
    'evaluation.interval': 40,
    'evaluation.diagnostics': False,
    'checkpoints.interval': 40,
    'parallel.devices': 2,
    'replay.episodes': 4,
  }
  config = configuration.override(runs.Config(), settings | overrides)
  return runs.Run(agent, task, 0, _SMALL[agent], config)


@pytest.fixture(name='trained', scope='module')
def _trained(data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained') / 'run'
  return workdir, training.train(_run(data), workdir)


def test_files_counters_and_evaluation_from_the_checkpoint(trained):
  workdir, result = trained
  rows = logs.read(workdir / 'metrics.jsonl')
  assert rows[-1]['agent_steps'] == 120 == rows[-1]['env_steps'] and rows[-1]['updates'] == 30
  assert [row['agent_steps'] for row in rows if 'eval/mean_return' in row] == [0, 40, 80, 120]
  collected = [row for row in rows if 'collect/mean_return' in row]
  assert len(collected) == 3 and all(0 < row['collect/mean_return'] <= 20 for row in collected)
  loaded = evaluation.load(workdir)
  evaluated = evaluation.evaluate(loaded, evaluation.environments_of(loaded, 2))
  assert evaluated['mean_return'] == pytest.approx(result['mean_return'], rel=1e-5)


def test_resuming_is_exact(data, trained, tmp_path):
  stopped = tmp_path / 'run'
  for asked in (3, 4):
    left = iter(range(asked))
    training.train(_run(data), stopped, lambda: next(left, None) is None)
  # Stopped after a round, and in the last one before its updates.
  counters = evaluation.load(stopped).counters
  assert (counters['agent_steps'], counters['updates']) == (120, 20)
  assert training.train(_run(data), stopped) == trained[1]
  assert (stopped / 'metrics.jsonl').read_bytes() == (trained[0] / 'metrics.jsonl').read_bytes()


def _push(act, batch, capacity=200):
  """A filler's replay and totals on one device."""
  agent = d4pg.make_agent(d4pg.Config(), batch.spec)
  agent = agent._replace(act=act, params=lambda learner: None)
  fill = jax.pmap(
    acting_on_device.make_filler(agent, batch),
    axis_name='devices',
    in_axes=(None, None, 0, None),
    out_axes=(None, 0, None),
    devices=jax.devices()[:1],
  )
  replay = jax.tree.map(lambda x: x[None], agent.init_replay(capacity))
  _, replay, totals = fill(np.zeros(1), jax.random.key(0), replay, np.float32(0))
  return jax.tree.map(lambda x: np.asarray(x[0]), replay), jax.device_get(totals)


def test_what_is_pushed_are_whole_episodes_and_the_beginning_of_the_next():
  simulation = fakes_on_device.make()._replace(episode_length=60)
  batch = environments.OnDevice(simulation, 1, 2)
  replay, totals = _push(lambda params, key, o, t: np.ones((len(o), 1), np.float32), batch)
  rows, stored = replay.rows, replay.episode >= 0
  assert stored.sum() == 2 * 61 and totals['failures'] == 0
  ends = np.flatnonzero(stored & ~rows.has_action)
  # Pushed by 0.2 from within [-1, 1] it passes 5 after 20 to 30 steps, and then begins again.
  assert 2 * 2 <= len(ends) <= 2 * 4
  returns = []
  for begin, end in zip(np.r_[0, ends[:-1] + 1], ends):
    positions, steps = rows.observation[begin : end + 1].T
    np.testing.assert_allclose(np.diff(positions), 0.2, atol=1e-5)
    np.testing.assert_array_equal(steps, np.arange(end + 1 - begin))
    np.testing.assert_allclose(rows.reward[begin:end], np.exp(-(positions[1:] ** 2)), rtol=1e-4)
    terminated = positions[-1] > 5
    assert terminated or end in (60, 121)
    np.testing.assert_array_equal(rows.discount[begin:end][:-1], 1)
    if end > begin:
      assert rows.discount[end - 1] == (0 if terminated else 1)
    if begin in (0, 61):
      returns.append(rows.reward[begin:end].sum())
  assert totals['agent_steps'] == rows.has_action.sum()
  assert totals['returns'] == pytest.approx(sum(returns), rel=1e-5)


def test_diverging_simulations_are_counted_and_nothing_of_them_is_kept():
  batch = environments.make_on_device(
    'point', 1, 8, 'tests.environments.fakes_on_device:make_diverging'
  )
  replay, totals = _push(lambda params, key, o, t: np.zeros((len(o), 1), np.float32), batch)
  assert all(np.isfinite(x).all() for x in replay.rows)
  negative = replay.rows.observation[:, 0] < 0
  assert replay.rows.observation[negative, 1].max() == 4
  # A failed action is not one; each leaves the row it was tried in and the episode's last.
  failing = negative & (replay.rows.observation[:, 1] == 4)
  assert not replay.rows.has_action[failing].any()
  assert totals['failures'] == failing.sum() / 2 > 0


def test_nothing_but_failures_ends_the_run(data, tmp_path):
  run = _run(data, environment='tests.environments.fakes_on_device:make_broken')
  with pytest.raises(RuntimeError, match='every environment failed before a step'):
    training.train(run, tmp_path / 'run')


@pytest.mark.parametrize('agent', ['d4pg', 'efficient_imitate'])
def test_other_agents(data, tmp_path, agent):
  data = '' if agent == 'd4pg' else data
  run = _run(data, agent, **{'agent_steps': 40, 'parallel.devices': 1})
  result = training.train(run, tmp_path / 'run')
  assert 0 < result['mean_return'] <= 20
  assert checkpoints.open_existing(tmp_path / 'run')[1] == 40


def test_demonstrations_are_followed(data, tmp_path):
  """On two devices, on each of which two follow and one performs the task."""
  settings = {'agent_steps': 90, 'parallel.devices': 2, 'actors.num': 6}
  run = _run(
    data, 'metamimic', **settings, **{'tracking.curriculum': 10, 'tracking.task_actors': 2}
  )
  training.train(run, tmp_path / 'whole')
  left = iter(range(4))
  training.train(run, tmp_path / 'parts', lambda: next(left, None) is None)
  result = training.train(run, tmp_path / 'parts')
  whole, parts = ((tmp_path / x / 'metrics.jsonl').read_bytes() for x in ('whole', 'parts'))
  assert whole == parts and result['task_return'] > 0
  # Of three demonstrations the third is unseen.
  evaluated = imitation.evaluate(evaluation.load(tmp_path / 'parts'), data)
  assert evaluated['demonstrations'] == 1
  assert evaluated['imitation_fraction'] == pytest.approx(result['imitation_fraction'], abs=1e-5)
  for measured in (evaluated, *evaluated['baselines'].values()):
    assert 0 < measured['imitation_fraction'] <= measured['tracked_fraction'] <= 1


@pytest.mark.parametrize(
  'agent, overrides, message',
  [
    ('metamimic', {'replay.longest': 5}, 'config.replay.longest: found 5, expected 20 or more'),
    ('efficient_imitate', {'tracking.task_actors': 1}, 'config.tracking.task_actors: found 1, ex'),
    ('metamimic', {'tracking.curriculum': 21}, 'config.tracking.curriculum: found 21, expected at'),
  ],
)
def test_what_cannot_be_followed(data, tmp_path, agent, overrides, message):
  run = _run(data, agent, **overrides, **{'parallel.devices': 1})
  if agent == 'efficient_imitate':
    config = configuration.override(run.agent_config, {'reward': 'tracking'})
    run = run._replace(agent_config=config)
  with pytest.raises(errors.InputError, match=message):
    training.train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_states_of_another_simulation_are_not_followed(data, tmp_path):
  dataset = demonstrations.load(data)
  changed = [episode._replace(states=episode.states[:, 1:]) for episode in dataset.episodes]
  demonstrations.save(tmp_path / 'other.npz', dataset.metadata, changed)
  run = _run(str(tmp_path / 'other.npz'), 'metamimic', **{'parallel.devices': 1})
  with pytest.raises(errors.InputError, match='state: found size 1, expected 2'):
    training.train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_demonstrations_are_recorded_on_device(trained, tmp_path):
  options = ['--episodes=3', '--seed=7', f'--checkpoint={trained[0]}']
  options += [f'--output={tmp_path / "new.npz"}']
  run = lambda *more: programs.run('record_demonstrations', *options, *more)
  assert '--spread: found 0.1' in run('--spread=0.1').stderr
  assert not (tmp_path / 'new.npz').exists()
  assert '3 episodes of point' in run().stdout
  dataset = demonstrations.load(tmp_path / 'new.npz')
  assert [len(x.trajectory.actions) for x in dataset.episodes] == [20] * 3
  # The position and the step that it starts from.
  states = dataset.episodes[0].states
  np.testing.assert_array_equal(states, dataset.episodes[0].trajectory.observations)
  assert 'jax' in dataset.metadata.versions


def test_a_demonstrator_that_need_not_look_is_recorded_on_device(tmp_path):
  options = ['--episodes=3', '--task=brax/inverted_pendulum/spring']
  options += [f'--output={tmp_path / "smooth.npz"}']
  run = lambda name: programs.run('record_demonstrations', *options, f'--demonstrator={name}')
  assert "--demonstrator: found 'direct', expected one that need not look" in run('direct').stderr
  assert '3 episodes of brax/inverted_pendulum/spring' in run('smooth').stdout
  dataset = demonstrations.load(tmp_path / 'smooth.npz')
  assert dataset.has_states
  assert all(len(episode.trajectory.actions) <= 100 for episode in dataset.episodes)


def test_another_task_of_the_suite_must_fit(trained):
  with pytest.raises(
    ValueError, match='observation_size of cartpole/swingup: found 5, expected .*2'
  ):
    evaluation.environments_of(evaluation.load(trained[0]), 1, 'cartpole/swingup')


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'actors.num': 3}, 'config.actors.num: found 3, expected a multiple of the 2 devices'),
    ({'frame_size': 48}, 'config.frame_size: found 48, expected 0 with actors on device'),
    ({'environment': ''}, "config.actors.placement: found 'device', expected 'host' for point"),
    ({'action_repeat': 2}, "action repeat: found 2 .*expected the demonstrations' 1"),
    ({'replay.longest': 5}, 'config.replay.longest: found 5, expected 20 or more'),
    ({'actors.placement': 'moon'}, "config.actors.placement: found 'moon', expected host or"),
  ],
)
def test_bad_input_writes_nothing(data, tmp_path, overrides, message):
  with pytest.raises(ValueError, match=message):
    training.train(_run(data, **overrides), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_demonstrations_of_another_shape_are_refused(data, tmp_path):
  task = 'brax/inverted_pendulum/spring'
  dataset = demonstrations.load(data)
  metadata = demonstrations.Metadata(task, 1, 1.0, 'a test', {}, 0)
  demonstrations.save(tmp_path / 'point.npz', metadata, list(dataset.episodes))
  run = _run(str(tmp_path / 'point.npz'), task=task)
  with pytest.raises(ValueError, match='demonstrations observations: found size 2, expected .* 4'):
    training.train(run, tmp_path / 'run')

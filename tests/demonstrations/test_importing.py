import numpy as np
import pytest

from eimitate import demonstrations
from eimitate import errors
from eimitate.demonstrations import __main__ as command
from eimitate.demonstrations import importing
from tests.demonstrations import fuzz
from tests.demonstrations import sources

_TASK = '--task=cartpole/swingup'


def _episodes(lengths=(5, 4), **fields):
  episodes = importing.wrap(sources.trajectories(lengths))
  return [x._replace(trajectory=x.trajectory._replace(**fields)) for x in episodes]


@pytest.mark.parametrize(
  'text, numbers', [('0', [0]), ('0,3,5-9', [0, 3, 5, 6, 7, 8, 9]), ('7,2-3', [7, 2, 3])]
)
def test_choice(text, numbers):
  assert importing.parse_choice(text) == numbers


@pytest.mark.parametrize(
  'text', ['', 'a', '1,', '-1', '3-', '5-4', '1-2-3', '1,1', '9' * 9, '0,0-1']
)
def test_bad_choice(text):
  with pytest.raises(errors.InputError, match='--episodes: found .*expected n'):
    importing.parse_choice(text)


def test_choose():
  episodes = _episodes((3, 4, 5))
  chosen, words = importing.choose(episodes, [2, 0])
  assert [len(x.trajectory.rewards) for x in chosen] == [5, 3] and words == '2 of 3 episodes'
  with pytest.raises(errors.InputError, match='--episodes: found 3, expected 0 to 2'):
    importing.choose(episodes, [3])


def test_subsample():
  actions = np.array([[0.1], [0.1], [0.3], [0.3], [0.5]], np.float32)
  (episode,) = _episodes((5,), actions=actions)
  episode = episode._replace(states=np.arange(6.0)[:, None])
  (joined,), words = importing.subsample([episode], 2)
  rewards, observations = episode.trajectory.rewards, episode.trajectory.observations
  np.testing.assert_array_equal(joined.trajectory.observations, observations[[0, 2, 4, 5]])
  np.testing.assert_array_equal(joined.states[:, 0], [0, 2, 4, 5])
  np.testing.assert_array_equal(joined.trajectory.actions, actions[::2])
  sums = [rewards[:2].sum(), rewards[2:4].sum(), rewards[4]]
  np.testing.assert_allclose(joined.trajectory.rewards, sums, rtol=1e-6)
  np.testing.assert_array_equal(joined.trajectory.discounts, [1, 1, 0])
  assert words == 'every 2 steps joined'
  assert importing.subsample([episode], 1) == ([episode], '')


def test_subsample_with_different_actions():
  actions = np.array([[0.1], [0.3], [0.3], [0.3], [0.5]], np.float32)
  episodes = _episodes((5,), actions=actions)
  with pytest.raises(errors.InputError, match='1 of 3 groups of 2 whose actions differ'):
    importing.subsample(episodes, 2)
  for how, expected in (('first', [0.1, 0.3, 0.5]), ('mean', [0.2, 0.3, 0.5])):
    (joined,), words = importing.subsample(episodes, 2, how)
    np.testing.assert_allclose(joined.trajectory.actions[:, 0], expected, rtol=1e-6)
    assert words.endswith(f'(1 of 3 with different actions, the {how} taken)')
  dropped, _ = importing.change_actions(episodes, 'drop')
  for how in ('same', 'mean'):
    (joined,), words = importing.subsample(dropped, 2, how)
    assert joined.trajectory.actions.shape == (3, 0) and words == 'every 2 steps joined'
  with pytest.raises(errors.InputError, match='--action_repeat: found 0'):
    importing.subsample(episodes, 0)
  with pytest.raises(errors.InputError, match='--repeated_actions: found'):
    importing.subsample(episodes, 2, 'last')


def test_changes_of_actions():
  actions = np.array([[0.5, -1], [2, 3]], np.float32)
  episodes = _episodes((2,), actions=actions)
  with pytest.raises(errors.InputError, match='magnitude 3.0, expected at most 1, or --actions=c'):
    importing.change_actions(episodes, 'keep')
  (changed,), words = importing.change_actions(episodes, 'clip')
  np.testing.assert_array_equal(changed.trajectory.actions, [[0.5, -1], [1, 1]])
  assert words == '2 of 4 action components clipped'
  (changed,), words = importing.change_actions(episodes, 'rescale', [0, -1], [2, 3])
  np.testing.assert_array_equal(changed.trajectory.actions, [[-0.5, -1], [1, 1]])
  assert words == 'actions rescaled from 0,-1 to 2,3'
  (changed,), words = importing.change_actions(episodes, 'drop')
  assert changed.trajectory.actions.shape == (2, 0) and words == 'actions dropped'
  with pytest.raises(errors.InputError, match='none in the source, expected some, or --actions=d'):
    importing.change_actions([changed], 'keep')


@pytest.mark.parametrize(
  'how, low, high, message',
  [
    ('rescale', (), (), 'expected --action_low and --action_high with rescale, and only there'),
    ('keep', (-1,), (1,), 'expected --action_low and --action_high with rescale, and only there'),
    ('rescale', (0,), (1,), 'found 1 of 2 components outside, expected all within'),
    ('rescale', (1,), (1,), 'expected below --action_high'),
    ('rescale', (1, 2, 3), (4,), '--action_low: found .*expected 1 or 1 finite numbers'),
    ('rescale', (0,), (np.inf,), '--action_high: found .*finite'),
    ('scale', (), (), "--actions: found 'scale', expected keep or clip or rescale or drop"),
  ],
)
def test_bad_changes_of_actions(how, low, high, message):
  episodes = _episodes((2,), actions=np.array([[-0.5], [0.5]], np.float32))
  with pytest.raises(errors.InputError, match=message):
    importing.change_actions(episodes, how, low, high)


def test_rescaling_reaches_the_bounds_exactly():
  actions = np.array([[-0.1], [0.1]], np.float32)
  (changed,), _ = importing.change_actions(
    _episodes((2,), actions=actions), 'rescale', [-0.1], [0.1]
  )
  np.testing.assert_array_equal(changed.trajectory.actions, [[-1], [1]])


@pytest.mark.parametrize('name', sources.FORMATS)
def test_import_command(name, tmp_path, capsys):
  source, output = tmp_path / 'source', tmp_path / 'out.npz'
  sources.write(name, source)
  arguments = ['import', name, str(source), _TASK, f'--output={output}', '--source=a test']
  keys = ','.join(fuzz.KEYS.get(name, ()))
  arguments += [f'--observation_keys={keys}'] if keys else []
  assert command.main([*arguments, '--episodes=1']) == 0
  assert capsys.readouterr().out == (
    f'{output}: 1 episodes, 4 steps of cartpole/swingup; 1 of 2 episodes\n'
  )
  dataset = demonstrations.load(output)
  trajectory = sources.trajectories()[1]
  (episode,) = dataset.episodes
  for field in ('observations', 'actions', 'rewards'):
    actual = getattr(episode.trajectory, field)
    np.testing.assert_array_equal(actual, getattr(trajectory, field))
  assert dataset.has_actions and not dataset.has_states
  metadata = dataset.metadata
  assert metadata.provenance.startswith(f'a test; {name} file source, sha256 ')
  own = name == 'npz'
  assert metadata.action_repeat == (8 if own else 1)
  assert metadata.control_timestep == (0.08 if own else 0.01)
  # Without actions, and joined.
  more = ['--actions=drop', '--action_repeat=2']
  assert command.main([*arguments, *more]) == 0
  dataset = demonstrations.load(output)
  assert not dataset.has_actions and dataset.metadata.action_repeat == (16 if own else 2)
  assert command.main(['info', str(output)]) == 0
  assert 'actions: not known' in capsys.readouterr().out
  assert command.main(['verify', str(output)]) == 2
  assert 'found none, expected what a replay needs' in capsys.readouterr().err


def test_a_source_with_a_repeat_of_its_own(tmp_path):
  source, output = tmp_path / 'source', tmp_path / 'out.npz'
  sources.write('minari', source)
  arguments = ['import', 'minari', str(source), _TASK, f'--output={output}', '--source_repeat=4']
  assert command.main([*arguments, '--action_repeat=2', '--repeated_actions=first']) == 0
  metadata = demonstrations.load(output).metadata
  assert metadata.action_repeat == 8 and metadata.control_timestep == 0.08


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--task=cartpole/swing'], "task: found 'cartpole/swing', expected one of"),
    (['--task=walker/walk'], "observations: found size 5, expected the task's 24"),
    (
      ['--task=walker/walk', '--control_timestep=0.1'],
      'observations: found size 5, expected the t',
    ),
    (['--task=jaco/stack', '--control_timestep=0.1'], 'observations: found size 5, expected the t'),
    ([_TASK, '--actions=rescale'], 'actions: found'),
    ([_TASK, '--action_repeat=2'], 'groups of 2 whose actions differ'),
    ([_TASK, '--action_repeat=0'], '--action_repeat: found 0'),
    ([_TASK, '--source_repeat=0'], '--source_repeat: found 0'),
    ([_TASK, f'--action_repeat={10**30}'], f'--action_repeat: found {10**30}, expected 1 to 10000'),
    ([_TASK, f'--source_repeat={10**400}'], '--source_repeat: found 1000'),
    ([_TASK, '--episodes=2'], '--episodes: found 2, expected 0 to 1'),
    ([_TASK, '--control_timestep=nan'], '--control_timestep: found nan'),
    ([_TASK, '--action_low=a'], "--action_low: found 'a', expected numbers"),
    ([_TASK, '--observation_keys=a'], 'observation_keys: found'),
    ([_TASK, '--output=none/x.npz'], '--output: found no directory'),
    ([_TASK, '--output=x.txt'], "--output: found 'x.txt', expected a name.npz"),
    ([_TASK, '--source=\udc80'], 'metadata provenance: found'),
  ],
)
def test_nothing_is_written_on_bad_input(arguments, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  sources.write('pickle', tmp_path / 'source')
  assert command.main(['import', 'pickle', 'source', '--output=out.npz', *arguments]) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0]
  assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_actions_of_another_size(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  episodes = sources.trajectories()
  actions = [np.repeat(x.actions, 2, axis=1) for x in episodes]
  sources.write(
    'pickle', tmp_path / 'source', [x._replace(actions=a) for x, a in zip(episodes, actions)]
  )
  assert command.main(['import', 'pickle', 'source', '--output=out.npz', _TASK]) == 2
  assert "actions: found size 2, expected the task's 1" in capsys.readouterr().err
  own = ['--task=mine', '--control_timestep=0.5', '--action_repeat=1']
  assert command.main(['import', 'pickle', 'source', '--output=out.npz', *own]) == 0
  metadata = demonstrations.load('out.npz').metadata
  assert metadata.task == 'mine' and metadata.control_timestep == 0.5


def test_our_own_episodes_keep_what_a_replay_needs(tmp_path):
  source = str(demonstrations.shipped_path('cartpole/swingup'))
  output = tmp_path / 'one.npz'
  assert command.main(['import', 'npz', source, _TASK, '--episodes=3', f'--output={output}']) == 0
  assert command.main(['verify', str(output)]) == 0
  assert command.main(['import', 'npz', source, '--task=a/b', f'--output={output}']) == 2


@pytest.mark.parametrize('task', ['brax/ant', 'playground/CartpoleSwingup'])
def test_a_task_on_device(task, tmp_path, capsys):
  source, output = tmp_path / 'source.npz', tmp_path / 'out.npz'
  metadata = demonstrations.Metadata(task, 4, 0.04, 'a test', {}, 0)
  demonstrations.save(source, metadata, _episodes())
  arguments = [f'--task={task}', f'--output={output}', '--episodes=1']
  assert command.main(['import', 'npz', str(source), *arguments]) == 0
  assert demonstrations.load(output).metadata.control_timestep == 0.04
  sources.write('pickle', source)
  capsys.readouterr()
  assert command.main(['import', 'pickle', str(source), *arguments]) == 2
  message = f'error: --control_timestep: found none, expected seconds, as {task} is on device\n'
  assert capsys.readouterr().err == message
  assert command.main(['import', 'pickle', str(source), *arguments, '--control_timestep=0.1']) == 0


def test_export_and_import_again(tmp_path, capsys):
  source, folder, output = tmp_path / 'source.npz', tmp_path / 'minari', tmp_path / 'out.npz'
  sources.write('npz', source)
  export = ['export', 'minari', str(source), f'--output={folder}']
  assert command.main(export) == 0
  assert capsys.readouterr().err == 'note: control timestep, versions and seed left out\n'
  names = sorted(path.name for path in (folder / 'data').iterdir())
  assert names == ['main_data.hdf5', 'metadata.json']
  for path in (folder, folder / 'data', folder / 'data' / 'main_data.hdf5'):
    assert command.main(['import', 'minari', str(path), _TASK, f'--output={output}']) == 0
    for actual, expected in zip(demonstrations.load(output).episodes, sources.trajectories()):
      for one, other in zip(actual.trajectory, expected):
        np.testing.assert_array_equal(one, other)
  capsys.readouterr()
  assert command.main(export) == 2
  assert 'which exists, expected a new directory' in capsys.readouterr().err
  drop = ['--actions=drop', f'--output={output}']
  assert command.main(['import', 'npz', str(source), _TASK, *drop]) == 0
  assert command.main(['export', 'minari', str(output), f'--output={tmp_path / "new"}']) == 2
  assert not (tmp_path / 'new').exists()


def test_an_export_says_what_is_left_out(tmp_path, capsys):
  source = str(demonstrations.shipped_path('cartpole/swingup'))
  folder, output = tmp_path / 'minari', tmp_path / 'out.npz'
  assert command.main(['export', 'minari', source, f'--output={folder}']) == 0
  said = 'simulator states, model fields, control timestep, versions and seed left out'
  assert capsys.readouterr().err == f'note: {said}\n'
  discounts = np.array([1, 0.5, 0], np.float32)
  metadata = demonstrations.Metadata('mine', 1, 0.1, 'a test', {}, 0)
  demonstrations.save(output, metadata, _episodes((3,), discounts=discounts))
  assert command.main(['export', 'minari', str(output), f'--output={tmp_path / "new"}']) == 2
  assert "discounts: found [0.5], expected 0 and 1: Minari's" in capsys.readouterr().err
  assert not (tmp_path / 'new').exists()

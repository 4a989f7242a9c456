import dataclasses
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
from PIL import Image
from PIL import ImageSequence
import pytest

from eimitate import demonstrations
from eimitate import errors
from eimitate import types
from eimitate.demonstrations import __main__ as command
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import schema
from eimitate.demonstrations import rendering
from eimitate.demonstrations import verification
from eimitate.environments import simulated

_METADATA = demonstrations.Metadata('cartpole/swingup', 8, 0.08, 'a test', {'mujoco': '3'}, 0)
# The suite's; those of jaco/stack are tested with their demonstrators.
_SHIPPED = sorted((pathlib.Path(dataset_lib.__file__).parent / 'data').glob('[!j]*.npz'))


def _episode(length, seed=0, **fields):
  rng = np.random.default_rng(seed)
  trajectory = types.Trajectory(
    rng.normal(size=(length + 1, 5)).astype(np.float32),
    rng.uniform(-1, 1, (length, 1)).astype(np.float32),
    rng.uniform(size=length).astype(np.float32),
    np.ones(length, np.float32),
  )
  states = rng.normal(size=(length + 1, 4))
  return types.Demonstration(trajectory._replace(**fields), states, {'body_pos': np.ones((3, 3))})


@pytest.fixture(name='path')
def _path(tmp_path):
  path = tmp_path / 'data.npz'
  demonstrations.save(path, _METADATA, [_episode(4, 0), _episode(7, 1)])
  return path


def _without(episode, *names):
  """The episode with nothing known of these."""
  if 'actions' in names:
    trajectory = episode.trajectory._replace(actions=episode.trajectory.actions[:, :0])
    episode = episode._replace(trajectory=trajectory)
  return episode._replace(states=episode.states[:, :0]) if 'states' in names else episode


def _changed(name, change):
  """A shipped episode of cartpole with one of its arrays changed."""
  dataset = demonstrations.load(demonstrations.shipped_path('cartpole/swingup')).take(1)
  [episode] = dataset.episodes
  if name == 'states':
    episode = episode._replace(states=change(episode.states))
  else:
    changed = {name: change(getattr(episode.trajectory, name))}
    episode = episode._replace(trajectory=episode.trajectory._replace(**changed))
  return dataclasses.replace(dataset, episodes=(episode,))


def _rewrite(path, **changed):
  """The file with arrays changed (None removes) and a checksum that fits them."""
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files} | changed
  arrays = {name: value for name, value in arrays.items() if value is not None}
  text = str(arrays.pop('metadata'))
  arrays.pop('checksum', None)
  checksum = dataset_lib._checksum(arrays, text)
  with open(path, 'wb') as file:
    np.savez(file, metadata=text, checksum=checksum, **arrays)


def test_round_trip(path):
  dataset = demonstrations.load(path)
  assert dataset.metadata == _METADATA
  for episode, expected in zip(dataset.episodes, (_episode(4, 0), _episode(7, 1)), strict=True):
    for name in types.Trajectory._fields:
      actual, wanted = getattr(episode.trajectory, name), getattr(expected.trajectory, name)
      np.testing.assert_array_equal(actual, wanted)
    np.testing.assert_array_equal(episode.states, expected.states)
    np.testing.assert_array_equal(episode.model_fields['body_pos'], np.ones((3, 3)))
  assert len(dataset.take(1).episodes) == 1


def test_nothing_half_written(path, monkeypatch):
  before = path.read_bytes()
  monkeypatch.setattr(np, 'savez_compressed', lambda *_, **__: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    demonstrations.save(path, _METADATA, [_episode(3)])
  assert path.read_bytes() == before
  assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_missing_file(tmp_path):
  with pytest.raises(ValueError, match='demonstrations: found no file .*none.npz'):
    demonstrations.load(tmp_path / 'none.npz')


@pytest.mark.parametrize('keep', [0, 10, 100, 0.5, 0.9])
def test_truncated_file(path, keep):
  whole = path.read_bytes()
  path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
  with pytest.raises(ValueError, match='demonstrations: found .*unreadable'):
    demonstrations.load(path)


def test_any_flipped_byte_is_found_or_harmless(path):
  whole, clean = path.read_bytes(), demonstrations.load(path)
  rng = np.random.default_rng(0)
  refused = 0
  for position in rng.integers(0, len(whole), 150):
    flipped = bytearray(whole)
    flipped[position] ^= 0x55
    path.write_bytes(bytes(flipped))
    try:
      dataset = demonstrations.load(path)
    except ValueError:
      refused += 1
    else:  # Bytes that zip files carry for nobody, such as time stamps.
      assert dataset.checksum == clean.checksum
  assert refused > 75


def test_checksum(path):
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  arrays['rewards'] = arrays['rewards'] + 1
  with open(path, 'wb') as file:
    np.savez(file, **arrays)
  with pytest.raises(ValueError, match='with checksum .*, expected'):
    demonstrations.load(path)


@pytest.mark.parametrize('name', ['observations', 'actions', 'rewards', 'discounts', 'states'])
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_not_finite(path, name, bad):
  with np.load(path) as file:
    array = file[name].copy()
  array.flat[3] = bad
  _rewrite(path, **{name: array})
  with pytest.raises(ValueError, match=f'demonstrations {name}: found NaN or infinite'):
    demonstrations.load(path)


@pytest.mark.parametrize(
  'name, array, message',
  [
    ('actions', np.zeros((11, 1)), 'actions: found float64, expected float32'),
    (
      'actions',
      np.full((11, 1), 1.5, np.float32),
      'actions: found magnitude 1.5, expected at most',
    ),
    ('actions', np.zeros((10, 1), np.float32), r'actions: found shape \(10, 1\), expected 11 rows'),
    ('actions', np.zeros(11, np.float32), r'actions: found shape \(11,\), expected .* rank 2'),
    ('observations', np.zeros((11, 5), np.float32), 'observations: found .*expected 13 rows'),
    ('lengths', np.array([4.0, 7.0]), 'lengths: found .*expected a positive integer'),
    ('lengths', np.array([0, 11]), 'lengths: found .*expected a positive integer'),
    ('rewards', None, "without .'rewards'."),
    ('metadata', 'no json', 'metadata: found'),
    ('metadata', json.dumps({'task': 'x'}), 'metadata: found'),
  ],
)
def test_wrong_arrays(path, name, array, message):
  _rewrite(path, **{name: array})
  with pytest.raises(ValueError, match=message):
    demonstrations.load(path)


@pytest.mark.parametrize(
  'name, array, message',
  [
    ('lengths', np.array([2**62, 2**62], np.int64), 'lengths: found .*at most the 11 rewards'),
    ('lengths', np.array([4, 7], np.int8), 'lengths: found int8 .*expected a positive integer'),
    ('discounts', np.full(11, 2, np.float32), 'discounts: found 2.0 to 2.0, expected 0 to 1'),
    # The fourth step is the first episode's last.
    ('discounts', np.eye(11, dtype=np.float32)[3], 'discounts: found 0 in row 0, expected 0 only'),
    ('observations', np.zeros((13, 0), np.float32), 'observations: found size 0'),
    ('model_body_pos', np.ones((1, 3)), r'model_body_pos: found shape \(1, 3\), expected 2 rows'),
    ('model_body_pos', np.array(['a', 'b']), 'model_body_pos: found <U1, expected numbers'),
    ('model_body_pos', np.full((2, 3), np.nan), 'model_body_pos: found NaN'),
  ],
)
def test_wrong_arrays_that_would_fail_later(path, name, array, message):
  _rewrite(path, **{name: array})
  with pytest.raises(errors.InputError, match=message):
    demonstrations.load(path)


@pytest.mark.parametrize(
  'field, value',
  [
    ('task', 3),
    ('action_repeat', 0),
    ('action_repeat', True),
    ('control_timestep', float('nan')),
    ('control_timestep', '1'),
    ('provenance', None),
    ('versions', ['a']),
    ('versions', {'a': 1}),
    ('seed', 1.5),
  ],
)
def test_wrong_metadata(path, field, value):
  before = path.read_bytes()
  with pytest.raises(errors.InputError, match=f'demonstrations metadata {field}: found'):
    demonstrations.save(path, dataclasses.replace(_METADATA, **{field: value}), [_episode(3)])
  assert path.read_bytes() == before
  _rewrite(path, metadata=json.dumps(dataclasses.asdict(_METADATA) | {field: value}))
  with pytest.raises(errors.InputError, match=f'demonstrations metadata {field}: found'):
    demonstrations.load(path)


@pytest.mark.parametrize(
  'episodes, message',
  [
    ([], 'found no episodes'),
    ([_episode(3, actions=np.full((3, 1), 2, np.float32))], 'magnitude 2.0'),
    ([_episode(3, actions=np.zeros((3, 1)))], 'actions: found float64'),
    ([_episode(3, rewards=np.full(3, np.nan, np.float32))], 'rewards: found NaN'),
    ([_episode(2), _episode(2, discounts=np.float32([0, 1]))], 'discounts: found 0 in row 2'),
    ([_episode(3), _episode(3, actions=np.zeros((3, 0), np.float32))], 'episode 1 actions'),
    ([_episode(3), _without(_episode(3), 'states')], 'episode 1 states: found shape'),
    ([_episode(3), _episode(3)._replace(model_fields={})], 'episode 1 model fields'),
    # Together the rows would be as many as they should.
    (
      [
        _episode(3, observations=np.zeros((5, 5), np.float32)),
        _episode(3, observations=np.zeros((3, 5), np.float32)),
      ],
      'episode 0 observations: found shape',
    ),
  ],
)
def test_nothing_invalid_is_saved(tmp_path, episodes, message):
  with pytest.raises(errors.InputError, match=message):
    demonstrations.save(tmp_path / 'new.npz', _METADATA, episodes)
  assert not list(tmp_path.iterdir())


def test_without_actions_and_states(path):
  demonstrations.save(path, _METADATA, [_without(_episode(n), 'actions', 'states') for n in (3, 4)])
  dataset = demonstrations.load(path)
  assert not dataset.has_actions and not dataset.has_states
  assert dataset.episodes[1].trajectory.actions.shape == (4, 0)
  spec = types.EnvironmentSpec(5, 1)
  dataset_lib.check_matches(dataset, 'cartpole/swingup', 8, spec, needs_actions=False)
  with pytest.raises(errors.InputError, match='actions: found none, expected demonstrations with'):
    dataset_lib.check_matches(dataset, 'cartpole/swingup', 8, spec)


@pytest.mark.parametrize('name', ['actions', 'states'])
def test_nothing_to_replay(path, name):
  dataset = demonstrations.load(path)
  assert dataset.has_actions and dataset.has_states
  demonstrations.save(path, _METADATA, [_without(episode, name) for episode in dataset.episodes])
  with pytest.raises(errors.InputError, match=f'demonstrations {name}: found none'):
    verification.verify(demonstrations.load(path))


def test_bombs(path, monkeypatch):
  monkeypatch.setattr(schema, 'MOST_BYTES', 2**20)
  zeros = np.zeros((2**20, 1), np.float32)
  _rewrite(path)
  before = path.stat().st_size
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  with open(path, 'wb') as file:
    np.savez_compressed(file, **arrays | {'actions': zeros})
  assert path.stat().st_size < 2 * before
  with pytest.raises(errors.InputError, match='bytes of arrays, expected at most 1048576'):
    demonstrations.load(path)


def test_a_shape_larger_than_the_file(path):
  _rewrite(path)
  with zipfile.ZipFile(path) as archive:
    parts = {name: archive.read(name) for name in archive.namelist()}
  small, huge = b'(11,), }' + 12 * b' ', b'(10000000000000,), }'
  assert small in parts['rewards.npy']
  parts['rewards.npy'] = parts['rewards.npy'].replace(small, huge)
  with zipfile.ZipFile(path, 'w') as archive:
    for name, part in parts.items():
      archive.writestr(name, part)
  with pytest.raises(errors.InputError, match="'rewards.npy' shorter than its shape"):
    demonstrations.load(path)


def test_too_few_episodes(path):
  with pytest.raises(ValueError, match='config.num_demonstrations: found 3, expected 1 to 2'):
    demonstrations.load(path).take(3)


@pytest.mark.parametrize(
  'task, repeat, spec, message',
  [
    ('walker/walk', 8, (5, 1), "demonstrations task: found 'cartpole/swingup', expected 'walker"),
    ('cartpole/swingup', 4, (5, 1), "action repeat: found 4 .*expected the demonstrations' 8"),
    ('cartpole/swingup', 8, (6, 1), "observations: found size 5, expected the task's 6"),
    ('cartpole/swingup', 8, (5, 2), "actions: found size 1, expected the task's 2"),
  ],
)
def test_does_not_match_the_environment(path, task, repeat, spec, message):
  with pytest.raises(ValueError, match=message):
    dataset_lib.check_matches(demonstrations.load(path), task, repeat, types.EnvironmentSpec(*spec))


def test_statistics():
  observations = np.array([[0, 5, 1], [2, 5, 1], [4, 5, 1.001]], np.float32)
  episode = _episode(2, observations=observations)
  dataset = dataset_lib.Dataset(_METADATA, (episode,), '')
  spec = dataset_lib.with_statistics(dataset, types.EnvironmentSpec(3, 1))
  np.testing.assert_allclose(spec.observation_mean, observations.mean(0), rtol=1e-6)
  deviation = (8 / 3) ** 0.5
  np.testing.assert_allclose(
    spec.observation_scale, [deviation, 0.01 * deviation, 0.01 * deviation], rtol=1e-5
  )


def test_statistics_of_frames():
  """One of four pixels moves, and rests for most of the time: it is not in the background."""
  frames = np.full((30, 1, 4, 3), 51, np.uint8)
  frames[0, 0, 1] = frames[1, 0, 2] = frames[2:, 0, 3] = 255
  trajectory = types.Trajectory(frames, *[np.zeros((29, n), np.float32) for n in (1,)] * 3)
  dataset = types.Demonstration(trajectory, np.zeros((30, 0)), {})
  dataset = dataset_lib.Dataset(None, (dataset,), '')
  spec = types.EnvironmentSpec(0, 1, frame=(1, 4, 3), stack=2)
  spec = dataset_lib.with_statistics(dataset, spec)
  assert spec.observation_mean == (0.2,) * 12
  assert spec.observation_scale == (pytest.approx(0.8 / 2, rel=1e-4),)


def test_none_shipped():
  with pytest.raises(ValueError, match="none shipped for task 'cartpole/balance'"):
    demonstrations.shipped_path('cartpole/balance')


@pytest.mark.parametrize('path', _SHIPPED, ids=lambda path: path.stem)
def test_shipped_demonstrations_replay_exactly(path):
  dataset = demonstrations.load(path)
  metadata = dataset.metadata
  assert demonstrations.shipped_path(metadata.task, metadata.action_repeat) == path
  assert len(dataset.episodes) == 20
  for difference in verification.verify(dataset):
    assert difference == (0.0, 0.0, 0.0, 0.0)


def test_verify_command(tmp_path, capsys):
  path = str(demonstrations.shipped_path('cartpole/swingup'))
  assert command.main(['verify', path]) == 0
  assert capsys.readouterr().out.endswith('worst state difference: 0.0\n')
  # One action changed: the command must say so.
  dataset = demonstrations.load(path)
  episode = dataset.episodes[0]
  actions = episode.trajectory.actions.copy()
  actions[10] *= 0.5
  wrong = episode._replace(trajectory=episode.trajectory._replace(actions=actions))
  demonstrations.save(tmp_path / 'wrong.npz', dataset.metadata, [wrong])
  assert command.main(['verify', str(tmp_path / 'wrong.npz')]) == 1
  assert command.main(['verify', str(tmp_path / 'none.npz')]) == 2


@pytest.mark.parametrize('name', ['observations', 'rewards', 'discounts'])
def test_verify_command_names_what_differs(name, tmp_path, capsys):
  def change(array):
    array = array.copy()
    array[-1] *= 0.5
    return array

  path, dataset = tmp_path / 'wrong.npz', _changed(name, change)
  recorded = {'mujoco': '1.0\n', 'numpy': np.__version__, 'mine': '2'}
  metadata = dataclasses.replace(dataset.metadata, versions=recorded)
  demonstrations.save(path, metadata, list(dataset.episodes))
  assert command.main(['verify', str(path)]) == 1
  *_, versions, other, state = capsys.readouterr().out.splitlines()
  assert other.startswith(f'worst {name[:-1]} difference: ') and other[-3:] != '0.0'
  assert state == 'worst state difference: 0.0'
  here = importlib.metadata.version('mujoco')
  assert versions == f"  recorded with mujoco '1.0\\n', here {here!r}"


def test_terminations_are_replayed_too():
  """A task that never ends, in episodes that do."""
  zero = lambda discounts: np.append(discounts[:-1], np.float32(0))
  assert verification.verify(_changed('discounts', zero)) == [(0.0, 0.0, 0.0, 1.0)]


@pytest.mark.gl
def test_render_command(tmp_path):
  path = demonstrations.shipped_path('cartpole/swingup')
  output = tmp_path / 'shown'
  arguments = [str(path), f'--output={output}', '--size=32', '--episodes=2']
  process = [sys.executable, '-m', 'eimitate.demonstrations', 'render', *arguments]
  result = subprocess.run(process, capture_output=True, text=True, check=False)
  assert (result.returncode, result.stderr) == (0, '')
  assert sorted(file.name for file in output.iterdir()) == ['episode_0.gif', 'episode_1.gif']
  with Image.open(output / 'episode_0.gif') as gif:
    assert gif.size == (32, 32)
    # Pillow joins frames that look the same.
    durations = [frame.info['duration'] for frame in ImageSequence.Iterator(gif)]
  steps = len(demonstrations.load(path).episodes[0].trajectory.observations)
  assert sum(durations) == steps * 80


def test_no_half_written_gif(tmp_path, monkeypatch):
  def replace(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(rendering.os, 'replace', replace)
  with pytest.raises(OSError, match='No space left'):
    rendering.write_gif(tmp_path / 'shown.gif', [np.zeros((4, 4, 3), np.uint8)] * 2, 0.1)
  assert not list(tmp_path.iterdir())


def test_rendering_needs_states(tmp_path):
  dataset = demonstrations.load(demonstrations.shipped_path('cartpole/swingup')).take(1)
  episode = dataset.episodes[0]
  episode = episode._replace(states=np.zeros((len(episode.states), 0)))
  demonstrations.save(tmp_path / 'x.npz', dataset.metadata, [episode])
  with pytest.raises(ValueError, match='demonstrations states: found none, expected states to'):
    next(rendering.frames(demonstrations.load(tmp_path / 'x.npz'), 8, 8))


def _narrow(array):
  return array[:, :-1]


def _widen(array):
  return np.repeat(array, 3, axis=1)


def _fast(states):
  """The first state with velocities of 1e6; cartpole's stand behind the time and two positions."""
  states = states.copy()
  states[0, 3:5] = 1e6
  return states


def _bad(states):
  states = states.copy()
  states[0, 1] = 1e11
  return states


@pytest.mark.parametrize(
  'name, change, message',
  [
    ('actions', _widen, "demonstrations actions: found size 3, expected the task's 1"),
    ('observations', _widen, "demonstrations observations: found size 15, expected the task's 5"),
    ('states', _narrow, r'state: found shape \(27,\), expected \(28,\)'),
    (
      'states',
      _fast,
      'episode 0 step 0: found Physics state is invalid.*, expected what can be s',
    ),
  ],
)
def test_verify_refuses_what_is_not_the_tasks(name, change, message):
  with pytest.raises(errors.InputError, match=message):
    verification.verify(_changed(name, change))


def test_verify_refuses_what_ends_mujoco(monkeypatch):
  def restore(*_):
    raise simulated.mujoco.FatalError('mju_makeFrame: xaxis of contact frame undefined')

  monkeypatch.setattr(simulated.Simulated, 'restore', restore)
  with pytest.raises(
    errors.InputError, match='episode 0 step 0: found mju_makeFrame: .*, expected'
  ):
    verification.verify(_changed('states', np.copy))


def test_verify_says_where_a_bad_state_is_not_restored():
  assert verification.verify(_changed('states', _bad))[0].state > 1e10


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('control_timestep', 0.5, "control timestep: found 0.5 s, expected the task's 0.08 s"),
    ('action_repeat', 4, "control timestep: found 0.08 s, expected the task's 0.04 s"),
    ('action_repeat', 10**400, 'action repeat: found 1000*, expected at most 10000'),
    ('task', 'playground/CartpoleSwingup', 'expected one that is not on device'),
    ('task', 'mine', "task: found 'mine', expected one of"),
  ],
)
def test_verify_refuses_wrong_metadata(field, value, message):
  dataset = _changed('states', np.copy)
  metadata = dataclasses.replace(dataset.metadata, **{field: value})
  with pytest.raises(errors.InputError, match=message):
    verification.verify(dataclasses.replace(dataset, metadata=metadata))


def test_verify_stops_where_the_task_does():
  twice = lambda array: np.concatenate([array, array[-125:]])
  dataset = _changed('states', twice)
  [episode] = dataset.episodes
  trajectory = types.Trajectory(*map(twice, episode.trajectory))
  dataset = dataclasses.replace(dataset, episodes=(episode._replace(trajectory=trajectory),))
  with pytest.raises(errors.InputError, match="episode 0: found 250 steps, expected the task's at"):
    verification.verify(dataset)


def test_verify_command_in_one_line(tmp_path, capsys):
  dataset = _changed('states', _fast)
  demonstrations.save(tmp_path / 'wrong.npz', dataset.metadata, list(dataset.episodes))
  assert command.main(['verify', str(tmp_path / 'wrong.npz')]) == 2
  assert capsys.readouterr().err.startswith('error: episode 0 step 0: found Physics state')

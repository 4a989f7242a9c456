import dataclasses
import json

import numpy as np
import pytest

from eimitate import demonstrations
from eimitate import types
from eimitate.demonstrations import __main__ as command
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import verification

_METADATA = demonstrations.Metadata('cartpole/swingup', 8, 0.08, 'a test', {'mujoco': '3'}, 0)
_SHIPPED = ('cartpole/swingup', 'ball_in_cup/catch')


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


def test_none_shipped():
  with pytest.raises(ValueError, match="none shipped for task 'cartpole/balance'"):
    demonstrations.shipped_path('cartpole/balance')


@pytest.mark.parametrize('task', _SHIPPED)
def test_shipped_demonstrations_replay_exactly(task):
  dataset = demonstrations.load(demonstrations.shipped_path(task))
  assert dataset.metadata.task == task and len(dataset.episodes) == 20
  for difference in verification.verify(dataset):
    assert difference == (0.0, 0.0, 0.0)


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


def test_verify_refuses_states_of_another_model(tmp_path):
  dataset = demonstrations.load(demonstrations.shipped_path('cartpole/swingup'))
  metadata = dataclasses.replace(dataset.metadata, task='ball_in_cup/catch')
  demonstrations.save(tmp_path / 'wrong.npz', metadata, list(dataset.episodes[:1]))
  with pytest.raises(ValueError, match='state: found shape .*, expected'):
    verification.verify(demonstrations.load(tmp_path / 'wrong.npz'))

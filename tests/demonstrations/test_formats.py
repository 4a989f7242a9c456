import os
import pickle
import struct

import h5py
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

from eimitate import errors
from eimitate.demonstrations import formats
from eimitate.demonstrations import schema
from eimitate.demonstrations.formats import hdf5
from eimitate.demonstrations.formats import unpickling
from tests.demonstrations import fuzz
from tests.demonstrations import sources

_HDF5 = {
  'minari': sources.minari_arrays,
  'd4rl': sources.flat_arrays,
  'robomimic': sources.robomimic_arrays,
}


@pytest.fixture(name='path')
def _path(tmp_path):
  return tmp_path / 'source'


def _read(name, path, keys=None):
  keys = fuzz.KEYS.get(name, ()) if keys is None else keys
  return formats.read(name, path, keys)[0]


def _assert_equal(actual, expected):
  assert len(actual) == len(expected)
  for one, other in zip(actual, expected):
    for name, array in one._asdict().items():
      assert array.dtype == np.float32
      np.testing.assert_array_equal(array, getattr(other, name), name)


def _with_last_truncated(episodes):
  last = episodes[-1]
  return [*episodes[:-1], last._replace(discounts=np.ones_like(last.discounts))]


@pytest.mark.parametrize('name', formats.READERS)
def test_round_trip(name, path):
  # More than ten: episode_10 comes after episode_9, not after episode_1.
  episodes = sources.trajectories((3, 2, 1, 4, 2, 2, 3, 1, 2, 3, 4, 5))
  sources.write(name, path, episodes)
  # robomimic knows no terminations.
  expected = _with_last_truncated(episodes) if name == 'robomimic' else episodes
  _assert_equal(_read(name, path), expected)


def _shortened(episodes):
  """Without their last action, and without the termination that followed it."""
  shortened = [
    episode._replace(
      observations=episode.observations[:-1],
      actions=episode.actions[:-1],
      rewards=episode.rewards[:-1],
      discounts=np.ones(len(episode.rewards) - 1, np.float32),
    )
    for episode in episodes
  ]
  return [episode for episode in shortened if len(episode.rewards)]


@pytest.mark.parametrize('name', ['d4rl', 'robomimic', 'pickle'])
def test_without_the_last_observation_the_last_action_goes(name, path):
  episodes = sources.trajectories((3, 1, 4))
  if name == 'pickle':
    dicts = sources.episode_dicts(episodes)
    for arrays in dicts:
      arrays['observations'] = arrays['observations'][:-1]
    path.write_bytes(pickle.dumps(dicts))
  else:
    arrays = _HDF5[name](episodes)
    sources.write_hdf5(path, {key: arrays[key] for key in arrays if 'next_obs' not in key})
  found, words = formats.read(name, path, fuzz.KEYS.get(name, ()))
  _assert_equal(found, _shortened(episodes))
  assert words.startswith('3 last actions left out, as no observation follows them: ')
  rewards = sum(episode.rewards[-1] for episode in episodes)
  assert words.endswith(f'rewards of {rewards:g} in all, 1 episodes with no other')


def test_d4rl_without_timeouts_ends_where_the_next_observation_does_not_follow(path):
  episodes = _with_last_truncated(sources.trajectories((3, 4)))
  episodes = [x._replace(discounts=np.ones_like(x.discounts)) for x in episodes]
  arrays = sources.flat_arrays(episodes)
  del arrays['timeouts']
  sources.write_hdf5(path, arrays)
  _assert_equal(_read('d4rl', path), episodes)
  del arrays['next_observations']
  sources.write_hdf5(path, arrays)
  joined, words = formats.read('d4rl', path)
  assert len(joined) == 1 and words.startswith('no timeouts: taken to end only where terminals')


def test_an_unfinished_d4rl_episode_is_a_truncation(path):
  episodes = _with_last_truncated(sources.trajectories())
  arrays = sources.flat_arrays(episodes)
  arrays['timeouts'][-1] = False
  sources.write_hdf5(path, arrays)
  _assert_equal(_read('d4rl', path), episodes)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(path, protocol):
  episodes = sources.trajectories()
  dicts = sources.episode_dicts(episodes)
  dicts[0]['observations'] = np.asfortranarray(dicts[0]['observations'])
  dicts[1]['observations'] = dicts[1]['observations'].astype('>f8')
  dicts[1]['infos'] = {'score': np.float64(3), 'steps': [1, 2.5, None, True], 'name': 'x'}
  path.write_bytes(pickle.dumps(dicts, protocol))
  _assert_equal(_read('pickle', path), episodes)
  path.write_bytes(pickle.dumps(sources.flat_arrays(episodes), protocol))
  _assert_equal(_read('pickle', path), episodes)


def test_observation_keys(path):
  (episode,) = sources.trajectories((3,))
  arrays = sources.robomimic_arrays([episode])
  arrays['data/demo_0/obs/image'] = np.zeros((3, 4, 4, 3), np.uint8)
  sources.write_hdf5(path, arrays)
  (actual,) = _read('robomimic', path, ('velocity', 'position'))
  order = [2, 3, 4, 0, 1]
  np.testing.assert_array_equal(actual.observations, episode.observations[:, order])
  match = r"--observation_keys: found none, expected 'image,position,velocity' or some of them"
  with pytest.raises(errors.InputError, match=match):
    _read('robomimic', path, ())
  with pytest.raises(errors.InputError, match=r"obs: found \['position'\], expected all of \['pos"):
    _read('robomimic', path, ('position', 'speed'))


@pytest.mark.parametrize('name', ['observations', 'actions'])
def test_a_single_number_in_minari(name, path):
  arrays = sources.minari_arrays(sources.trajectories((3,)))
  sources.write_hdf5(path, arrays | {f'episode_0/{name}': np.float32(1)})
  with pytest.raises(errors.InputError, match=f'episode_0/{name}: found a single number'):
    _read('minari', path)


def test_nested_observations_of_minari(path):
  arrays = sources.minari_arrays(sources.trajectories((3,)))
  rows = arrays.pop('episode_0/observations')
  arrays['episode_0/observations/robot/arm'] = rows[:, :3]
  arrays['episode_0/observations/goal'] = rows[:, 3:].astype(np.int32)
  arrays['episode_0/infos/names'] = np.array([b'a', b'b', b'c'])
  sources.write_hdf5(path, arrays)
  (actual,) = _read('minari', path, ('goal', 'robot/arm'))
  expected = np.concatenate([rows[:, 3:].astype(np.int32), rows[:, :3]], 1)
  np.testing.assert_array_equal(actual.observations, expected.astype(np.float32))


@pytest.mark.parametrize('name', formats.READERS)
def test_states_left_out_are_mentioned(name, path):
  episodes = sources.trajectories()
  states = {'d4rl': 'infos/qpos', 'minari': 'episode_0/infos/qvel'}
  states = {states.get(name, 'data/demo_1/states'): np.array([b'not read'])}
  if name == 'pickle':
    path.write_bytes(pickle.dumps({**sources.flat_arrays(episodes), 'infos/qpos': np.zeros(7)}))
  else:
    sources.write_hdf5(path, _HDF5[name](episodes) | states)
  found, words = formats.read(name, path, fuzz.KEYS.get(name, ()))
  assert len(found) == 2 and words == 'simulator states left out'
  if name == 'robomimic':
    arrays = _HDF5[name](episodes) | states
    sources.write_hdf5(path, {key: arrays[key] for key in arrays if 'next_obs' not in key})
    _, words = formats.read(name, path, fuzz.KEYS[name])
    assert words.endswith(' in all; simulator states left out')


def test_a_source_without_actions_or_rewards(path):
  (episode,) = sources.trajectories((3,))
  alone = {'observations': episode.observations}
  path.write_bytes(pickle.dumps([alone]))
  (actual,), words = formats.read('pickle', path)
  assert actual.actions.shape == (3, 0) and not actual.rewards.any()
  assert words == 'rewards not known, zeros in their place'
  path.write_bytes(pickle.dumps([alone, alone | {'rewards': episode.rewards}]))
  with pytest.raises(errors.InputError, match='found 1 of 2 episodes with rewards, expected all o'):
    formats.read('pickle', path)


@pytest.mark.parametrize(
  'name, key, value, message',
  [
    ('minari', 'episode_1/observations', None, "episode_1: found .* expected an episode's obs"),
    ('minari', 'episode_1/terminations', None, 'episode_1: found .* terminations'),
    ('minari', 'episode_1/rewards', np.zeros(3), r'rewards: found shape \(3,\), expected 4 rows'),
    ('minari', 'episode_1/rewards', np.zeros((4, 1)), 'rewards: found shape .* rank 1'),
    ('minari', 'episode_1/actions', np.zeros(4), 'actions: found shape .* rank 2'),
    ('minari', 'episode_1/actions', np.zeros((4, 2)), r'actions: found sizes \[1, 2\]'),
    ('minari', 'episode_1/actions', np.zeros((4, 1), int), 'actions: found int64, expected float'),
    ('minari', 'episode_1/actions', np.full((4, 1), np.nan), 'actions: found NaN'),
    ('minari', 'episode_1/actions/a', np.zeros((4, 1)), 'actions: found a group'),
    ('minari', 'episode_1/observations', np.full((5, 5), 1e300), 'observations: found .*huge'),
    ('minari', 'episode_1/observations', np.zeros(5), 'observations: found shape .* rank 2'),
    ('minari', 'episode_1/observations', np.array([b'x'] * 5), 'observations.* of type'),
    ('minari', 'episode_1/terminations', np.ones(4, bool), 'found true after step 0 of 4'),
    ('minari', 'episode_1/rewards', np.ones(4, complex), 'rewards.* of type .complex128'),
    ('d4rl', 'observations', None, "d4rl: found .*expected also .'observations'"),
    ('d4rl', 'terminals', None, "d4rl: found .*expected also .'terminals'"),
    ('d4rl', 'rewards', np.zeros(6), "d4rl: found rows .*'rewards': 6"),
    ('d4rl', 'next_observations', np.zeros((7, 4)), 'next_observations: found shape'),
    ('d4rl', 'terminals', np.zeros((7, 1)), 'terminals: found .*rank 1'),
    ('robomimic', 'data/demo_1/obs/velocity', None, "obs: found .'position'., expected all of"),
    ('robomimic', 'data/demo_1/obs/velocity', np.zeros((3, 3)), 'obs: found rows'),
    ('robomimic', 'data/demo_1/obs/velocity', np.zeros(4), 'velocity: found shape'),
    ('robomimic', 'data/demo_1/actions', np.zeros((3, 1)), 'demo_1: found rows'),
    ('robomimic', 'data/demo_1/obs', np.zeros((4, 5)), 'found .*one array without parts'),
  ],
)
def test_wrong_hdf5(name, key, value, message, path):
  arrays = _HDF5[name](sources.trajectories())
  arrays = {k: v for k, v in arrays.items() if not f'{k}/'.startswith(f'{key}/')}
  arrays = {k: v for k, v in arrays.items() if not f'{key}/'.startswith(f'{k}/')}
  sources.write_hdf5(path, arrays if value is None else arrays | {key: value})
  with pytest.raises(errors.InputError, match=message):
    _read(name, path)


def _bomb(file):
  file.create_dataset('rewards', (10**12,), 'f4', chunks=(1000,))


def _huge_chunks(file):
  file.create_dataset('rewards', (10,), 'f4', chunks=(10**9,), maxshape=(None,))


def _external_link(file):
  file['rewards'] = h5py.ExternalLink('/etc/passwd', '/')


def _soft_link(file):
  file['rewards'] = h5py.SoftLink('/actions')


def _external_storage(file):
  file.create_dataset('rewards', (7,), 'f4', external=[('/etc/passwd', 0, 28)])


def _virtual(file):
  layout = h5py.VirtualLayout((7,), 'f4')
  layout[:] = h5py.VirtualSource('/etc/passwd', 'rewards', (7,))
  file.create_virtual_dataset('rewards', layout)


def _objects(file):
  file.create_dataset('rewards', (7,), h5py.vlen_dtype(np.float32))


def _empty(file):
  file['rewards'] = h5py.Empty('f4')


@pytest.mark.parametrize(
  'write, message',
  [
    (_bomb, 'found .* with 4000000000.* bytes of arrays, expected at most 4294967296'),
    (_huge_chunks, "'rewards' in chunks of shape"),
    (_external_link, "'rewards', a ExternalLink, expected data in the file itself"),
    (_soft_link, "'rewards', a SoftLink, expected data in the file itself"),
    (_external_storage, "'rewards' with its data in other files"),
    (_virtual, "'rewards' with its data in other files"),
    (_objects, "'rewards' of type 'object'"),
    (_empty, "'rewards' without data"),
  ],
)
def test_dangerous_hdf5(write, message, path):
  arrays = sources.flat_arrays(sources.trajectories())
  sources.write_hdf5(path, {key: arrays[key] for key in arrays if key != 'rewards'})
  with h5py.File(path, 'a') as file:
    write(file)
  with pytest.raises(errors.InputError, match=message):
    _read('d4rl', path)


def test_a_group_within_itself(path):
  with h5py.File(path, 'w') as file:
    group = file.create_group('episode_0/observations')
    group['again'] = group
  with pytest.raises(errors.InputError, match='again or too deep'):
    _read('minari', path)


@pytest.mark.parametrize('keep', [0, 7, 0.5, 0.99])
def test_truncated_hdf5(keep, path):
  sources.write('d4rl', path)
  whole = path.read_bytes()
  path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
  with pytest.raises(errors.InputError, match=r'HDF5 file: found .*unreadable \(Unable'):
    _read('d4rl', path)


def test_a_file_that_kills_its_reader(path, monkeypatch):
  sources.write('d4rl', path)
  child = path.with_name('child.py')
  child.write_text('import os, signal; os.kill(os.getpid(), signal.SIGSEGV)')
  monkeypatch.setattr(hdf5, '_CHILD', child)
  with pytest.raises(errors.InputError, match='kills its reader with signal 11'):
    _read('d4rl', path)


def test_without_h5py(path, monkeypatch):
  monkeypatch.setattr(hdf5.importlib.util, 'find_spec', lambda _: None)
  with pytest.raises(errors.InputError, match=r'pip install h5py'):
    _read('d4rl', path)


class _Runs:
  def __init__(self, function, *arguments):
    self.call = (function, arguments)

  def __reduce__(self):
    return self.call


def _pickle_of_nested_keys():
  """A key of 64 tuples, each the one before twice: its hash takes 2^64 steps."""
  twice = pickle.DUP + pickle.TUPLE2
  return pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + 64 * twice + pickle.NONE + pickle.SETITEM + b'.'


def _array_pickle(shape, raw=b'\0' * 8, code='f8'):
  """As NumPy writes an array, with any shape, bytes and type."""
  reconstruct = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R'
  dtype = b'cnumpy\ndtype\nX' + struct.pack('<I', len(code)) + code.encode() + b'\x85R'
  text = pickle.dumps(shape, 2)[2:-1]
  return reconstruct + b'(K\x01' + text + dtype + b'\x89' + pickle.dumps(raw, 3)[2:-1] + b'tb.'


@pytest.mark.parametrize(
  'content, message',
  [
    (pickle.dumps(_Runs(os.system, 'touch owned')), r"found 'posix.system', expected only NumPy"),
    (pickle.dumps(_Runs(eval, '1')), "found '.*builtins.*eval', expected only NumPy"),
    (pickle.dumps(_Runs(np.ndarray, (10**12,))), 'a call of numpy.ndarray'),
    (b'cnumpy.core.multiarray\n_reconstruct\n0' + pickle.NONE + b'r\xff\xff\xff\x7f.', 'NoneType'),
    (pickle.PROTO + b'\5' + pickle.BYTEARRAY8 + b'\xff' * 7 + b'\x0f.', 'expected a'),
    (pickle.dumps(np.array([None], object)), "type 'O8', expected numbers"),
    (pickle.dumps({'observations': np.array(['a'])}), "type 'U1', expected numbers"),
    (_array_pickle((10**11,)), '8 bytes for an array of shape .*expected 800000000000 bytes'),
    (_array_pickle((10**60,)), 'an array without a possible shape'),
    (_array_pickle((-1,)), 'an array without a possible shape'),
    (_array_pickle((1,), 'x'), 'found an array of str'),
    (_array_pickle((1,), [1.0]), 'an array of list'),
    (_array_pickle((1,), code='O'), "type 'O', expected numbers"),
    (_pickle_of_nested_keys(), 'a key of type tuple'),
    (pickle.dumps(np.float32)[:-1] + b'.', "'numpy.float32', expected only"),
    (b'cnumpy\ndtype\n}\x8c\x05valueK\1sb.', 'state for function'),
    (b'I1\n)R.', 'a call of int'),
    (pickle.dumps(7), 'found int, expected a dict'),
    (pickle.dumps([7]), 'found int, expected a dict of arrays'),
    (pickle.dumps({'actions': np.zeros(3)}), "found .'actions'., expected observations"),
    (pickle.dumps({'observations': [1, 2]}), 'found list, expected a NumPy array'),
    (pickle.dumps(sources.episode_dicts(sources.trajectories()))[:-90], 'unreadable'),
    (b'', 'unreadable .EOFError'),
    (b'\x80\x04N0.', 'unreadable'),
    (pickle.dumps({1, 2}), 'operation 143'),
  ],
)
def test_dangerous_pickles(content, message, path, monkeypatch):
  monkeypatch.chdir(path.parent)
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=message):
    _read('pickle', path)
  assert os.listdir() == [path.name]


def test_many_values(path, monkeypatch):
  monkeypatch.setattr(unpickling, '_MOST_OPERATIONS', 1000)
  path.write_bytes(pickle.EMPTY_LIST * 2000)
  with pytest.raises(errors.InputError, match='more values than arrays need'):
    _read('pickle', path)


def test_one_array_many_times(path):
  # The file is small, what it asks for is not.
  array = {'observations': np.zeros((100_000, 100), np.uint8)}
  path.write_bytes(pickle.dumps([array] * 200))
  with pytest.raises(errors.InputError, match='found 8000000000 bytes of arrays, expected at most'):
    _read('pickle', path)


@pytest.mark.parametrize('name', ['d4rl', 'pickle'])
def test_keys_where_there_are_none(name, path):
  sources.write(name, path)
  with pytest.raises(errors.InputError, match='observation_keys: found .*expected none'):
    _read(name, path, ('a',))


@pytest.mark.parametrize('name', formats.READERS)
def test_no_file_and_no_episodes(name, path):
  with pytest.raises(errors.InputError, match='found no .*source'):
    _read(name, path)
  if name == 'pickle':
    path.write_bytes(pickle.dumps([]))
  else:
    sources.write_hdf5(path, {'other': np.zeros(3)})
  with pytest.raises(errors.InputError, match='found .*expected'):
    _read(name, path)


@pytest.mark.parametrize('name', [*sources.FORMATS, fuzz.VERIFY])
def test_damage_is_refused_or_harmless(name, tmp_path_factory):
  path = tmp_path_factory.mktemp(name) / 'input'
  fuzz.write(np.random.default_rng(0), name, path)
  whole = path.read_bytes()

  @settings(max_examples=40 if name in ('pickle', 'npz') else 4, deadline=None, database=None)
  @given(st.integers(0, 2**32), st.booleans(), st.sampled_from(['clip', 'drop']))
  def damaged(seed, structure, actions):
    rng = np.random.default_rng(seed)
    if structure:
      fuzz.build(rng, name, path)
    else:
      path.write_bytes(fuzz.damage(rng, whole))
    try:
      fuzz.read(name, path, actions)
    except errors.InputError as error:
      assert '\n' not in str(error)

  damaged()


def test_the_limit_is_one(path, monkeypatch):
  for name in sources.FORMATS:
    monkeypatch.undo()
    sources.write(name, path)
    monkeypatch.setattr(schema, 'MOST_BYTES', 100)
    with pytest.raises(errors.InputError, match='bytes.*expected at most 100'):
      fuzz.read(name, path)

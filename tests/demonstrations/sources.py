"""Small valid files of every format, for the tests and the fuzzer."""

import pickle

import h5py
import numpy as np

from eimitate import demonstrations
from eimitate import types
from eimitate.demonstrations import importing

LENGTHS = (3, 4)
FORMATS = ('minari', 'd4rl', 'robomimic', 'pickle', 'npz')


def trajectories(lengths=LENGTHS, seed=0, observation_size=5):
  """Episodes of cartpole's sizes; the last one terminates."""
  rng = np.random.default_rng(seed)
  episodes = [
    types.Trajectory(
      rng.normal(size=(length + 1, observation_size)).astype(np.float32),
      rng.uniform(-1, 1, (length, 1)).astype(np.float32),
      rng.uniform(size=length).astype(np.float32),
      np.ones(length, np.float32),
    )
    for length in lengths
  ]
  episodes[-1].discounts[-1] = 0
  return episodes


def write(name, path, episodes=None):
  """Writes `episodes` at `path` in the format `name`."""
  _WRITERS[name](path, episodes or trajectories())


def flat_arrays(episodes):
  """D4RL's arrays, with the last observations."""
  ends = np.cumsum([len(episode.rewards) for episode in episodes]) - 1
  terminals = np.concatenate([episode.discounts for episode in episodes]) == 0
  timeouts = np.zeros_like(terminals)
  timeouts[ends] = ~terminals[ends]
  return {
    'observations': np.concatenate([episode.observations[:-1] for episode in episodes]),
    'next_observations': np.concatenate([episode.observations[1:] for episode in episodes]),
    'actions': np.concatenate([episode.actions for episode in episodes]),
    'rewards': np.concatenate([episode.rewards for episode in episodes]),
    'terminals': terminals,
    'timeouts': timeouts,
  }


def write_hdf5(path, arrays):
  """Arrays by slash-separated names."""
  with h5py.File(path, 'w', track_order=True) as file:
    for name, array in arrays.items():
      file.create_dataset(name, data=array)


def minari_arrays(episodes):
  """`main_data.hdf5` of plain observations."""
  arrays = {}
  for i, episode in enumerate(episodes):
    terminations = episode.discounts == 0
    arrays |= {
      f'episode_{i}/observations': episode.observations.astype(np.float64),
      f'episode_{i}/actions': episode.actions,
      f'episode_{i}/rewards': episode.rewards,
      f'episode_{i}/terminations': terminations,
      f'episode_{i}/truncations': ~terminations,
    }
  return arrays


def robomimic_arrays(episodes):
  """Observations in two parts."""
  arrays = {}
  for i, episode in enumerate(episodes):
    for group, rows in (('obs', episode.observations[:-1]), ('next_obs', episode.observations[1:])):
      arrays[f'data/demo_{i}/{group}/position'] = rows[:, :2]
      arrays[f'data/demo_{i}/{group}/velocity'] = rows[:, 2:]
    arrays[f'data/demo_{i}/actions'] = episode.actions
    arrays[f'data/demo_{i}/rewards'] = episode.rewards
    arrays[f'data/demo_{i}/dones'] = np.ones(len(episode.rewards), np.int64)
  return arrays


def episode_dicts(episodes):
  """One dict per episode, with the last observation."""
  return [
    {
      'observations': episode.observations,
      'actions': episode.actions,
      'rewards': episode.rewards,
      'terminals': episode.discounts == 0,
    }
    for episode in episodes
  ]


def _write_npz(path, episodes):
  metadata = demonstrations.Metadata('cartpole/swingup', 8, 0.08, 'a test', {'mujoco': '3'}, 0)
  demonstrations.save(path, metadata, importing.wrap(episodes))


_WRITERS = {
  'minari': lambda path, episodes: write_hdf5(path, minari_arrays(episodes)),
  'd4rl': lambda path, episodes: write_hdf5(path, flat_arrays(episodes)),
  'robomimic': lambda path, episodes: write_hdf5(path, robomimic_arrays(episodes)),
  'pickle': lambda path, episodes: path.write_bytes(pickle.dumps(episode_dicts(episodes))),
  'npz': _write_npz,
}

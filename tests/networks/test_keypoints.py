import jax
import jax.numpy as jnp
import numpy as np

from eimitate.networks import keypoints


def test_mean_positions_by_hand():
  maps = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
  found = keypoints.mean_positions(maps)
  assert found.shape == (2, 8)
  for n in range(2):
    for c in range(4):
      one = maps[n, :, :, c]
      weights = np.exp((one - one.mean()) / one.std())
      weights /= weights.sum()
      row, column = weights.sum(1) @ [-1, 0, 1], weights.sum(0) @ [-2, -1, 0, 1, 2]
      np.testing.assert_allclose(found[n, [c, 4 + c]], [row, column], rtol=1e-4, atol=1e-5)


def test_a_map_without_anything_in_it_has_its_point_in_the_middle():
  gradient = jax.grad(lambda maps: keypoints.mean_positions(maps).sum())(jnp.ones((1, 4, 4, 1)))
  assert np.abs(keypoints.mean_positions(jnp.ones((1, 4, 4, 1)))).max() < 1e-6
  assert np.isfinite(gradient).all()


def _frames(columns):
  """A dot of one channel at row 8, in the given columns of a stack of frames."""
  frames = np.zeros((16, 30, len(columns)), np.float32)
  for i, column in enumerate(columns):
    frames[8, column, i] = 1
  return frames


def test_consecutive_observations_share_frames():
  encoder = keypoints.KeypointEncoder((4,), stack=3, output=5)
  frames = np.random.default_rng(1).normal(size=(2, 6, 16, 16, 2)).astype(np.float32)
  stacked = np.stack(
    [np.concatenate([frames[:, t + a] for a in range(3)], -1) for t in range(4)], 1
  )
  np.testing.assert_array_equal(keypoints.distinct_frames(stacked, 3), frames)
  params = encoder.init(jax.random.key(0), stacked)
  together = encoder.apply(params, stacked)
  each = [encoder.apply(params, stacked[:, t : t + 1]) for t in range(4)]
  np.testing.assert_allclose(together, np.concatenate(each, 1), rtol=1e-5, atol=1e-5)


def test_what_moves_evenly_has_features_that_do():
  encoder = keypoints.KeypointEncoder((3,), stack=2, output=12)
  moving = np.stack([_frames([9 + 3 * t, 12 + 3 * t]) for t in range(4)])
  params = encoder.init(jax.random.key(0), moving)
  # The features themselves: 3 points and their 3 movements, of a row and a column each.
  params['params']['Dense_0'] = {'kernel': jnp.eye(12), 'bias': jnp.zeros(12)}
  features = np.asarray(jax.jit(encoder.apply)(params, moving))
  newest, moved = features[:, :6], features[:, 6:]
  np.testing.assert_allclose(np.diff(newest, axis=0), moved[:-1], atol=1e-4)
  np.testing.assert_allclose(moved, np.tile(moved[:1], (4, 1)), atol=1e-4)
  assert np.abs(moved[0, 3:]).min() > 1e-3 and np.abs(moved[0, :3]).max() < 1e-4
  still = encoder.apply(params, _frames([8, 8])[None])
  assert still.shape == (1, 12) and np.abs(still[0, 6:]).max() < 1e-5


def test_hidden_layers_add_to_points_and_start_at_zero():
  frames = jnp.array(np.random.default_rng(2).normal(size=(2, 1, 16, 16, 4)), jnp.float32)
  plain = keypoints.KeypointEncoder((3,), stack=2, output=5)
  encoder = keypoints.KeypointEncoder((3,), stack=2, output=5, hidden=(7,))
  params = encoder.init(jax.random.key(0), frames)['params']
  alone = {name: value for name, value in params.items() if name != 'MLP_0'}
  expected = plain.apply({'params': alone}, frames)
  np.testing.assert_allclose(encoder.apply({'params': params}, frames), expected, atol=1e-6)
  last = params['MLP_0']['Dense_1']
  assert last['kernel'].shape == (7, 6)
  # Added to the points of every frame alike, so that nothing seems to have moved.
  params['MLP_0']['Dense_1'] = {'kernel': last['kernel'], 'bias': jnp.ones(6)}
  moved = encoder.apply({'params': params}, frames) - expected
  of_points = params['Dense_0']['kernel'][:6].sum(0)
  np.testing.assert_allclose(moved, jnp.broadcast_to(of_points, moved.shape), atol=1e-5)


def test_sizes():
  encoder = keypoints.KeypointEncoder((8, 16), stack=4, output=64)
  frames = jnp.zeros((2, 3, 48, 48, 12))
  params = encoder.init(jax.random.key(0), frames)['params']
  assert params['Conv_0']['kernel'].shape == (5, 5, 3, 8)
  assert params['Conv_1']['kernel'].shape == (3, 3, 8, 16)
  assert params['Dense_0']['kernel'].shape == (4 * 2 * 16, 64)
  assert encoder.apply({'params': params}, frames).shape == (2, 3, 64)

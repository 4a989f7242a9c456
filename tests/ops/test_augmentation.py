import jax
import jax.numpy as jnp
import numpy as np

from eimitate.ops import augmentation


def test_shift_is_a_crop_of_the_padded_image():
  frames = jax.random.uniform(jax.random.key(0), (64, 7, 6, 2))
  shifted = np.asarray(jax.jit(augmentation.random_shift)(jax.random.key(1), frames))
  seen = set()
  for before, after in zip(np.asarray(frames), shifted):
    padded = np.pad(before, ((4, 4), (4, 4), (0, 0)), 'edge')
    crops = {(i, j): padded[i : i + 7, j : j + 6] for i in range(9) for j in range(9)}
    found = [place for place, crop in crops.items() if (crop == after).all()]
    assert found
    seen.add(found[0])
  # Every image has its own shift.
  assert len(seen) > 20


def test_shift_keeps_uint8():
  frames = jnp.full((2, 5, 5, 3), 200, jnp.uint8)
  shifted = augmentation.random_shift(jax.random.key(0), frames)
  assert shifted.dtype == jnp.uint8
  np.testing.assert_array_equal(shifted, frames)


def test_intensity_scales_whole_images():
  frames = jax.random.uniform(jax.random.key(0), (5000, 2, 2, 1), minval=0.1)
  factor = np.asarray(augmentation.random_intensity(jax.random.key(1), frames) / frames)
  np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-5)
  assert 0.9 - 1e-4 <= factor.min() and factor.max() <= 1.1 + 1e-4
  assert abs(factor[:, 0, 0].mean() - 1) < 0.003 and abs(factor[:, 0, 0].std() - 0.048) < 0.003

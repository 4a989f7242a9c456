"""What stands still in frames, which is not their mean."""

import numpy as np

_AMONG = 1000  # As many frames are compared: of large ones more would fill a small machine.


def background(frames: np.ndarray, count: int = 64) -> np.ndarray:
  """Every pixel's median over frames that differ from each other as much as can be.

  An expert holds what it balances where it belongs, for most of all frames: mean and median of all
  show it there, and taken from them it is hardly seen where it matters most.

  Args:
    frames: `[N, H, W, C]` uint8.
    count: how many frames, chosen one by one: each is the one farthest from those before it.

  Returns:
    `[H, W, C]` floating point, in the frames' units.
  """
  frames = frames[:: -(-len(frames) // _AMONG)]
  flat = frames.reshape(len(frames), -1).astype(np.float32)
  chosen, farthest = [], 0
  distances = np.full(len(flat), np.inf)
  while distances[farthest] > 0 and len(chosen) < count:
    chosen.append(farthest)
    distances = np.minimum(distances, np.square(flat - flat[farthest]).sum(1))
    farthest = int(distances.argmax())
  return np.median(frames[chosen], 0)

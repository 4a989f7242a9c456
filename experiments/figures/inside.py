"""An EfficientImitate checkpoint opened up: its networks, its model, its replay."""

import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import checkpoints as checkpoints_lib
from eimitate import configuration
from eimitate import errors
from eimitate import evaluation
from eimitate import inputs as inputs_lib
from eimitate import runs
from eimitate.agents import efficient_imitate
from eimitate.agents.efficient_imitate import learner
from eimitate.replay import episodes
from eimitate.search import Model


class Inside(NamedTuple):
  """What a checkpoint is made of.

  path: it was opened by. loaded: as evaluation sees it. config: the agent's.
  networks: of `loaded.params`. model: the same as what a search sees.
  inputs: the run's environments and demonstrations.
  """

  path: str | os.PathLike
  loaded: evaluation.Loaded
  config: efficient_imitate.Config
  networks: efficient_imitate.Networks
  model: Model
  inputs: inputs_lib.Inputs


def open_checkpoint(path: str | os.PathLike) -> Inside:
  """Opens a work directory's latest checkpoint, or one step.

  Raises:
    InputError: if there is none, it is damaged, or of another version or agent.
  """
  loaded = evaluation.load(path)
  description = loaded.description
  found, wanted = description['agent'], 'efficient_imitate'
  errors.check(found == wanted, 'checkpoint agent', repr(found), f'{wanted!r}: it has latents')
  config = configuration.from_dict(efficient_imitate.Config, description['agent_config'])
  run_config = configuration.from_dict(runs.Config, description['config'])
  run = runs.Run(found, description['task'], description['seed'], config, run_config)
  inputs = inputs_lib.load(run)
  networks = efficient_imitate.make_networks(config.networks, inputs.spec)
  return Inside(path, loaded, config, networks, learner.make_model(config, networks), inputs)


def replay_of(inside: Inside) -> episodes.Replay:
  """The agent's episodes that its replay still holds, in one ring (NumPy), oldest first."""
  config: Any = inside.loaded.description['config']
  agent = efficient_imitate.make_agent(inside.config, inside.inputs.spec)
  capacity = config['replay']['episodes'] * (inside.inputs.longest + 1)
  one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

  def like(meta):
    one = jax.eval_shape(lambda: agent.init_replay(-(-capacity // meta['devices'])))
    stacked = lambda x: jax.ShapeDtypeStruct(
      (meta['devices'], *x.shape), x.dtype, sharding=one_device
    )
    return {'replay': jax.tree.map(stacked, one)}

  checkpoints, step = checkpoints_lib.open_existing(inside.path)
  try:
    shards = checkpoints.restore(step, like)['replay']
  finally:
    checkpoints.close()
  empty = jax.tree.map(lambda x: np.asarray(x)[None], agent.init_replay(capacity))
  return jax.tree.map(lambda x: x[0], agent.reshard(shards, empty))


def episode_rows(replay: episodes.Replay) -> list[np.ndarray]:
  """The rows `[T + 1]` of every episode whose end a ring (NumPy) holds, oldest first."""
  rows = [np.flatnonzero(replay.episode == n) for n in np.unique(replay.episode) if n >= 0]
  # A wrapped ring keeps an episode's beginning at its end.
  capacity = len(replay.episode)
  ordered = [row[np.argsort((row - replay.cursor) % capacity)] for row in rows]
  return [row for row in ordered if not replay.rows.has_action[row[-1]]]


def latents(inside: Inside, replay: episodes.Replay, rows: np.ndarray) -> np.ndarray:
  """Latent states `[T + 1, L]` of some rows of a ring."""
  stack = inside.inputs.spec.stack
  on_device = jax.tree.map(jnp.asarray, replay)
  seen = episodes.gather(on_device, jnp.asarray(rows), 0, stack).observations[:, 0]
  return np.asarray(inside.networks.represent(inside.loaded.params, seen))


def expert_replay(inside: Inside) -> episodes.Replay:
  """The demonstrations in a ring."""
  replay = inputs_lib.demonstrations_replay(inside.inputs)
  assert replay is not None  # EfficientImitate has some.
  return jax.tree.map(np.asarray, replay)

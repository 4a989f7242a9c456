"""All that changes while a run trains: begun anew, or where another run or a checkpoint stands."""

from collections.abc import Callable, Mapping, Sequence
import logging
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import checkpoints as checkpoints_lib
from eimitate import configuration
from eimitate import errors
from eimitate import evaluation
from eimitate import logs
from eimitate import parallel
from eimitate import processes
from eimitate import runs
from eimitate import types


class State(NamedTuple):
  """What changes while training.

  learner: the agent's state, replicated. replay: the agent's, `[D, ...]`, one shard per device.
  rng_key: split once per use.
  counters: on the host: `logs.COUNTERS`; `episodes`, begun, and `stored`, in the replay; `reached`,
    the number of evaluations in a row that reached the target return; `evaluated`, the updates
    before the last one; `round_start`, the agent steps before this round.
  pending: the metrics of this round's calls so far, as floats.
  result: the last evaluation's.
  """

  learner: Any
  replay: Any
  rng_key: chex.PRNGKey
  counters: Mapping[str, int]
  pending: list[dict[str, float]]
  result: Mapping[str, float]

  def with_counters(self, **changed: int) -> 'State':
    """With counters changed."""
    return self._replace(counters={**self.counters, **changed})


def init(
  run: runs.Run,
  agent: types.Agent,
  placement: parallel.Placement,
  replay: Any,
  params: types.Params | None,
) -> State:
  """A new run's state: an empty `replay` on every device, and `params` where some are given."""
  rng_key, init_key = jax.random.split(jax.random.key(run.seed))
  names = (*logs.COUNTERS, 'episodes', 'stored', 'reached', 'evaluated', 'round_start')
  counters = dict.fromkeys(names, 0)
  # One program: layer by layer takes longer to compile.
  learner = placement.replicate(jax.jit(agent.init)(init_key, params))
  return State(learner, placement.stack(replay), rng_key, counters, [], {})


def check_fits(
  make_replay: Callable[[int], Any], devices: Sequence[jax.Device], episodes: int
) -> None:
  """Raises `InputError` unless the devices have room for the replay.

  Args:
    make_replay: from a number of devices to the replay of one of them.
    devices: what it is to lie on.
    episodes: for how many it has room, `config.replay.episodes`.
  """
  share = jax.eval_shape(lambda: make_replay(len(devices)))
  size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(share))
  # Laying it out on the devices, and saving it, takes a copy.
  needed, free = 2 * size, parallel.free_bytes(devices)
  gibibytes = lambda count: f'{len(devices) * count / 2**30:.2f} GiB'
  errors.check(
    needed <= free,
    'config.replay.episodes',
    f'{episodes}, a replay of {gibibytes(size)}, and a copy of it while it is made and saved',
    f'at most {int(episodes * free / needed)}, for which the {gibibytes(free)} that are free do',
  )


def initial_params(run: runs.Run, agent: types.Agent) -> types.Params:
  """The parameters that `run.config.init_from` names.

  Raises:
    InputError: if there are none, or they are of another agent or of other shapes.
  """
  loaded = evaluation.load(run.config.init_from)
  name, field = loaded.description['agent'], 'config.init_from'
  errors.check(name == run.agent, field, f'a checkpoint of {name!r}', f'one of {run.agent!r}')
  shapes = lambda params: {
    jax.tree_util.keystr(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  wanted = shapes(jax.eval_shape(lambda key: agent.params(agent.init(key)), jax.random.key(0)))
  different = configuration.differences(shapes(loaded.params), wanted)
  errors.check(
    not different, field, f'parameters with {"; ".join(different[:3])}', 'the same shapes'
  )
  return loaded.params


def save(
  checkpoints: checkpoints_lib.Checkpoints,
  agent: types.Agent,
  state: State,
  devices: int,
  logger: logs.Logger,
  description: Mapping[str, Any],
) -> None:
  """Saves everything under the number of its agent steps.

  Args:
    checkpoints: of the run's work directory; None in a process that does not lead.
    agent: whose state it is.
    state: what to save.
    devices: among how many the replay is shared.
    logger: of the run; None in a process that does not lead.
    description: what rebuilds the agent.

  Raises:
    FloatingPointError: if a parameter is not finite: nothing is saved.
    OSError: if this or the save before failed.
  """
  learner = processes.on_host(parallel.first_copy(state.learner))
  replay = processes.gather(state.replay)
  params = agent.params(learner)
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    if not np.isfinite(leaf).all():
      name, updates = jax.tree_util.keystr(path), state.counters['updates']
      raise FloatingPointError(f'parameter {name} not finite after {updates} updates')
  arrays = {'params': params, 'learner': learner, 'replay': replay}
  meta = {
    'devices': devices,
    'counters': dict(state.counters),
    'rng_key': jax.random.key_data(state.rng_key).tolist(),
    'pending': state.pending,
    'result': dict(state.result),
  }
  step, now = state.counters['agent_steps'], state.counters['evaluated']
  value = state.result.get('mean_return') if now == state.counters['updates'] else None

  def write():
    texts = {'meta': meta | {'metrics_bytes': logger.metrics_bytes}, 'config': description}
    checkpoints.save(step, arrays, texts, value)

  processes.only_leader(write)


def restore(
  checkpoints: checkpoints_lib.Checkpoints,
  agent: types.Agent,
  placement: parallel.Placement,
  state: State,
  make_replay: Callable[[int], Any],
) -> tuple[State, int]:
  """State and metrics.jsonl's size of the latest whole checkpoint; `state` where there is none.

  A run may go on with another number of devices, whose replays then share what there was.

  Args:
    checkpoints: of the run's work directory; None in a process that does not lead.
    agent: whose state it is.
    placement: where it shall be.
    state: a new run's, there.
    make_replay: from a number of devices to the empty replay of one of them.

  Raises:
    InputError: if there are checkpoints and all are damaged.
  """
  devices = len(placement.devices)
  on_one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  there = lambda meta: meta['devices'] == devices and jax.process_count() == 1

  def like(meta):
    if there(meta):
      return {'learner': state.learner, 'replay': state.replay}
    one = jax.eval_shape(lambda: make_replay(meta['devices']))
    stacked = lambda x: jax.ShapeDtypeStruct((meta['devices'], *x.shape), x.dtype, sharding=on_one)
    alone = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_one)
    return {'learner': jax.tree.map(alone, state.learner), 'replay': jax.tree.map(stacked, one)}

  def read():
    restored = checkpoints.restore_latest(like)
    return restored if not restored or there(restored['meta']) else jax.device_get(restored)

  restored = processes.on_leader(read)
  if restored is None:
    return state, 0
  meta, learner, replay = restored['meta'], restored['learner'], restored['replay']
  if meta['devices'] != devices:
    message = 'Going on with %d devices instead of %d: just as well, but not bit by bit the same'
    logging.warning(message, devices, meta['devices'])
    empty = lambda x: np.broadcast_to(x, (devices, *x.shape))
    replay = agent.reshard(replay, jax.tree.map(empty, make_replay(devices)))
  if not there(meta):
    learner, replay = placement.replicate(learner), placement.shard(replay)
  rng_key = jax.random.wrap_key_data(jnp.asarray(meta['rng_key'], jnp.uint32))
  # Older checkpoints do not have these two.
  counters = {'stored': meta['counters']['episodes'], 'evaluated': -1} | meta['counters']
  state = State(learner, replay, rng_key, counters, meta['pending'], meta['result'])
  return state, meta['metrics_bytes']

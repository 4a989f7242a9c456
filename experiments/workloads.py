"""What the benchmark times: each workload is one compiled call on walker walk's sizes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import agents
from eimitate import environments
from eimitate import parallel
from eimitate import training
from eimitate import types
from eimitate.agents.efficient_imitate import learner
from eimitate.replay import episodes
from eimitate.search import make_search
from experiments import floors

# Walker walk's sizes, by preset.
SPECS = {
  'state': types.EnvironmentSpec(24, 6, (0.0,) * 24, (1.0,) * 24),
  'image': types.EnvironmentSpec(0, 6, (0.5,) * (48 * 48 * 3), (1.0,), frame=(48, 48, 3), stack=4),
}
_EPISODE, _EPISODES, _UPDATES = 250, 8, 4
_SAMPLES = 64
_FRAME_SIZE, _FRAMES = 48, 50


class Workload(NamedTuple):
  """One thing to time.

  call: takes the call's number, returns when the work is done.
  unit: what a call does `count` times, in the singular.
  work, work_unit: what a call must do at least: `flop` of matrix products, or `byte` read and
    written; empty where no such floor is known.
  rates: what a call does, in the plural, and how often.
  """

  call: Callable[[int], Any]
  unit: str
  count: int
  work: float = 0.0
  work_unit: str = ''
  rates: Mapping[str, float] = {}


def update(
  config: Any, placement: parallel.Placement, spec: types.EnvironmentSpec, updates: int
) -> Workload:
  """The learner: sampling, searches, losses, optimiser, as training compiles them."""
  agent = agents.efficient_imitate.make_agent(config, spec)
  compiled = placement.map_update(training.many_updates(agent, updates))
  state = placement.replicate(agent.init(jax.random.key(0)))
  replay = placement.stack(random_replay(spec, 0))
  demonstrations = placement.replicate(random_replay(spec, 1))

  def call(i):
    nonlocal state, replay
    state, replay, _ = compiled(state, jax.random.key(i), replay, demonstrations)
    jax.block_until_ready(state)

  roots = config.batch_size // 2 * (config.unroll_steps + 2)
  rates = {'updates': updates}
  rates['root_simulations'] = updates * roots * config.search.num_simulations
  flops = updates * floors.update_flops(config, spec)
  return Workload(call, 'update', updates, flops, 'flop', rates)


def search(config: Any, placement: parallel.Placement, spec: types.EnvironmentSpec) -> Workload:
  """The searches of one update alone."""
  networks = agents.efficient_imitate.make_networks(config.networks, spec)
  run = make_search(config.search, learner.make_model(config, networks))
  roots = config.batch_size // 2 * (config.unroll_steps + 2)
  devices = placement.devices
  params = placement.replicate(networks.init(jax.random.key(0)))
  shape = (len(devices), roots // len(devices), *spec.observed)
  observations = jax.random.normal(jax.random.key(1), shape)

  def one(params, keys, observations):
    latent = networks.represent(params, observations)
    return run(params, keys, latent, noise=config.reanalyse_noise)

  compiled = jax.pmap(one, in_axes=(None, 0, 0), devices=devices)

  def call(i):
    keys = jax.random.split(jax.random.key(i), len(devices))
    jax.block_until_ready(compiled(params, keys, observations))

  rates = {'root_searches': roots, 'root_simulations': roots * config.search.num_simulations}
  flops = floors.search_flops(config, spec)
  return Workload(call, 'search', 1, flops, 'flop', rates)


def act(config: Any, num_environments: int, spec: types.EnvironmentSpec) -> Workload:
  """What an actor waits for: one action for each of `num_environments`, from NumPy to NumPy."""
  agent = agents.efficient_imitate.make_agent(config, spec)
  compiled = jax.jit(agent.act)
  params = agent.params(agent.init(jax.random.key(0)))
  observations = _random_observations(np.random.default_rng(0), spec.observed, num_environments)
  call = lambda i: np.asarray(compiled(params, jax.random.key(i), observations, np.float32(1)))
  return Workload(call, 'act', 1, rates={'actions': num_environments})


def replay(config: Any, spec: types.EnvironmentSpec) -> Workload:
  """Sampling the agent's windows."""
  half, ring = config.batch_size // 2, random_replay(spec, 0)

  @jax.jit
  def sample_many(rng_key):
    keys = jax.random.split(rng_key, _SAMPLES)
    draw = lambda key: episodes.sample(ring, key, half, config.unroll_steps, spec.stack)
    return jax.lax.map(draw, keys)

  call = lambda i: jax.block_until_ready(sample_many(jax.random.key(i)))
  window = jax.eval_shape(sample_many, jax.random.key(0))
  # Every byte that comes out is read once and written once.
  moved = 2.0 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(window))
  return Workload(call, 'sample', _SAMPLES, moved, 'byte', {'windows': _SAMPLES * half})


def environment(task: str) -> Workload:
  """Random actions in the simulator, on one core."""
  repeat = environments.resolve_action_repeat(task, 0)
  simulator = environments.make_environment(task, repeat)
  simulator.reset()
  rng = np.random.default_rng(0)
  actions = rng.uniform(-1, 1, (_EPISODE,) + simulator.action_spec().shape)

  def call(i):
    del i
    for action in actions:
      if simulator.step(action).last():
        simulator.reset()

  return Workload(
    call, 'agent_step', _EPISODE, rates={'agent_steps': _EPISODE, 'env_steps': _EPISODE * repeat}
  )


def render(task: str) -> Workload:
  """The frames that agents observe, of a simulation that moves; see `render_by_default`."""
  simulator = environments.make_environment(task, 1, frame_size=_FRAME_SIZE)
  simulator.reset()
  return _rendering(simulator.observe)


def render_by_default(task: str) -> Workload:
  """Frames of the same size as dm_control draws them."""
  from dm_control import suite  # Not before the first renderer has prepared OpenGL.

  simulator = suite.load(*task.split('/'))
  simulator.reset()
  return _rendering(lambda: simulator.physics.render(_FRAME_SIZE, _FRAME_SIZE, camera_id=0))


def _rendering(draw):
  def call(i):
    del i
    for _ in range(_FRAMES):
      draw()

  return Workload(call, 'frame', _FRAMES, rates={'frames': _FRAMES})


def _random_observations(rng, shape, count):
  if len(shape) == 1:
    return rng.normal(size=(count, *shape)).astype(np.float32)
  return rng.integers(0, 256, (count, *shape), np.uint8)


def random_replay(spec: types.EnvironmentSpec, seed: int) -> episodes.Replay:
  """A ring of a few episodes of noise."""
  rng = np.random.default_rng(seed)
  ring = episodes.init(spec, _EPISODES * (_EPISODE + 1))
  for _ in range(_EPISODES):
    trajectory = types.Trajectory(
      _random_observations(rng, spec.stored.shape, _EPISODE + 1),
      rng.uniform(-1, 1, (_EPISODE, spec.action_size)).astype(np.float32),
      np.ones(_EPISODE, np.float32),
      np.ones(_EPISODE, np.float32),
    )
    ring = episodes.add(ring, episodes.to_rows(trajectory), jnp.int32(_EPISODE + 1))
  return ring

"""What the benchmark times: each workload is one compiled call on walker walk's sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import agents
from eimitate import environments
from eimitate import parallel
from eimitate import types
from eimitate.agents.efficient_imitate import learner
from eimitate.replay import episodes
from eimitate.search import make_search
from experiments import floors

# Walker walk's sizes.
SPEC = types.EnvironmentSpec(24, 6, (0.0,) * 24, (1.0,) * 24)
_EPISODE, _EPISODES, _UPDATES = 250, 8, 4
_SAMPLES = 64


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


def update(config: Any, devices: Sequence[jax.Device]) -> Workload:
  """The learner: sampling, searches, losses, optimiser, as training compiles them."""
  agent = agents.efficient_imitate.make_agent(config, SPEC)

  def update_many(state, rng_key, replay, demonstrations):
    def one(state, key):
      return agent.update(state, key, replay, demonstrations, parallel.AXIS_NAME)

    return jax.lax.scan(one, state, jax.random.split(rng_key, _UPDATES))

  compiled = parallel.map_update(update_many, devices)
  state = parallel.replicate(agent.init(jax.random.key(0)), devices)
  replay = parallel.stack(_random_replay(0), devices)
  demonstrations = parallel.replicate(_random_replay(1), devices)

  def call(i):
    nonlocal state
    state, _ = compiled(state, jax.random.key(i), replay, demonstrations)
    jax.block_until_ready(state)

  roots = config.batch_size // 2 * (config.unroll_steps + 2)
  rates = {'updates': _UPDATES}
  rates['root_simulations'] = _UPDATES * roots * config.search.num_simulations
  flops = _UPDATES * floors.update_flops(config, SPEC)
  return Workload(call, 'update', _UPDATES, flops, 'flop', rates)


def search(config: Any, devices: Sequence[jax.Device]) -> Workload:
  """The searches of one update alone."""
  networks = agents.efficient_imitate.make_networks(config.networks, SPEC)
  run = make_search(config.search, learner.make_model(config, networks))
  roots = config.batch_size // 2 * (config.unroll_steps + 2)
  params = parallel.replicate(networks.init(jax.random.key(0)), devices)
  shape = (len(devices), roots // len(devices), SPEC.observation_size)
  observations = jax.random.normal(jax.random.key(1), shape)

  def one(params, keys, observations):
    latent = networks.represent(params, observations)
    return run(params, keys, latent, noise=config.reanalyse_noise)

  compiled = jax.pmap(one, in_axes=(None, 0, 0), devices=devices)

  def call(i):
    keys = jax.random.split(jax.random.key(i), len(devices))
    jax.block_until_ready(compiled(params, keys, observations))

  rates = {'root_searches': roots, 'root_simulations': roots * config.search.num_simulations}
  flops = floors.search_flops(config, SPEC)
  return Workload(call, 'search', 1, flops, 'flop', rates)


def act(config: Any, num_environments: int) -> Workload:
  """What an actor waits for: one action for each of `num_environments`, from NumPy to NumPy."""
  agent = agents.efficient_imitate.make_agent(config, SPEC)
  compiled = jax.jit(agent.act)
  params = agent.params(agent.init(jax.random.key(0)))
  shape = (num_environments, SPEC.observation_size)
  observations = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  call = lambda i: np.asarray(compiled(params, jax.random.key(i), observations, np.float32(1)))
  return Workload(call, 'act', 1, rates={'actions': num_environments})


def replay(config: Any, devices: Sequence[jax.Device]) -> Workload:
  """Sampling the agent's windows."""
  del devices
  half, ring = config.batch_size // 2, _random_replay(0)

  @jax.jit
  def sample_many(rng_key):
    keys = jax.random.split(rng_key, _SAMPLES)
    draw = lambda key: episodes.sample(ring, key, half, config.unroll_steps)
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


def _random_replay(seed):
  rng = np.random.default_rng(seed)
  ring = episodes.init(SPEC, _EPISODES * (_EPISODE + 1))
  for _ in range(_EPISODES):
    trajectory = types.Trajectory(
      rng.normal(size=(_EPISODE + 1, SPEC.observation_size)).astype(np.float32),
      rng.uniform(-1, 1, (_EPISODE, SPEC.action_size)).astype(np.float32),
      np.ones(_EPISODE, np.float32),
      np.ones(_EPISODE, np.float32),
    )
    ring = episodes.add(ring, episodes.to_rows(trajectory), jnp.int32(_EPISODE + 1))
  return ring

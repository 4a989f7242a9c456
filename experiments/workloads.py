"""What the benchmark times: each workload is one compiled call on the sizes of a task."""

from collections.abc import Callable, Mapping
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import agents
from eimitate import environments
from eimitate import evaluation
from eimitate import parallel
from eimitate import training
from eimitate import types
from eimitate.agents.d4pg import experience
from eimitate.agents.efficient_imitate import learner
from eimitate.agents.efficient_imitate import losses
from eimitate.replay import episodes
from eimitate.search import make_search
from experiments import floors

# What each preset measures.
PRESETS = {
  'state': 'efficient_imitate',
  'image': 'efficient_imitate',
  'd4pg': 'd4pg',
  'metamimic': 'metamimic',
}
_EPISODE, _EPISODES = 250, 8
_ROWS = _EPISODES * (_EPISODE + 1)
_SAMPLES = 64
_FRAME_SIZE, _FRAMES = 48, 50


@functools.cache
def spec_of(preset: str, task: str, stack: int) -> types.EnvironmentSpec:
  """What a preset's agent sees of a task: its state, `stack` of its frames, or goals, too."""
  repeat = environments.resolve_action_repeat(task, 0)
  plain = environments.environment_spec(environments.make_environment(task, repeat))
  size, actions = plain.observation_size, plain.action_size
  if preset == 'image':
    frame = (_FRAME_SIZE, _FRAME_SIZE, 3)
    mean = (0.5,) * math.prod(frame)
    return types.EnvironmentSpec(0, actions, mean, (1.0,), frame=frame, stack=stack)
  if preset == 'metamimic':
    both, scale = types.EnvironmentSpec(2 * size, actions), (1.0,) * size
    both = both._replace(observation_mean=(0.0,) * 2 * size, observation_scale=2 * scale)
    return both._replace(goal=size, goal_scale=scale, rewards=2)
  return types.EnvironmentSpec(size, actions, (0.0,) * size, (1.0,) * size)


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


class Subject(NamedTuple):
  """An agent to measure: its name, settings of its module's `Config`, and what it sees."""

  agent: str
  config: Any
  spec: types.EnvironmentSpec

  def make_agent(self) -> types.Agent:
    """The agent's pure functions."""
    return evaluation.AGENTS[self.agent].make_agent(self.config, self.spec)

  @property
  def plans(self) -> bool:
    """Whether it searches."""
    return self.agent == 'efficient_imitate'

  @property
  def roots(self) -> int:
    """What an update searches from: every observation of the agent's half."""
    return self.config.batch_size // 2 * (self.config.unroll_steps + 2)


def update(subject: Subject, placement: parallel.Placement, updates: int) -> Workload:
  """The learner as training compiles it: sampling, searches if any, losses, optimiser."""
  agent = subject.make_agent()
  compiled = placement.map_update(training.many_updates(agent, updates))
  state = placement.replicate(agent.init(jax.random.key(0)))
  replay = placement.stack(filled_replay(agent, subject.spec))
  demonstrations = placement.replicate(random_replay(subject.spec, 1))

  def call(i):
    nonlocal state, replay
    state, replay, _ = compiled(state, jax.random.key(i), replay, demonstrations)
    jax.block_until_ready(state)

  rates = {'updates': updates}
  if subject.plans:
    rates['root_simulations'] = updates * subject.roots * subject.config.search.num_simulations
  flops = updates * floors.update_flops(subject.agent, subject.config, subject.spec)
  return Workload(call, 'update', updates, flops, 'flop', rates)


def parts(subject: Subject, placement: parallel.Placement) -> dict[str, Workload]:
  """What EfficientImitate's update is made of, each part compiled alone.

  representation: of all observations of both halves by the target network. search: from the
  agent's. losses: all terms and their gradient, the networks' own representation included.
  """
  config, spec = subject.config, subject.spec
  networks = agents.efficient_imitate.make_networks(config.networks, spec)
  run = make_search(config.search, learner.make_model(config, networks))
  devices = placement.devices
  mapped = functools.partial(jax.pmap, axis_name=parallel.AXIS_NAME, devices=devices)

  @functools.partial(mapped, in_axes=(0, None, None))
  def draw(key, agent, expert):
    half = config.batch_size // 2 // len(devices)
    sample = lambda ring: episodes.sample(ring, key, half, config.unroll_steps, spec.stack)
    return sample(agent), sample(expert)

  @mapped
  def represent(params, windows):
    return [networks.represent_window(params, window.observations) for window in windows]

  @mapped
  def search_from(params, key, latents):
    latents = latents.reshape(-1, latents.shape[-1])
    return run(params, key, latents, noise=config.reanalyse_noise)

  @mapped
  def gradient(params, key, windows):
    agent, expert = windows
    make = functools.partial(learner.make_targets, config, networks, run, params, params, key)
    shapes, _ = jax.eval_shape(make, agent, expert)
    targets = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    arguments = learner.loss_arguments(
      config, networks, params, jax.random.split(key, 3), agent, expert, targets
    )
    loss = functools.partial(losses.total_loss, **arguments, axis_name=parallel.AXIS_NAME)
    return jax.grad(lambda params: loss(params, bc_on=jnp.float32(1))[0])(params)

  keys = jax.random.split(jax.random.key(0), len(devices))
  windows = draw(keys, random_replay(spec, 0), random_replay(spec, 1))
  params = placement.stack(networks.init(jax.random.key(0)))
  latents = represent(params, windows)[0]
  timed = lambda function, *inputs: Workload(
    lambda i: jax.block_until_ready(function(params, *inputs)), 'update', 1
  )
  return {
    'representation': timed(represent, windows),
    'search': timed(search_from, keys, latents),
    'losses': timed(gradient, keys, windows),
  }


def search(subject: Subject, placement: parallel.Placement) -> Workload:
  """The searches of one update alone, representation included."""
  config, spec = subject.config, subject.spec
  networks = agents.efficient_imitate.make_networks(config.networks, spec)
  run = make_search(config.search, learner.make_model(config, networks))
  devices = placement.devices
  params = placement.replicate(networks.init(jax.random.key(0)))
  shape = (len(devices), subject.roots // len(devices), *spec.observed)
  observations = jax.random.normal(jax.random.key(1), shape)

  def one(params, keys, observations):
    latent = networks.represent(params, observations)
    return run(params, keys, latent, noise=config.reanalyse_noise)

  compiled = jax.pmap(one, in_axes=(None, 0, 0), devices=devices)

  def call(i):
    keys = jax.random.split(jax.random.key(i), len(devices))
    jax.block_until_ready(compiled(params, keys, observations))

  simulations = subject.roots * config.search.num_simulations
  rates = {'root_searches': subject.roots, 'root_simulations': simulations}
  return Workload(call, 'search', 1, floors.search_flops(config, spec), 'flop', rates)


def act(subject: Subject, num_environments: int) -> Workload:
  """What an actor waits for: one action for each of `num_environments`, from NumPy to NumPy."""
  agent = subject.make_agent()
  compiled = jax.jit(agent.act)
  params = agent.params(agent.init(jax.random.key(0)))
  rng = np.random.default_rng(0)
  observations = _random_observations(rng, subject.spec.observed, num_environments)
  call = lambda i: np.asarray(compiled(params, jax.random.key(i), observations, np.float32(1)))
  return Workload(call, 'act', 1, rates={'actions': num_environments})


def replay(subject: Subject) -> Workload:
  """Sampling what one update learns from, the demonstrations' share aside."""
  replays = _replays(subject)

  @jax.jit
  def sample_many(rng_key):
    keys = jax.random.split(rng_key, _SAMPLES)
    return jax.lax.map(lambda key: [draw(key) for _, draw in replays], keys)

  call = lambda i: jax.block_until_ready(sample_many(jax.random.key(i)))
  drawn = jax.eval_shape(sample_many, jax.random.key(0))
  # Every byte that comes out is read once and written once.
  moved = 2.0 * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(drawn))
  rates = {'windows': _SAMPLES * sum(count for count, _ in replays)}
  return Workload(call, 'sample', _SAMPLES, moved, 'byte', rates)


def _replays(subject):
  """Rows that an update draws from each replay, and `(rng_key) -> rows`."""
  config, spec = subject.config, subject.spec
  if subject.plans:
    half, ring = config.batch_size // 2, random_replay(spec, 0)
    return [(half, lambda key: episodes.sample(ring, key, half, config.unroll_steps, spec.stack))]
  if subject.agent == 'd4pg':
    return [_transitions(config, spec)]
  # Each learner's replay holds one reward.
  return [_transitions(one, spec._replace(rewards=1)) for one in (config.imitation, config.task)]


def _transitions(config, spec):
  made = experience.make_experience(config, spec)
  stored = _filled(made.init(_ROWS), made.add, spec, 0)
  return config.batch_size, lambda key: made.sample(stored, key, config.batch_size)


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
  """The frames that agents observe; see `render_by_default`."""
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
  return _filled(episodes.init(spec, _ROWS), episodes.add, spec, seed)


def filled_replay(agent: types.Agent, spec: types.EnvironmentSpec) -> Any:
  """The agent's own replay with a few episodes of noise."""
  return _filled(agent.init_replay(_ROWS), agent.add, spec, 0)


def _filled(replay, add, spec, seed):
  rng = np.random.default_rng(seed)
  rewards = (_EPISODE, spec.rewards) if spec.rewards > 1 else (_EPISODE,)
  for _ in range(_EPISODES):
    trajectory = types.Trajectory(
      _random_observations(rng, spec.stored.shape, _EPISODE + 1),
      rng.uniform(-1, 1, (_EPISODE, spec.action_size)).astype(np.float32),
      np.ones(rewards, np.float32),
      np.ones(rewards, np.float32),
    )
    replay = add(replay, episodes.to_rows(trajectory), jnp.int32(_EPISODE + 1))
  return replay

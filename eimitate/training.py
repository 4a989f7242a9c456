"""The loop, one for all agents: collect -> push -> update -> log -> evaluate -> checkpoint."""

from collections.abc import Mapping
import os
import pathlib
import time
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import acting
from eimitate import checkpoints as checkpoints_lib
from eimitate import configuration
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import evaluation
from eimitate import logs
from eimitate import parallel
from eimitate import runs
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.replay import episodes


class _Inputs(NamedTuple):
  """What a run is given.

  environments: one per actor. spec: what the agent must know of them.
  dataset: the demonstrations, if any. expert_return: what returns are compared with, 0 if unknown.
  longest: agent steps of the longest episode.
  """

  environments: list
  spec: types.EnvironmentSpec
  dataset: dataset_lib.Dataset | None
  expert_return: float
  longest: int


class _State(NamedTuple):
  """What changes while training.

  learner: the agent's state, replicated. replay: `[D, ...]`, one shard per device.
  rng_key: split once per use. counters: `logs.COUNTERS`, `episodes` and `reached`, the number of
    evaluations in a row that reached the target return; on the host.
  """

  learner: Any
  replay: episodes.Replay
  rng_key: chex.PRNGKey
  counters: Mapping[str, int]


def train(run: runs.Run, workdir: str | os.PathLike) -> dict[str, float]:
  """Trains, or continues where the work directory's latest checkpoint stands.

  Args:
    run: what to train.
    workdir: created if need be; holds config.json, metrics.jsonl, timing.jsonl, tensorboard/ and
      checkpoints/.

  Returns:
    The last evaluation's metrics.

  Raises:
    InputError: on bad input, before anything is written.
    FloatingPointError: if the loss is no longer finite; the last checkpoint is kept.
  """
  config = run.config
  runs.validate(config)
  inputs = _load_inputs(run)
  module = evaluation.AGENTS[run.agent]
  agent = module.make_agent(run.agent_config, inputs.spec)
  devices = parallel.choose_devices(config.parallel.devices, run.agent_config.shared_rows)
  errors.check(
    config.replay.episodes >= len(devices),
    'config.replay.episodes',
    config.replay.episodes,
    f'at least one for each of {len(devices)} devices',
  )
  workdir = pathlib.Path(workdir)
  description = _describe(run, inputs)
  runs.claim(workdir, description)

  checkpoints = checkpoints_lib.Checkpoints(workdir, config.checkpoints.keep)
  state = _init(run, agent, inputs, devices)
  metrics_bytes, result = 0, {}
  if checkpoints.latest() is not None:
    state, metrics_bytes, result = _restore(checkpoints, state)
  loop = _Loop(run, agent, inputs, devices)
  logger = logs.Logger(workdir, config.agent_steps, metrics_bytes)
  try:
    _train(run, agent, loop, state, inputs, logger, checkpoints, description, result)
    return result
  finally:
    logger.close()
    checkpoints.close()


def _train(run, agent, loop, state, inputs, logger, checkpoints, description, result):
  config = run.config
  act_greedily = jax.jit(agent.act_greedily)
  evaluators = evaluation.make_environments(
    run.task, inputs.environments[0].action_repeat, config.environment, config.evaluation.episodes
  )

  def evaluate(state):
    started = time.perf_counter()
    params = parallel.first_copy(agent.params(state.learner))
    returns = evaluation.rollout(act_greedily, params, evaluators)
    result.update(evaluation.summarise(returns, inputs.expert_return))
    logger.write(state.counters, {f'eval/{name}': value for name, value in result.items()})
    seconds = time.perf_counter() - started
    logger.write_timing(state.counters, {'time/evaluation_seconds': seconds})
    shown = {'return': 'mean_return', 'of_expert': 'fraction_of_expert'}
    shown = {name: f'{result[key]:.4g}' for name, key in shown.items() if key in result}
    logger.progress(state.counters, **shown)
    reached = 0 < config.target_return <= result['mean_return']
    reached = state.counters['reached'] + 1 if reached else 0
    return state._replace(counters=dict(state.counters, reached=reached))

  def save(state):
    checkpoints.save(
      state.counters['agent_steps'],
      {
        'params': agent.params(state.learner),
        'learner': state.learner,
        'replay': state.replay,
      },
      {
        'meta': {
          'counters': dict(state.counters),
          'rng_key': jax.random.key_data(state.rng_key).tolist(),
          'metrics_bytes': logger.metrics_bytes,
          'result': result,
        },
        'config': description,
      },
    )

  # One evaluation alone may be lucky.
  ended = lambda counters: counters['agent_steps'] >= config.agent_steps or counters['reached'] >= 2
  if state.counters['agent_steps'] == 0:
    state = evaluate(state)
  while not ended(state.counters):
    before = state.counters['agent_steps']
    state = loop.round(state, inputs.environments, logger)
    after = state.counters['agent_steps']
    passed = lambda interval: before // interval < after // interval or after >= config.agent_steps
    if passed(config.evaluation.interval):
      state = evaluate(state)
    if passed(config.checkpoints.interval) or ended(state.counters):
      save(state)


class _Loop:
  """The compiled functions of a run and one round of it."""

  def __init__(self, run, agent, inputs, devices):
    self._run, self._devices, self._rows = run, devices, inputs.longest + 1
    chex.clear_trace_counter()  # It counts per process, and a process may train several runs.
    axis_name = parallel.AXIS_NAME

    def update_many(learner, rng_key, replay, demonstrations):
      def one(learner, key):
        return agent.update(learner, key, replay, demonstrations, axis_name)

      keys = jax.random.split(rng_key, run.config.updates_per_call)
      learner, metrics = jax.lax.scan(one, learner, keys)
      return learner, jax.tree.map(lambda x: x.mean(0), metrics)

    once = chex.assert_max_traces(n=1)
    self._update = parallel.map_update(once(update_many), devices)
    self._add = parallel.map_shards(once(episodes.add), devices)
    self._act = jax.jit(once(agent.act))
    self._agent = agent
    demonstrations = inputs.dataset and demonstrations_replay(inputs.dataset, inputs.spec)
    self._demonstrations = parallel.replicate(demonstrations, devices)

  def round(self, state: _State, environments, logger) -> _State:
    """One episode per actor, pushed, and the updates that are due for it."""
    started = time.perf_counter()
    state = self._collect(state, environments, logger)
    collected = time.perf_counter()
    state, calls = self._learn(state, logger)
    seconds = time.perf_counter() - collected
    timing = {'time/collect_seconds': collected - started, 'time/update_seconds': seconds}
    if calls:
      rate = calls * self._run.config.updates_per_call / seconds
      timing['time/updates_per_second'] = rate
      logger.progress(state.counters, **{'updates/s': f'{rate:.1f}'})
    logger.write_timing(state.counters, timing)
    return state

  def _collect(self, state, environments, logger):
    config, counters = self._run.config, state.counters
    rng_key, act_key = jax.random.split(state.rng_key)
    params = parallel.first_copy(self._agent.params(state.learner))
    temperature = np.float32(
      runs.current_temperature(config.actors, counters['agent_steps'] / config.agent_steps)
    )
    calls = iter(range(1 << 30))

    def act(observations):
      key = jax.random.fold_in(act_key, next(calls))
      return np.asarray(self._act(params, key, observations, temperature))

    first = counters['episodes']
    seeds = [_episode_seed(self._run.seed, first + i) for i in range(len(environments))]
    trajectories = acting.collect_episodes(act, environments, seeds)
    agent_steps = sum(len(trajectory.actions) for trajectory in trajectories)
    counters = dict(
      counters,
      agent_steps=counters['agent_steps'] + agent_steps,
      env_steps=counters['env_steps'] + agent_steps * environments[0].action_repeat,
      episodes=first + len(trajectories),
    )
    returns = [float(trajectory.rewards.sum()) for trajectory in trajectories]
    logger.write(counters, {'collect/mean_return': np.mean(returns)})
    return state._replace(
      rng_key=rng_key, counters=counters, replay=self._push(state.replay, trajectories, first)
    )

  def _push(self, replay, trajectories, first):
    """Adds episodes, dealt to the shards in turn by their number."""
    devices = len(self._devices)
    for trajectory, number in zip(trajectories, range(first, first + len(trajectories))):
      rows = episodes.to_rows(trajectory)
      length = len(rows.reward)
      errors.check(
        length <= self._rows,
        'episode',
        f'{length - 1} agent steps',
        f'at most {self._rows - 1} (config.replay.longest, else the longest demonstration)',
      )
      padded = episodes.pad_rows(rows, self._rows)
      # Every shard sees the episode; only one takes it.
      counts = np.where(np.arange(devices) == number % devices, length, 0).astype(np.int32)
      stacked = jax.tree.map(lambda x: np.broadcast_to(x, (devices,) + x.shape), padded)
      replay = self._add(replay, stacked, counts)
    return replay

  def _learn(self, state, logger):
    config, counters = self._run.config, dict(state.counters)
    if counters['episodes'] < len(self._devices):  # Some shard is still empty.
      return state, 0
    due = int(counters['agent_steps'] * config.updates_per_agent_step) - counters['updates']
    learner, rng_key, gathered = state.learner, state.rng_key, []
    calls = due // config.updates_per_call
    for _ in range(calls):
      rng_key, update_key = jax.random.split(rng_key)
      learner, metrics = self._update(learner, update_key, state.replay, self._demonstrations)
      gathered.append(metrics)
      counters['updates'] += config.updates_per_call
    if calls:
      metrics = jax.tree.map(lambda *x: float(np.mean(jax.device_get(x))), *gathered)
      bad = sorted(name for name, value in metrics.items() if not np.isfinite(value))
      if bad:
        raise FloatingPointError(f'{bad} not finite after {counters["updates"]} updates')
      logger.write(counters, metrics)
    return state._replace(learner=learner, rng_key=rng_key, counters=counters), calls


def demonstrations_replay(dataset: dataset_lib.Dataset, spec: types.EnvironmentSpec):
  """All of a dataset's episodes in a replay that just holds them."""
  rows = [episodes.to_rows(episode.trajectory) for episode in dataset.episodes]
  replay = episodes.init(spec, sum(len(x.reward) for x in rows))
  for episode_rows in rows:
    replay = episodes.add(replay, episode_rows, jnp.int32(len(episode_rows.reward)))
  return replay


def _episode_seed(seed: int, episode: int) -> int:
  """A seed in [0, 2^32) for one episode of one run."""
  return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])


def _load_inputs(run) -> _Inputs:
  """The demonstrations, if any, and one environment per actor, checked against each other."""
  config = run.config
  repeat = environments_lib.resolve_action_repeat(
    run.task, config.action_repeat, config.environment
  )
  make = lambda: environments_lib.make_environment(run.task, repeat, config.environment)
  environments = [make() for _ in range(config.actors.num)]
  spec = environments_lib.environment_spec(environments[0])
  if not config.num_demonstrations and not evaluation.AGENTS[run.agent].NEEDS_DEMONSTRATIONS:
    longest = config.replay.longest or environments[0].longest_episode
    expected = 'agent steps of the longest episode, which the environment does not tell'
    errors.check(longest > 0, 'config.replay.longest', longest, expected)
    expert_return = environments_lib.expert_return(run.task)
    return _Inputs(environments, spec, None, expert_return, longest)
  dataset = dataset_lib.load(config.demonstrations or dataset_lib.shipped_path(run.task))
  dataset_lib.check_matches(dataset, run.task, repeat, spec)
  dataset = dataset.take(config.num_demonstrations)
  spec = dataset_lib.with_statistics(dataset, spec)
  recorded = max(len(episode.trajectory.actions) for episode in dataset.episodes)
  longest = config.replay.longest or recorded
  return _Inputs(environments, spec, dataset, dataset.mean_return, longest)


def _describe(run, inputs) -> dict[str, Any]:
  """Everything that rebuilds the agent, and what its results are compared with, as JSON."""
  return {
    'agent': run.agent,
    'task': run.task,
    'seed': run.seed,
    'action_repeat': inputs.environments[0].action_repeat,
    'agent_config': configuration.to_dict(run.agent_config),
    'config': configuration.to_dict(run.config),
    'demonstrations': inputs.dataset.checksum if inputs.dataset else '',
    'expert_return': inputs.expert_return,
    'environment_spec': {
      k: list(v) if isinstance(v, tuple) else v for k, v in inputs.spec._asdict().items()
    },
  }


def _init(run, agent, inputs, devices) -> _State:
  rng_key, init_key = jax.random.split(jax.random.key(run.seed))
  # Each shard gets its share of the episodes.
  capacity = run.config.replay.episodes * (inputs.longest + 1)
  replay = episodes.init(inputs.spec, -(-capacity // len(devices)))
  counters = dict.fromkeys((*logs.COUNTERS, 'episodes', 'reached'), 0)
  learner = parallel.replicate(agent.init(init_key), devices)
  return _State(learner, parallel.stack(replay, devices), rng_key, counters)


def _restore(checkpoints, state) -> tuple[_State, int, dict[str, float]]:
  like = {'learner': state.learner, 'replay': state.replay}
  restored = checkpoints.restore(checkpoints.latest(), like)
  meta = restored['meta']
  rng_key = jax.random.wrap_key_data(jnp.asarray(meta['rng_key'], jnp.uint32))
  restored_state = _State(restored['learner'], restored['replay'], rng_key, meta['counters'])
  return restored_state, meta['metrics_bytes'], meta['result']

import pytest

from experiments.configs import efficient_imitate


@pytest.mark.parametrize(
  'variant, suite, playground',
  [('released', 'finger/spin', 'FingerSpin'), ('paper', 'humanoid/walk', 'HumanoidWalk')],
)
def test_a_task_on_device_has_the_settings_of_its_counterpart(variant, suite, playground):
  config = efficient_imitate.make_config(variant, suite)
  assert config == efficient_imitate.make_config(variant, f'playground/{playground}')
  assert config != efficient_imitate.make_config(variant, 'cartpole/swingup')

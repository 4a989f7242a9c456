from tests import faults


def test_three_kills(capsys):
  assert faults.main(['--kills=3', '--seed=5']) == 0
  assert '3 kills, 3 resumed, 3 bit-identical' in capsys.readouterr().out

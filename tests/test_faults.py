from tests import faults


def test_two_kills(capsys):
  assert faults.main(['--kills=2', '--seed=5']) == 0
  assert '2 kills, 2 resumed, 2 bit-identical' in capsys.readouterr().out

"""What `roam train` is told reaches the order for it."""

from pathlib import Path


def test_every_option_of_training_reaches_its_own_field(roam, monkeypatch):
    orders = []
    monkeypatch.setattr("roam.viewer.commands.train.train", orders.append)
    code, _, said = roam(
        *("train", "--out", "mine", "--begin", "embedded", "--data", "recorded", "--workers", 2, "--device", "cpu")
    )
    assert code == 0, said
    order = orders[0]
    assert (order.out, order.begin, order.data) == (Path("mine"), "embedded", Path("recorded"))
    assert (order.workers, order.device) == (2, "cpu")

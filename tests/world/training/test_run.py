"""A run's folder: the curve that is drawn from its log."""

import cv2
from roam.world.training.run import Run

draw = Run.draw  # the recipes' tests leave the curves empty


def test_a_curve_has_a_panel_for_every_column_and_passes_over_what_was_not_measured(tmp_path):
    run = Run(tmp_path)
    for step in range(3):
        run.record(step, loss=1.0 / (step + 1), judged=float("nan") if step else 2.0)
    draw(run, "loss", "judged")
    height, width = cv2.imread(str(tmp_path / "curve.png")).shape[:2]
    assert (height, width) == (330, 880)

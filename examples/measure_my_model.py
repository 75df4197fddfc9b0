"""Put one question of the consistency benchmark to a model of your own: `python examples/measure_my_model.py`.

This one shows the last frame for ever, which is what a model must beat. A whole run with its report:
`roam bench consistency run --model my_module:Frozen --model baselines --form quick --out runs/mine`.
"""

from roam.bench.consistency.metrics.fidelity import psnr, ssim
from roam.bench.consistency.models.adapters import Answer, Context, WorldModel
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import parse_action


class Frozen(WorldModel):
    def reset(self, context: Context) -> None:  # what it is shown: frames, the actions between them, poses, a camera
        self.last = context.frames[-1]

    def step(self, command) -> Answer:  # what it is told: words, a motion, the pose that this leads to
        return Answer(self.last)


truth = SceneSession(make_scene("test", 2))
shown, model = truth.frame, Frozen()
model.reset(Context(shown.pixels[None], (), (shown.pose,), truth.camera, seed=0))
for sentence in ("turn left", "turn right"):
    action = parse_action(sentence)
    answer, true = model.step(action), truth.step(action)
    print(f"{sentence}: PSNR {psnr(answer.pixels, true.pixels):.1f} dB, SSIM {ssim(answer.pixels, true.pixels):.2f}")

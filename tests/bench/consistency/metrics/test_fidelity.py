"""The picture metrics equal those of the libraries that define them, and obey the laws that every such metric obeys."""

from __future__ import annotations

import numpy as np
import pytest
from roam.bench.consistency.metrics.fidelity import PSNR_CAP, haarpsi, psnr, ssim

y, x = np.mgrid[:64, :64]
PICTURE = np.stack(
    [128 + 100 * np.sin(x / 5.0), 128 + 90 * np.cos(y / 7.0), 128 + 60 * np.sin((x + y) / 9.0)], -1
).astype(np.uint8)
OTHERS = {
    "shifted": np.roll(PICTURE, 2, 1),
    "flat": (PICTURE // 3 + 80).astype(np.uint8),
    "upside down": PICTURE[::-1].copy(),
}


# what scikit-image 0.26 computes, which takes seconds to import: PSNR in dB, and SSIM
KEPT = {
    "shifted": (23.51340728571232, 0.9099909591225949),
    "flat": (16.048571095984492, 0.678067605080642),
    "upside down": (10.283369660941721, 0.2714968671141768),
}


@pytest.mark.parametrize("name", OTHERS)
def test_psnr_and_ssim_equal_scikit_images(name):
    found = psnr(OTHERS[name], PICTURE), ssim(OTHERS[name], PICTURE)
    assert found == pytest.approx(KEPT[name], abs=1e-9)


@pytest.mark.slow(reason="scikit-image is imported, and SciPy's statistics with it")
@pytest.mark.parametrize("name", OTHERS)
def test_the_numbers_that_are_kept_are_scikit_images(name):
    metrics = pytest.importorskip("skimage.metrics")
    a, b = OTHERS[name] / 255, PICTURE / 255
    similarity = metrics.structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2
    )
    assert KEPT[name] == pytest.approx((metrics.peak_signal_noise_ratio(b, a, data_range=1), similarity), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "golden"), zip(OTHERS, (0.7746178226999738, 0.4565238114727225, 0.5764869778677266), strict=True)
)
def test_haarpsi_equals_what_piq_0_8_computes(name, golden):
    assert haarpsi(OTHERS[name], PICTURE) == pytest.approx(golden, abs=1e-9)


def test_equal_pictures_get_the_cap_and_one():
    assert psnr(PICTURE, PICTURE) == PSNR_CAP
    assert ssim(PICTURE, PICTURE) == pytest.approx(1)
    assert haarpsi(PICTURE, PICTURE) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("metric", [psnr, ssim, haarpsi])
def test_a_mask_that_leaves_nothing_gives_no_number(metric):
    assert metric(PICTURE, PICTURE, np.zeros((64, 64), bool)) is None


@pytest.mark.parametrize("metric", [psnr, ssim, haarpsi])
def test_damage_outside_the_mask_does_not_count(metric):
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    spoilt = PICTURE.copy()
    spoilt[:, 48:] = 0
    assert metric(spoilt, PICTURE, mask) > metric(spoilt, PICTURE) + 0.05


def test_a_mask_of_everything_changes_nothing():
    everything = np.ones((64, 64), bool)
    for metric in (psnr, ssim, haarpsi):
        assert metric(OTHERS["shifted"], PICTURE, everything) == pytest.approx(metric(OTHERS["shifted"], PICTURE))

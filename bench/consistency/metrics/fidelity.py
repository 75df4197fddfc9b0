"""How close a picture is to the true one, pixel by pixel: PSNR, SSIM and HaarPSI, each on a mask if one is given.

All take (H, W, 3) uint8 RGB and a (H, W) bool mask; all give None where the mask leaves too little to judge.
"""

from __future__ import annotations

import cv2
import numpy as np

PSNR_CAP = 60.0  # dB: what equal pictures get
LEAST_SHARE = 0.02  # share of the picture that a mask must leave


def psnr(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB: 10 log10(1 / MSE), RGB in [0, 1], at most PSNR_CAP.

    Source: the usual definition, as in skimage.metrics.peak_signal_noise_ratio(data_range=1), tested against it.
    A walk's PSNR is the mean of its frames' capped values, never the PSNR of a pooled error.
    """
    if _is_too_small(mask):
        return None
    error = ((picture.astype(np.float64) - truth) / 255) ** 2
    mse = float(error.mean() if mask is None else error[mask].mean())
    return PSNR_CAP if mse <= 10 ** (-PSNR_CAP / 10) else -10 * float(np.log10(mse))


def ssim(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """Structural similarity, 1 for equal pictures: Wang et al. 2004, mean over pixels and RGB channels.

    11x11 Gaussian, sigma 1.5, K = (0.01, 0.03), population covariance, RGB in [0, 1], 5 border pixels left out: equal
    to skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=1, channel_axis=2), tested against it.
    """
    if _is_too_small(mask):
        return None
    x, y = picture.astype(np.float64) / 255, truth.astype(np.float64) / 255
    mx, my = _gauss(x), _gauss(y)
    vx, vy, vxy = _gauss(x * x) - mx * mx, _gauss(y * y) - my * my, _gauss(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    inner = value[5:-5, 5:-5].mean(-1)
    if mask is None:
        return float(inner.mean())
    inside = mask[5:-5, 5:-5]
    return float(inner[inside].mean()) if inside.any() else None


def haarpsi(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """Haar wavelet perceptual similarity, 0 to 1: Reisenhofer et al. 2018 (arXiv 1607.06140), colour version.

    C = 30, alpha = 4.2, pictures halved by 2x2 means first; numpy and OpenCV only, tested against the authors'
    definition as piq 0.8 computes it.
    """
    if _is_too_small(mask):
        return None
    x, y = _yiq(picture), _yiq(truth)
    similarity, weight = [], []
    for axis in (0, 1):
        bands = [(_haar(x[0], scale, axis), _haar(y[0], scale, axis)) for scale in (1, 2, 3)]
        similarity.append(np.mean([_alike(a, b) for a, b in bands[:2]], axis=0))
        weight.append(np.maximum(*bands[2]))
    similarity.append(np.mean([_alike(_pairs(a), _pairs(b)) for a, b in zip(x[1:], y[1:], strict=True)], axis=0))
    weight.append((weight[0] + weight[1]) / 2)
    sims, weights = np.stack(similarity), np.stack(weight)
    if mask is not None:
        weights = weights * (
            cv2.resize(mask.astype(np.float32), weights.shape[:0:-1], interpolation=cv2.INTER_AREA) > 0.5
        )
    total = weights.sum()
    if total <= 0:
        return None
    pooled = float((weights / (1 + np.exp(-ALPHA * sims))).sum() / total)
    return (np.log(pooled / (1 - pooled)) / ALPHA) ** 2


def sharpness(picture: np.ndarray) -> float:
    """The variance of the grey Laplacian (3x3, OpenCV), in grey levels squared: what blur takes away."""
    return float(cv2.Laplacian(grey(picture), cv2.CV_64F).var())


def grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


ALPHA, C = 4.2, 30.0
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def _gauss(x: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(x, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)


def _yiq(picture: np.ndarray) -> np.ndarray:
    """(3, H/2, W/2) float64: luma and chroma of the picture halved by 2x2 means."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    small = picture[:height, :width].astype(np.float64).reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    return np.moveaxis(small @ _TO_YIQ.T, -1, 0)


def _haar(luma: np.ndarray, scale: int, axis: int) -> np.ndarray:
    """The absolute Haar coefficients of one scale along one axis, zero beyond the border."""
    size = 2**scale
    kernel = np.full((size, size), 2.0**-scale)
    kernel[: size // 2] = -kernel[: size // 2]
    kernel = kernel if axis == 0 else kernel.T
    anchor = (size // 2 - 1, size // 2 - 1)
    return np.abs(cv2.filter2D(luma, cv2.CV_64F, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT))


def _pairs(chroma: np.ndarray) -> np.ndarray:
    """The absolute mean of each pixel and its neighbours right and below, zero beyond the border."""
    return np.abs(
        cv2.filter2D(chroma, cv2.CV_64F, np.full((2, 2), 0.25), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    )


def _alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (2 * a * b + C) / (a * a + b * b + C)


def _is_too_small(mask: np.ndarray | None) -> bool:
    return mask is not None and mask.mean() < LEAST_SHARE

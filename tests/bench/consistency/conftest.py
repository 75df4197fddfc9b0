"""The tests share the machine, so each uses one thread."""

import cv2

cv2.setNumThreads(1)

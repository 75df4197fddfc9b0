"""A headset by OpenXR: its head's pose, and pictures for its two eyes. Knows no world.

Pictures are passed as OpenGL textures on EGL, without a window: what Monado and similar runtimes accept on Linux.
"""

from __future__ import annotations

import ctypes
import math
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from .body import HeadView, pose_of

EXTENSIONS = ["XR_KHR_opengl_enable", "XR_MNDX_egl_enable"]
SURFACELESS = 0x31DD  # EGL_PLATFORM_SURFACELESS_MESA
CORE_4_5 = (0x3098, 4, 0x30FB, 5)  # EGL_CONTEXT_MAJOR_VERSION and _MINOR_VERSION
SRGB8_ALPHA8 = 0x8C43
IDLE_S = 0.02  # between two checks whether somebody wears the headset


class HeadsetError(ValueError):
    """There is no headset, or it cannot be used; the message says what is missing."""


class Headset:
    """The headset of this machine's OpenXR runtime. width: pixels across of an eye's picture; the two are side by
    side. Raises HeadsetError if there is no runtime, no headset, or no OpenGL that the two can share."""

    def __init__(self, *, width: int = 256):
        self.width = width
        self._gl = _Egl()  # before pyopenxr is imported, which would choose another OpenGL
        import xr

        self._xr = xr
        self.is_over = self._is_running = False
        self._swapchain: Any = None
        self._textures: list[int] = []
        self._size = (0, 0)
        try:
            self._instance = xr.create_instance(
                xr.InstanceCreateInfo(
                    application_info=xr.ApplicationInfo("roam", 1, "roam", 1, xr.Version(1, 0, 0)),
                    enabled_extension_names=EXTENSIONS,
                )
            )
            self._system = xr.get_system(self._instance, xr.SystemGetInfo(xr.FormFactor.HEAD_MOUNTED_DISPLAY))
            self.name = xr.get_system_properties(self._instance, self._system).system_name.decode()
            self._session = self._opened()
            self._space = xr.create_reference_space(
                self._session, xr.ReferenceSpaceCreateInfo(reference_space_type=xr.ReferenceSpaceType.LOCAL)
            )
        except (xr.exception.XrException, OSError) as error:
            raise HeadsetError(
                f"no headset can be used ({error or type(error).__name__}); is a runtime there?"
            ) from error

    def views(self) -> Iterator[HeadView]:
        """What each picture is to show, at the headset's pace; answer each with `show`, or the old picture stays.
        Ends with the session."""
        xr = self._xr
        while not self.is_over:
            self._hear()
            if not self._is_running:
                time.sleep(IDLE_S)
                continue
            self._state = xr.wait_frame(self._session, xr.FrameWaitInfo())
            xr.begin_frame(self._session, xr.FrameBeginInfo())
            self._layers: list = []
            if self._state.should_render:
                yield self._looked()
            info = xr.FrameEndInfo(self._state.predicted_display_time, xr.EnvironmentBlendMode.OPAQUE, self._layers)
            xr.end_frame(self._session, info)

    def show(self, view: HeadView, pixels: np.ndarray) -> None:
        """Show what `view` wants: (H, 2 * width, 3) uint8, the left eye's picture first."""
        xr, (height, wide) = self._xr, pixels.shape[:2]
        if self._size != (height, wide):
            self._make_swapchain(height, wide)
        index = xr.acquire_swapchain_image(self._swapchain, xr.SwapchainImageAcquireInfo())
        xr.wait_swapchain_image(self._swapchain, xr.SwapchainImageWaitInfo(timeout=xr.INFINITE_DURATION))
        self._gl.fill(self._textures[index], pixels)
        xr.release_swapchain_image(self._swapchain, xr.SwapchainImageReleaseInfo())
        eyes = [self._eye(view, side, height, wide // 2) for side in (0, 1)]
        self._layer = xr.CompositionLayerProjection(space=self._space, views=eyes)
        self._layers = [ctypes.pointer(self._layer)]

    def close(self) -> None:
        """Release the headset."""
        xr = self._xr
        if self._swapchain is not None:
            xr.destroy_swapchain(self._swapchain)
        xr.destroy_session(self._session)
        xr.destroy_instance(self._instance)

    def _opened(self):
        xr, requirements = self._xr, self._xr.GraphicsRequirementsOpenGLKHR()
        ask = xr.get_instance_proc_addr(self._instance, "xrGetOpenGLGraphicsRequirementsKHR")
        asked = ctypes.cast(ask, xr.PFN_xrGetOpenGLGraphicsRequirementsKHR)  # runtimes require that this is asked first
        xr.check_result(xr.Result(asked(self._instance, self._system, ctypes.byref(requirements))))
        self._binding = xr.GraphicsBindingEGLMNDX()
        self._binding.get_proc_address = ctypes.cast(
            ctypes.CDLL("libEGL.so.1").eglGetProcAddress, xr.PFN_xrEglGetProcAddressMNDX
        )
        gl, binding = self._gl, self._binding
        binding.display, binding.config, binding.context = gl.display, gl.config, gl.context
        following = ctypes.cast(ctypes.pointer(binding), ctypes.c_void_p)
        return xr.create_session(self._instance, xr.SessionCreateInfo(system_id=self._system, next=following))

    def _hear(self) -> None:
        """Handle the runtime's events."""
        xr = self._xr
        while True:
            try:
                event = xr.poll_event(self._instance)
            except xr.exception.EventUnavailable:
                return
            if event.type != xr.StructureType.EVENT_DATA_SESSION_STATE_CHANGED.value:
                continue
            told = ctypes.cast(ctypes.byref(event), ctypes.POINTER(xr.EventDataSessionStateChanged)).contents
            state = xr.SessionState(told.state)
            if state == xr.SessionState.READY:
                xr.begin_session(self._session, xr.SessionBeginInfo(xr.ViewConfigurationType.PRIMARY_STEREO))
                self._is_running = True
            elif state == xr.SessionState.STOPPING:
                xr.end_session(self._session)
                self._is_running = False
            elif state in (xr.SessionState.EXITING, xr.SessionState.LOSS_PENDING):
                self.is_over = True

    def _looked(self) -> HeadView:
        """The head's pose, and the largest angle of its eyes: pictures are of one size and straight ahead."""
        xr = self._xr
        info = xr.ViewLocateInfo(
            xr.ViewConfigurationType.PRIMARY_STEREO, self._state.predicted_display_time, self._space
        )
        _, (left, right) = xr.locate_views(self._session, info)
        places = [
            np.array([view.pose.position.x, view.pose.position.y, view.pose.position.z]) for view in (left, right)
        ]
        turn = left.pose.orientation
        x, y, z = (float(value) for value in (places[0] + places[1]) / 2)
        fovs = (left.fov, right.fov)
        across = max(max(math.tan(-fov.angle_left), math.tan(fov.angle_right)) for fov in fovs)
        down = max(max(math.tan(fov.angle_up), math.tan(-fov.angle_down)) for fov in fovs)
        self._turn = turn
        self._middle = (x, y, z)
        ipd_m = float(np.linalg.norm(places[1] - places[0]))
        return HeadView(pose_of((x, y, z), (turn.w, turn.x, turn.y, turn.z)), ipd_m, across, down)

    def _eye(self, view: HeadView, side: int, height: int, width: int):
        """One eye's part of the picture: drawn from half of the eyes' distance beside the middle."""
        xr, right = self._xr, view.pose.rotation[:, 0] * (view.ipd_m / 2) * (1 if side else -1)
        x, y, z = (a + b for a, b in zip(self._middle, (right[0], right[2], -right[1]), strict=True))
        across, down = math.atan(view.across), math.atan(view.down)
        part = xr.Rect2Di(xr.Offset2Di(side * width, 0), xr.Extent2Di(width, height))
        return xr.CompositionLayerProjectionView(
            pose=xr.Posef(self._turn, xr.Vector3f(x, y, z)),
            fov=xr.Fovf(-across, across, down, -down),
            sub_image=xr.SwapchainSubImage(self._swapchain, part),
        )

    def _make_swapchain(self, height: int, wide: int) -> None:
        xr = self._xr
        if self._swapchain is not None:
            xr.destroy_swapchain(self._swapchain)
        flags = xr.SwapchainUsageFlags.COLOR_ATTACHMENT_BIT | xr.SwapchainUsageFlags.SAMPLED_BIT
        info = xr.SwapchainCreateInfo(usage_flags=flags, format=SRGB8_ALPHA8, sample_count=1, width=wide, height=height)
        info.face_count = info.array_size = info.mip_count = 1
        self._swapchain = xr.create_swapchain(self._session, info)
        images = xr.enumerate_swapchain_images(self._swapchain, xr.SwapchainImageOpenGLKHR)
        self._textures, self._size = [image.image for image in images], (height, wide)


class _Egl:
    """OpenGL without a window. Raises HeadsetError if there is none."""

    def __init__(self):
        os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        if missing := [name for name in ("xr", "OpenGL") if not _is_there(name)]:
            raise HeadsetError(f"a headset needs {' and '.join(missing)}: pip install 'roam-worlds[xr]'")
        try:
            from OpenGL import EGL as egl
            from OpenGL.EGL.EXT.platform_base import eglGetPlatformDisplayEXT
        except (ImportError, AttributeError) as error:
            raise HeadsetError(f"a headset needs OpenGL on EGL ({error}): pip install 'roam-worlds[xr]'") from error
        egl.eglGetDisplay(egl.EGL_DEFAULT_DISPLAY)  # before others can be asked for
        self.display = eglGetPlatformDisplayEXT(SURFACELESS, None, None)
        major, minor, count = ctypes.c_long(), ctypes.c_long(), ctypes.c_long()
        try:
            egl.eglInitialize(self.display, major, minor)
            egl.eglBindAPI(egl.EGL_OPENGL_API)
            wanted = (
                egl.EGL_SURFACE_TYPE,
                egl.EGL_PBUFFER_BIT,
                egl.EGL_RENDERABLE_TYPE,
                egl.EGL_OPENGL_BIT,
                egl.EGL_NONE,
            )
            found = (egl.EGLConfig * 1)()
            egl.eglChooseConfig(self.display, (ctypes.c_int * len(wanted))(*wanted), found, 1, count)
            self.config = found[0]
            version = (ctypes.c_int * 5)(*CORE_4_5, egl.EGL_NONE)
            self.context = egl.eglCreateContext(self.display, self.config, egl.EGL_NO_CONTEXT, version)
            egl.eglMakeCurrent(self.display, egl.EGL_NO_SURFACE, egl.EGL_NO_SURFACE, self.context)
        except Exception as error:  # PyOpenGL raises errors of many types
            raise HeadsetError(f"no OpenGL 4.5 without a window here ({type(error).__name__})") from error

    def fill(self, texture: int, pixels: np.ndarray) -> None:
        """Put a picture (H, W, 3) uint8 into a texture of its size; OpenGL has the lowest row first."""
        from OpenGL import GL

        rows = np.ascontiguousarray(pixels[::-1])
        GL.glBindTexture(GL.GL_TEXTURE_2D, texture)
        GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
        height, width = rows.shape[:2]
        GL.glTexSubImage2D(GL.GL_TEXTURE_2D, 0, 0, 0, width, height, GL.GL_RGB, GL.GL_UNSIGNED_BYTE, rows)
        GL.glFinish()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # the headset is not worn
        return False

"""The plan of a step of `dream_at`, which dreams from a pose while the walker stays where it is. Runs no model."""

from __future__ import annotations

import math

from ..action import ActionError, say
from ..pose import MAX_PITCH_DEG, Motion, Pose
from ..session import NUM_VIEWS, Plan, Session
from ..sight import unit


def plan_elsewhere(session: Session, pose: Pose) -> Plan:
    """What is known of the view from a pose, and the words that lead there. Raises ActionError if nothing can be
    dreamt there, LookError for an invalid pose."""
    here, engine = session.frame.pose, session.engine
    if not engine.dreams_anew or session.decoder != "dida":
        raise ActionError("this world draws every frame whole where its walker stands and dreams nothing elsewhere")
    if here is None or not len(session.memory):
        raise ActionError("this walk no longer knows where it stands; nothing can be dreamt elsewhere in it")
    there = upright(unit(pose))
    words = tuple(engine.text.encode(say(way_to(here, there))))[: engine.layout.text_capacity]
    return Plan(words, there, session.memory.carried(there, NUM_VIEWS))


def upright(pose: Pose) -> Pose:
    """The pose with the same direction, held like a walker's: without roll, pitched by MAX_PITCH_DEG at most. Models
    have seen the world from such poses only."""
    pitch = max(-MAX_PITCH_DEG, min(MAX_PITCH_DEG, pose.pitch_deg))
    return Pose.at(*pose.position, _heading_deg(pose), pitch)


def way_to(here: Pose, there: Pose) -> Motion:
    """The motion of a walker from one upright pose to another, ignoring the height."""
    yaw = math.radians(here.yaw_deg)
    x, y = (b - a for a, b in zip(here.position[:2], there.position[:2], strict=True))
    forward, right = x * math.cos(yaw) + y * math.sin(yaw), x * math.sin(yaw) - y * math.cos(yaw)
    turned = (there.yaw_deg - here.yaw_deg + 180) % 360 - 180
    return Motion(forward, right, turned, there.pitch_deg - here.pitch_deg)


def _heading_deg(pose: Pose) -> float:
    """The heading of a pose, whatever its roll; straight up or down it follows from the pose's right-hand axis."""
    x, y, _ = pose.rotation[:, 2]
    return math.degrees(math.atan2(y, x)) if math.hypot(x, y) > 0.1 else pose.yaw_deg

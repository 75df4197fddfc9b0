"""The things in Doom's levels, by the numbers of the map format: which are monsters, and which are obstacles.

Kinds and radii are those that level editors list; what hangs from a ceiling or can be picked up is no obstacle.
"""

from __future__ import annotations

PLAYER = 1
MONSTERS = (
    3004, 9, 65, 3001, 3002, 58, 3003, 69, 3005, 3006, 16, 7, 64, 66, 67, 68, 71, 72, 84, 88, 89, 87, 888,
)  # fmt: skip
# radius, in Doom's units, of the things that stand on the floor and stop a walker
SOLID = {
    2035: 10, 70: 10, 43: 16, 35: 16, 41: 16, 28: 16, 42: 16, 2028: 16, 46: 16, 55: 16, 56: 16, 57: 16, 44: 16, 45: 16,
    30: 16, 31: 16, 32: 16, 33: 16, 36: 16, 37: 16, 86: 16, 85: 16, 47: 16, 48: 16, 54: 32, 25: 16, 26: 16, 27: 16,
    29: 16,
}  # fmt: skip

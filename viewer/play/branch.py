"""One branch of a walk: its explorer, and what has happened in it since its world was opened. Knows no window."""

from __future__ import annotations

from ...world.action import Action
from ...world.frame import Dreaming, Explorer, Frame
from ...world.pose import Pose
from .action_log import Anew, Event, Rewind, Step


class Branch:
    """Follows an explorer: `events` for the log, the poses passed for the map. Forks have the same past."""

    def __init__(self, explorer: Explorer):
        self.explorer = explorer
        self.first = explorer.frame.digest
        self.events: list[Event] = []
        self._first_index = explorer.frame.index
        self._passed: list[tuple[str, Pose | None]] = [(self.first, explorer.frame.pose)]

    @property
    def trail(self) -> list[Pose]:
        """The poses passed since the world was opened, without those that were rewound."""
        return [pose for _, pose in self._passed if pose is not None]

    def step(self, action: Action) -> Frame:
        """Step the explorer and nothing else, so that it may run on another thread; call `stepped` afterwards."""
        return self.explorer.step(action)

    def stepped(self, action: Action, frame: Frame) -> list[Event]:
        """Note a step; returns its events: a server that came back may have forgotten frames first."""
        forgotten = len(self._passed) - (frame.index - self._first_index)
        events: list[Event] = [self._forget(forgotten)] if 0 < forgotten < len(self._passed) else []
        self._passed.append((frame.digest, frame.pose))
        return self._note([*events, Step(action, frame.digest)])

    def dream_anew(self) -> Frame:
        """Make the explorer dream its last dream again and nothing else, on any thread; call `dreamt_anew`
        afterwards. Raises ValueError if it has none."""
        if not isinstance(self.explorer, Dreaming):
            raise ValueError("this world is shown as it is: there is no dream to dream anew")
        return self.explorer.dream_anew()

    def dreamt_anew(self, frame: Frame) -> list[Event]:
        """Note a repeated dream. Its walls may have stopped steps at other places, so the poses passed are read
        again."""
        assert isinstance(self.explorer, Dreaming)  # it has just repeated a dream
        for moment in self.explorer.moments:
            place = moment.frame.index - self._first_index
            if 0 <= place < len(self._passed):
                self._passed[place] = (moment.frame.digest, moment.frame.pose)
        return self._note([Anew(frame.digest)])

    def rewind(self, frames: int) -> list[Event]:
        """Rewind; returns the event. Raises ValueError past the beginning."""
        frame = self.explorer.rewind(frames)
        self._forget(min(frames, len(self._passed) - 1))
        return self._note([Rewind(frames, frame.digest)])

    def fork(self) -> Branch:
        """A second branch at the same point, with the same past."""
        twin = Branch(self.explorer.fork())
        twin.first, twin._first_index = self.first, self._first_index
        twin.events, twin._passed = list(self.events), list(self._passed)
        return twin

    def close(self) -> None:
        self.explorer.close()

    def _forget(self, frames: int) -> Rewind:
        del self._passed[len(self._passed) - frames :]
        return Rewind(frames, self._passed[-1][0])

    def _note(self, events: list[Event]) -> list[Event]:
        self.events += events
        return events

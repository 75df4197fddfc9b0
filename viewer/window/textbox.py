"""The line in which a walker types: its text, the sentences typed before, and what was wrong with the last one."""

from __future__ import annotations

MAX_CHARACTERS = 200  # of a sentence


class TextBox:
    """Closed until `open`; keys and text go to it while it is open. `error` stays until the text is changed."""

    def __init__(self):
        self.is_open = False
        self.text = ""
        self.error = ""
        self._history: list[str] = []
        self._at = 0

    def open(self) -> None:
        self.is_open, self.text, self.error, self._at = True, "", "", len(self._history)

    def close(self) -> None:
        self.is_open = False

    def insert(self, text: str) -> None:
        self.text, self.error = (self.text + text)[:MAX_CHARACTERS], ""

    def press(self, key: str) -> str | None:
        """Handle a key by name; returns the sentence that Enter sends. Escape, and Enter without text, close the
        box."""
        if key in ("return", "enter", "keypad enter"):
            return self._send()
        if key in ("escape", "tab"):
            self.close()
        elif key == "backspace":
            self.text, self.error = self.text[:-1], ""
        elif key in ("up", "down"):
            self._recall(-1 if key == "up" else 1)
        return None

    def _send(self) -> str | None:
        sentence = self.text.strip()
        if not sentence:
            self.close()
            return None
        if sentence not in self._history[-1:]:
            self._history.append(sentence)
        return sentence

    def _recall(self, step: int) -> None:
        self._at = max(0, min(len(self._history), self._at + step))
        self.text = self._history[self._at] if self._at < len(self._history) else ""
        self.error = ""

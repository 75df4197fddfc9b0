"""Page bookkeeping in plain integers: which pages are free and how many hold each. Never touches a tensor."""

from __future__ import annotations


class CacheFull(RuntimeError):
    """Every page is in use; the message says how many there are and what to do."""


class PagePool:
    """Reference-counted page numbers from 0 to num_pages - 1. A page is written once and then only shared."""

    def __init__(self, num_pages: int):
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._holders = [0] * num_pages

    @property
    def num_free(self) -> int:
        return len(self._free)

    def grow(self, num_pages: int) -> None:
        """Grow to `num_pages` in all; never fewer than before."""
        self._free = list(range(num_pages - 1, self.num_pages - 1, -1)) + self._free
        self._holders += [0] * (num_pages - self.num_pages)
        self.num_pages = max(self.num_pages, num_pages)

    def allocate(self) -> int:
        """A page with one holder. Raises CacheFull when none is free."""
        if not self._free:
            raise CacheFull(f"all {self.num_pages} pages are in use; close sessions or make the cache larger")
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def share(self, page: int) -> int:
        """The same page with one more holder."""
        assert self._holders[page] > 0, f"page {page} is free"
        self._holders[page] += 1
        return page

    def release(self, page: int) -> None:
        assert self._holders[page] > 0, f"page {page} is free already"
        self._holders[page] -= 1
        if self._holders[page] == 0:
            self._free.append(page)

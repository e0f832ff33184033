"""One batch on its way: the pieces that are still to be sent, and which samples were refused.

A server that refuses a batch without naming samples is asked about halves, all large pieces before
any smaller one. What it refuses alone is set aside only if it accepted something else: a server
that refuses everything is wrong, not the data.
"""

from collections import deque
from typing import Any

HOPELESS = 32  # so many pieces refused, none accepted: more than 1 % are refused


class ServerSuspected(Exception):
    """Hold everything and raise the alarm: the server seems to be wrong, not the data."""


class Batch:
    """Entries of the spool in `pieces`, sent one after the other; `suspects` were refused alone."""

    def __init__(self, entries: list[Any], more: bool = False):
        self.size = len(entries)
        self.more = more  # is waiting behind this batch
        self.pieces = deque([entries])
        self.suspects: dict[int, str] = {}  # id -> reason
        self.accepted = 0
        self._refused_pieces = 0

    @property
    def untouched(self) -> bool:
        """Whether nothing was found out about any of its samples yet."""
        return len(self.pieces) == 1 and len(self.pieces[0]) == self.size

    def accept(self) -> list[Any]:
        """Take out the piece that was confirmed."""
        piece = self.pieces.popleft()
        self.accepted += len(piece)
        return piece

    def refuse(self, named: dict[int, str], cause: str) -> dict[int, str]:
        """Note that the piece was refused; returns what to set aside at once, id -> reason.

        Raises ServerSuspected when all of a batch was refused.
        """
        piece = self.pieces.popleft()
        if named and len(named) < len(piece):
            self.pieces.appendleft([e for i, e in enumerate(piece) if i not in named])
            return {piece[i].id: reason for i, reason in named.items()}
        if self.size > 1 and len(named) == self.size:
            raise ServerSuspected(f"every sample of a batch of {self.size} is refused: {cause}")
        if named or len(piece) == 1:
            self.suspects |= {e.id: named.get(i, cause) for i, e in enumerate(piece)}
        else:
            self.pieces.extend(_halves(piece))
        self._refused_pieces += 1
        if self._refused_pieces >= HOPELESS and not self.accepted:
            raise ServerSuspected(f"nothing of a batch of {self.size} is accepted: {cause}")
        return {}

    def verdict_on_suspects(self, accepted_lately: bool) -> dict[int, str]:
        """What to set aside when all pieces are through; raises ServerSuspected for a whole batch.

        A batch of a single sample proves nothing: there it counts whether the server accepted
        another one in the last minutes.
        """
        if self.suspects and not self.accepted and not (self.size == 1 and accepted_lately):
            reason = next(iter(self.suspects.values()))
            raise ServerSuspected(f"nothing of a batch of {self.size} is accepted: {reason}")
        return self.suspects


def _halves(piece: list[Any]) -> list[list[Any]]:
    middle = len(piece) // 2
    return [piece[:middle], piece[middle:]]

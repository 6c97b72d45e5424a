"""How long silence of a site is borne: twice as long after each time that it was silent, half as long when it answers.

A dead link must be noticed in seconds; a site that many ask at once takes longer to begin than that. Were both borne
for equally long, a busy site would be asked for everything again and again, and become busier still (measured with
sixteen sites on two cores: 132,000 attempts failed, 13,000 files arrived).
"""

from __future__ import annotations

from librarian_protocol.names import SiteName

#: Of the shortest; with 6 s this stays below the 60 s after which a batch that does not move is given up.
LONGEST = 8.0


class Patience:
    """For each site, how many times longer than at first."""

    def __init__(self) -> None:
        self._borne: dict[SiteName, float] = {}

    def factor(self, site: SiteName) -> float:
        """How many times longer now."""
        return self._borne.get(site, 1.0)

    def silent(self, site: SiteName, borne: float) -> None:
        """It was silent for as long as ``borne`` times. Requests under way at once count once."""
        self._borne[site] = max(self.factor(site), min(2 * borne, LONGEST))

    def answered(self, site: SiteName) -> None:
        """It is there; by halves, because a busy site answers some of what it is asked in time."""
        borne = self._borne.pop(site, 1.0) / 2
        if borne > 1:
            self._borne[site] = borne

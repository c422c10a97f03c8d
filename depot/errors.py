"""What goes wrong at a depot, split by what comes next.

DepotError
├── NotInDepot         there is no such object (its owner puts it again)
├── DepotUnreachable   it did not take or give it now (wait, try again)
└── DepotUnusable      it cannot be used as it is set (stop: mend the settings)
"""


class DepotError(Exception):
    """Root of what a depot raises; the text is one line."""


class NotInDepot(DepotError):
    """There is no object of that name, or it is not the one that it should be."""


class DepotUnreachable(DepotError):
    """The depot did not take or give it: no connection, no right, no room. Try again later."""


class DepotUnusable(DepotError):
    """The depot cannot be used as it is set; the text says what to change."""

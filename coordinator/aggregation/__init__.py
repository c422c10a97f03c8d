"""From updates to the next version: what is checked before an add, and the adds. Pure, numpy."""

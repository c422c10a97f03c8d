"""Mathematics on updates: clipping, noise and masks."""

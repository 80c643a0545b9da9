"""Drop-ins: collators with their peers' names, arguments and quirks. Nothing else of spanmask depends on them."""

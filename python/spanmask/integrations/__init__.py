"""Thin adapters to trainers. Each module imports its framework when it is imported itself; `import spanmask` imports none of them."""

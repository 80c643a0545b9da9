"""A chat template -> the boundaries of its turns; `derive.py` is the entry."""

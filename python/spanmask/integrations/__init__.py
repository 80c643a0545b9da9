"""Thin adapters to trainers and engines. Each module imports its framework; importing spanmask imports none of them."""

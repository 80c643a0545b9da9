"""Turns from the rendered text: twins, their skeletons, and the places of contents and tokens in a text."""

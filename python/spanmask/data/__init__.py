"""Whole data sets: operators for Arrow tables (`operator`, `chat_masker`, `noise_maskers`)."""

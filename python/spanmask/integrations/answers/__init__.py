"""The parts of `train_on_answers`."""

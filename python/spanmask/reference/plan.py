"""How much is hidden, and the lengths that follow. Twin of `noise/plan.rs`."""

from __future__ import annotations

__all__ = ["plan", "plan_lengths"]


def plan(length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """Hidden tokens and their spans, for a row of `length >= 2`. `round` rounds halves to even.

    >>> plan(568, .15, 3.0)
    (85, 28)
    """
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean_noise_span_length), 1), noise, length - noise)
    return noise, spans


def plan_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """The greatest row length whose inputs fit, and its targets' length; found by trying all lengths.

    >>> plan_lengths(512, .5, 3.0)
    (766, 512)
    """

    def lengths(tokens: int) -> tuple[int, int]:
        noise, spans = plan(tokens, noise_density, mean_noise_span_length)
        return tokens - noise + spans + 1, noise + spans + 1

    if inputs_length < 3:
        raise ValueError("inputs_length: below 3")
    tokens = 2
    while lengths(tokens + 1)[0] <= inputs_length:
        tokens += 1
    inputs, targets = lengths(tokens)
    if noise_density == 0.5 and tokens > 2 and targets > inputs and lengths(tokens - 1)[0] == inputs:
        tokens -= 1
    return tokens, lengths(tokens)[1]

"""The learning rate of every step."""

import math

from medwb.config import RunConfig


def learning_rate(config: RunConfig, peak: float, step: int, total: int) -> float:
    """The learning rate of one step.

    It rises from near zero to the peak in a straight line while it warms up, and then stays or falls to near zero: in
    a straight line, or along half a cosine (one cycle: Smith and Topin, Super-convergence, 2018).

    Args:
        config: `schedule` and `warmup`.
        peak: The highest rate: the config's, or what a plateau has made of it.
        step: Number of the step, from 0.
        total: Steps of all epochs.
    """
    rising = round(config.warmup * total)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    if config.schedule == "constant":
        return peak
    left = 1 - (step - rising) / max(1, total - rising)  # 1 at the peak, above 0 at the last step
    return peak * (left if config.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)

"""Mean, standard deviation and confidence interval of a measure over pairs of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DRAWS, SEED = 2000, 0
FEWEST_PEOPLE = 3  # a draw of two from two people has the same two pairs, or none


@dataclass(frozen=True)
class Summary:
    """The summary of a measure over the pairs of one source.

    Attributes:
        mean: over the pairs.
        sd: sample standard deviation over the pairs; None for one pair.
        interval: 95 % confidence interval of the mean, see `interval`; None for fewer than three people.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None


def summarise(values: Mapping[tuple[str, str], float]) -> Summary:
    """Summarise the values of a measure, one for each pair of people."""
    numbers = np.array(list(values.values()), dtype=float)
    spread = float(numbers.std(ddof=1)) if len(numbers) > 1 else None
    return Summary(float(numbers.mean()), spread, interval(values))


def interval(values: Mapping[tuple[str, str], float]) -> tuple[float, float] | None:
    """Compute the 95 % confidence interval of the mean over pairs, by bootstrap over the people.

    Pairs that share a person are not independent, so people are drawn instead, with replacement and as many as there
    are. The mean of a draw is over all pairs of two different people in it, each weighted by how often it occurs.

    Args:
        values: of the measure, by pair of people.

    Returns:
        The 2.5th and the 97.5th percentile of the draws' means; None for fewer than three people.
    """
    people = sorted({person for pair in values for person in pair})
    if len(people) < FEWEST_PEOPLE:
        return None
    counts = np.random.default_rng(SEED).multinomial(len(people), np.full(len(people), 1 / len(people)), size=DRAWS)
    first, second = ([people.index(pair[side]) for pair in values] for side in (0, 1))
    weights = counts[:, first] * counts[:, second]
    weights = weights[weights.sum(1) > 0]  # a draw of one person alone has no pair
    means = weights @ np.array(list(values.values()), dtype=float) / weights.sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)

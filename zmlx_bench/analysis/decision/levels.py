"""The level of each look, printed by a simulation: what the estimate's t statistics allow at these numbers of blocks.

    python benchmarks/calibrate_looks.py

Of half a million normal samples, each used from both sides, and nowhere below Bonferroni's bound. The looks are those
of `protocol.looks` from three blocks; a session that is first looked at later has statistics that are more alike, and
spends less than these levels say.
"""

from __future__ import annotations

OVERALL = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)
"""What all looks together spend, in the order of each row."""

_EACH: tuple[tuple[float, ...], ...] = (
    (0.4182, 0.1479, 0.06834, 0.03209, 0.01199, 0.005766, 0.002833, 0.001098, 0.0005388, 0.0002707, 0.000104),
    (0.3707, 0.1217, 0.0542, 0.02471, 0.009005, 0.004257, 0.002063, 0.0007797, 0.0003794, 0.0001905, 6.667e-05),
    (0.3327, 0.1017, 0.04472, 0.02046, 0.007565, 0.003585, 0.001703, 0.0006046, 0.000275, 0.000125, 5e-05),
    (0.296, 0.08681, 0.03761, 0.01705, 0.006226, 0.002948, 0.001372, 0.000478, 0.0002127, 0.0001, 4e-05),
    (0.2713, 0.07767, 0.03317, 0.01491, 0.005352, 0.002492, 0.001144, 0.0003892, 0.0001667, 8.333e-05, 3.333e-05),
    (0.2527, 0.07095, 0.03005, 0.01343, 0.004767, 0.002217, 0.001007, 0.0003427, 0.000146, 7.143e-05, 2.857e-05),
    (0.2316, 0.06389, 0.02691, 0.01197, 0.00422, 0.001939, 0.0008847, 0.0002989, 0.0001281, 6.25e-05, 2.5e-05),
    (0.2155, 0.05866, 0.02455, 0.01085, 0.003829, 0.001745, 0.0007852, 0.0002632, 0.0001174, 5.556e-05, 2.222e-05),
    (0.2034, 0.05485, 0.02291, 0.01006, 0.003542, 0.001606, 0.0007184, 0.0002427, 0.0001066, 5e-05, 2e-05),
    (0.189, 0.05035, 0.02097, 0.00921, 0.003223, 0.001456, 0.0006503, 0.0002278, 9.488e-05, 4.545e-05, 1.818e-05),
    (0.1778, 0.047, 0.01951, 0.008549, 0.002982, 0.001344, 0.0005982, 0.0002092, 8.835e-05, 4.167e-05, 1.667e-05),
)
"""The level of each look, for 2 looks, 3 looks and so on."""
_MOST = len(_EACH) + 1


def levels_of(looks: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (the level of each look, what all of `looks` looks spend), ascending, from 0.02% to 1; at least two looks.

    More looks than the table has share the levels of its last row in proportion, which spends less than they could.
    """
    each = _EACH[min(looks, _MOST) - 2]
    share = min(1.0, _MOST / looks)
    return (*(level * share for level in reversed(each)), 1.0), (*reversed(OVERALL), 1.0)

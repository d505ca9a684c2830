"""The level of each look, printed by a simulation: what the estimate's t statistics allow at these numbers of blocks.

    python benchmarks/calibrate_looks.py

Of half a million normal samples, each used from both sides. The looks are those of `protocol.looks` from three blocks; a
session that is first looked at later has statistics that are more alike, and spends less than these levels say.
"""

from __future__ import annotations

OVERALL = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)
"""What all looks together spend, in the order of each row."""

_EACH: tuple[tuple[float, ...], ...] = (
    (0.417964, 0.148631, 0.068924, 0.032402, 0.012221, 0.005922, 0.002884, 0.001064, 0.000551, 0.000289, 0.000130),
    (0.369603, 0.122144, 0.054637, 0.024913, 0.009015, 0.004268, 0.002021, 0.000741, 0.000398, 0.000195, 0.000098),
    (0.332035, 0.102053, 0.044948, 0.020650, 0.007594, 0.003596, 0.001647, 0.000598, 0.000289, 0.000138, 0.000050),
    (0.295907, 0.087278, 0.037858, 0.017260, 0.006229, 0.002929, 0.001306, 0.000457, 0.000207, 0.000100, 0.000040),
    (0.271324, 0.078182, 0.033357, 0.015169, 0.005349, 0.002503, 0.001121, 0.000387, 0.000167, 0.000083, 0.000033),
    (0.252759, 0.071289, 0.030188, 0.013628, 0.004796, 0.002182, 0.001005, 0.000341, 0.000143, 0.000071, 0.000029),
    (0.231239, 0.063975, 0.027003, 0.012045, 0.004249, 0.001914, 0.000854, 0.000286, 0.000125, 0.000063, 0.000025),
    (0.215003, 0.058661, 0.024697, 0.010922, 0.003836, 0.001718, 0.000770, 0.000265, 0.000117, 0.000056, 0.000022),
    (0.202573, 0.054886, 0.022947, 0.010059, 0.003511, 0.001562, 0.000704, 0.000242, 0.000103, 0.000050, 0.000020),
    (0.188140, 0.050462, 0.021043, 0.009230, 0.003206, 0.001422, 0.000644, 0.000216, 0.000094, 0.000045, 0.000018),
    (0.177277, 0.047034, 0.019549, 0.008556, 0.002957, 0.001321, 0.000597, 0.000197, 0.000088, 0.000042, 0.000017),
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

"""Philox4x32-10: a counter put through a keyed scramble, in functions of an array namespace.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The same in CUDA C++ is in
`cuda_kernels/source/common.cuh`.
"""

# The paper's multipliers, and its key increments: the golden ratio and sqrt(3) - 1, scaled by 2**32.
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF
_ROUNDS = 10


def philox(counter, key):
    """The paper's bijection: counter (4 uint64 arrays of 32-bit values), key (2 ints) -> 4 uint64 arrays.

    Each word sits in the low half of 64 bits, because the 64-bit products are needed whole.
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = x0 * _M0
        p1 = x2 * _M1
        high0 = p0 >> 32
        high1 = p1 >> 32
        # In place: four products a round are all the memory that is asked for.
        high1 ^= x1
        high1 ^= k0
        high0 ^= x3
        high0 ^= k1
        p0 &= LOW
        p1 &= LOW
        x0, x1, x2, x3 = high1, p1, high0, p0
        k0 = (k0 + _W0) & LOW
        k1 = (k1 + _W1) & LOW
    return x0, x1, x2, x3

// Dropout whose mask is never stored: element i is kept if number i of the uniform stream of (seed, first block) is at least p.
//
// The stream is that of `backends/random.py`: Philox4x32-10 (Salmon et al. 2011), block c the scramble of the counter c under
// the key `seed`, four words a block, 24 bits of a word a number. The backward pass computes the same mask from the same numbers.

struct words {
    unsigned at[4];
};

__device__ __forceinline__ words philox(unsigned long long counter, unsigned long long seed) {
    unsigned x0 = (unsigned)counter, x1 = (unsigned)(counter >> 32), x2 = 0, x3 = 0;
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(x0, 0xD2511F53u), low0 = x0 * 0xD2511F53u;
        unsigned high1 = __umulhi(x2, 0xCD9E8D57u), low1 = x2 * 0xCD9E8D57u;
        x0 = high1 ^ x1 ^ k0, x1 = low1, x2 = high0 ^ x3 ^ k1, x3 = low0;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return {{x0, x1, x2, x3}};
}

__device__ __forceinline__ float uniform(unsigned word) { return float(word >> 8) * 5.9604644775390625e-8f; }

// out[4 k ... 4 k + 3] = the words of block first + k, as 64-bit integers in columns (4, blocks).
extern "C" __global__ void philox_words(unsigned long long* out, long long seed, long long first, long long blocks) {
    for (long long k = my_index(); k < blocks; k += all_threads()) {
        words w = philox((unsigned long long)first + (unsigned long long)k, (unsigned long long)seed);
        for (int j = 0; j < 4; j++) out[j * blocks + k] = w.at[j];
    }
}

// y = x scale where kept, else 0. A thread takes the four elements of a block of the stream.
extern "C" __global__ void dropout(const scalar* x, scalar* y, long long count, long long seed, long long first, double p, double scale) {
    float bound = float(p);
    wide factor = wide(scale);
    bool packed = packable(PACK, x, y) && PACK >= 4;
    for (long long k = my_index(); k * 4 < count; k += all_threads()) {
        words w = philox((unsigned long long)first + (unsigned long long)k, (unsigned long long)seed);
        long long i = k * 4;
        wide v[4];
        if (packed && i + 4 <= count) {
            load<4>(x + i, v);
            for (int j = 0; j < 4; j++) v[j] = uniform(w.at[j]) >= bound ? v[j] * factor : wide(0);
            store<4>(v, y + i);
        } else {
            for (int j = 0; j < 4 && i + j < count; j++) y[i + j] = scalar(uniform(w.at[j]) >= bound ? wide(x[i + j]) * factor : wide(0));
        }
    }
}

// Random numbers from a place in the stream, and the place's motion in captured graphs.

// out[j, k] = word j of block k, as 64-bit integers (4, blocks).
extern "C" __global__ void philox_words(unsigned long long* out, long long seed, long long first, const unsigned long long* base, long long blocks) {
    place at(seed, first, base);
    for (long long k = my_index(); k < blocks; k += all_threads()) {
        words w = at.block(k);
        for (int j = 0; j < 4; j++) out[j * blocks + k] = w.at[j];
    }
}

// Numbers of 64 bits take two words of a block, all others one.
constexpr int OF_A_BLOCK = sizeof(scalar) == 8 ? 2 : 4;

__device__ __forceinline__ unsigned long long joined(unsigned high, unsigned low) { return (unsigned long long)high << 32 | low; }

// The highest `bits` bits of a word are a number's numerator: no rounding, and never 1.
struct uniform_of_block {
    int bits;
    wide step;
    __device__ __forceinline__ void operator()(const words& w, wide* v) const {
        if constexpr (sizeof(scalar) == 8) {
            v[0] = wide(joined(w.at[0], w.at[1]) >> (64 - bits)) * step, v[1] = wide(joined(w.at[2], w.at[3]) >> (64 - bits)) * step;
        } else {
            for (int j = 0; j < 4; j++) v[j] = wide(w.at[j] >> (32 - bits)) * step;
        }
    }
};

// Box and Muller (1958): a word in the middle of its step for the radius, so that the logarithm never meets 0, the next for the angle.
struct normal_of_block {
    template <class W> __device__ __forceinline__ void pair_of(W radius, W angle, double size, wide* a, wide* b) const {
        wide r = sqrt(log((wide(radius) + wide(0.5)) * wide(1 / size)) * wide(-2)), t = wide(angle) * wide(6.283185307179586 / size);
        *a = r * cos(t), *b = r * sin(t);
    }
    __device__ __forceinline__ void operator()(const words& w, wide* v) const {
        if constexpr (sizeof(scalar) == 8) {
            pair_of(joined(w.at[0], w.at[1]), joined(w.at[2], w.at[3]), 18446744073709551616.0, v, v + 1);
        } else {
            pair_of(w.at[0], w.at[1], 4294967296.0, v, v + 2), pair_of(w.at[2], w.at[3], 4294967296.0, v + 1, v + 3);
        }
    }
};

template <class F> __device__ __forceinline__ void write_numbers(scalar* out, long long count, place at, F of_block) {
    constexpr int BLOCKS = PACK / OF_A_BLOCK;  // of a thread, whose numbers are one pack
    bool packed = packable(PACK, out);
    for (long long k = my_index(); k * PACK < count; k += all_threads()) {
        wide v[PACK];
#pragma unroll
        for (int b = 0; b < BLOCKS; b++) of_block(at.block(k * BLOCKS + b), v + b * OF_A_BLOCK);
        long long i = k * PACK;
        if (packed && i + PACK <= count) store<PACK>(v, out + i);
        else
#pragma unroll
            for (int j = 0; j < PACK; j++)
                if (i + j < count) out[i + j] = scalar(v[j]);
    }
}

// Uniform on [0, 1) in steps of 2^-bits.
extern "C" __global__ void uniform_numbers(scalar* out, long long count, long long seed, long long first, const unsigned long long* base, long long bits, double step) {
    write_numbers(out, count, place(seed, first, base), uniform_of_block{int(bits), wide(step)});
}

// Normal with mean 0 and variance 1.
extern "C" __global__ void normal_numbers(scalar* out, long long count, long long seed, long long first, const unsigned long long* base) {
    write_numbers(out, count, place(seed, first, base), normal_of_block());
}

// A capture's numbers: seed and block of the running replay, and behind them of the one before.
extern "C" __global__ void set_place(unsigned long long* numbers, long long seed, long long block) {
    if (my_index() == 0) numbers[0] = seed, numbers[1] = block;
}

extern "C" __global__ void move_place(unsigned long long* numbers, long long blocks) {
    if (my_index() == 0) numbers[2] = numbers[0], numbers[3] = numbers[1], numbers[1] += blocks;
}

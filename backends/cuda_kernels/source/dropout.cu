// Dropout whose mask is never stored: an element is kept if its number in the uniform stream is at least p. The backward pass
// computes the same mask from the same place.

constexpr int EACH = PACK > 4 ? PACK : 4;  // elements of a thread: whole packs, and whole blocks of the stream

// y = x scale where number i of the stream is at least p, else 0.
extern "C" __global__ void dropout(const scalar* x, scalar* y, long long count, long long seed, long long first, const unsigned long long* base, double p, double scale) {
    place at(seed, first, base);
    float bound = float(p);
    wide factor = wide(scale);
    bool packed = packable(PACK, x, y);
    for (long long k = my_index(); k * EACH < count; k += all_threads()) {
        bool keep[EACH];
#pragma unroll
        for (int b = 0; b < EACH / 4; b++) {
            words w = at.block(k * (EACH / 4) + b);
            for (int j = 0; j < 4; j++) keep[4 * b + j] = uniform(w.at[j]) >= bound;
        }
        long long i = k * EACH;
        if (packed && i + EACH <= count) {
#pragma unroll
            for (int b = 0; b < EACH; b += PACK) {
                wide v[PACK];
                load<PACK>(x + i + b, v);
                for (int j = 0; j < PACK; j++) v[j] = keep[b + j] ? v[j] * factor : wide(0);
                store<PACK>(v, y + i + b);
            }
        } else {
#pragma unroll
            for (int j = 0; j < EACH; j++)
                if (i + j < count) y[i + j] = scalar(keep[j] ? wide(x[i + j]) * factor : wide(0));
        }
    }
}

// Whole stretches of `inner` elements are kept or not: stretch s by number s. A block of threads takes a part of one stretch.
extern "C" __global__ void dropout_stretches(const scalar* x, scalar* y, long long stretches, long long inner, long long seed, long long first, const unsigned long long* base, double p, double scale) {
    place at(seed, first, base);
    for (long long s = my_row(); s < stretches; s += (long long)gridDim.x * blockDim.y) {
        words w = at.block(s >> 2);
        unsigned word = (s & 2) ? (s & 1 ? w.at[3] : w.at[2]) : (s & 1 ? w.at[1] : w.at[0]);
        bool keep = uniform(word) >= float(p);
        const scalar* from = x + s * inner;
        scalar* to = y + s * inner;
        if (packable(inner, from, to)) {
            for (long long i = (long long)threadIdx.x * PACK; i < inner; i += (long long)blockDim.x * PACK) {
                wide v[PACK];
                load<PACK>(from + i, v);
                for (int j = 0; j < PACK; j++) v[j] = keep ? v[j] * wide(scale) : wide(0);
                store<PACK>(v, to + i);
            }
        } else {
            for (long long i = threadIdx.x; i < inner; i += blockDim.x) to[i] = scalar(keep ? wide(from[i]) * wide(scale) : wide(0));
        }
    }
}

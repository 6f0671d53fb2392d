// What recurrent cells do between their matrix products, one launch a step: h and c are (n, hidden), `a` = W_hh h the product
// (n, gates * hidden), `gx` the input's share of the pre-activations, laid out like it. Gates are in PyTorch's order.

__device__ __forceinline__ wide sigmoid(wide x) { return wide(0.5) * tanh(wide(0.5) * x) + wide(0.5); }

// h = tanh or relu (gx + a).
extern "C" __global__ void rnn_step(const scalar* a, const scalar* gx, scalar* h, long long count, long long relu) {
    for (long long i = my_index(); i < count; i += all_threads()) {
        wide v = wide(a[i]) + wide(gx[i]);
        h[i] = scalar(relu ? (v < 0 ? wide(0) : v) : tanh(v));
    }
}

// c' = f c + i g, h' = o tanh(c'); the gates are kept, gate k of all rows at gates + k * stride.
extern "C" __global__ void lstm_step(const scalar* a, const scalar* gx, const scalar* c, scalar* gates, scalar* c_new, scalar* h_new, long long n, long long hidden, long long stride) {
    for (long long j = my_index(); j < n * hidden; j += all_threads()) {
        long long at = j / hidden * 4 * hidden + j % hidden;
        wide i = sigmoid(wide(a[at]) + wide(gx[at])), f = sigmoid(wide(a[at + hidden]) + wide(gx[at + hidden]));
        wide g = tanh(wide(a[at + 2 * hidden]) + wide(gx[at + 2 * hidden])), o = sigmoid(wide(a[at + 3 * hidden]) + wide(gx[at + 3 * hidden]));
        wide next = f * wide(c[j]) + i * g;
        gates[j] = scalar(i), gates[j + stride] = scalar(f), gates[j + 2 * stride] = scalar(g), gates[j + 3 * stride] = scalar(o);
        c_new[j] = scalar(next), h_new[j] = scalar(o * tanh(next));
    }
}

// Of all steps at once: dc/d(pre-activation of i, f, g), dh/d(pre-activation of o), dh/dc, at slopes + k * count.
extern "C" __global__ void lstm_slopes(const scalar* gates, const scalar* before, const scalar* after, scalar* slopes, long long count) {
    for (long long j = my_index(); j < count; j += all_threads()) {
        wide i = gates[j], f = gates[j + count], g = gates[j + 2 * count], o = gates[j + 3 * count], t = tanh(wide(after[j]));
        slopes[j] = scalar(i * (1 - i) * g), slopes[j + count] = scalar(f * (1 - f) * wide(before[j]));
        slopes[j + 2 * count] = scalar((1 - g * g) * i), slopes[j + 3 * count] = scalar(o * (1 - o) * t);
        slopes[j + 4 * count] = scalar(o * (1 - t * t));
    }
}

// One step back: u_c += tilt u_h; u_a = v_a + (slopes of i, f, g) u_c, (slope of o) u_h; u_c_before += carry u_c.
extern "C" __global__ void lstm_step_back(const scalar* tilt, const scalar* carry, const scalar* slope_i, const scalar* slope_f, const scalar* slope_g, const scalar* slope_o, const scalar* u_h, const scalar* v_a, scalar* u_c, scalar* u_c_before, scalar* u_a, long long n, long long hidden) {
    for (long long j = my_index(); j < n * hidden; j += all_threads()) {
        long long at = j / hidden * 4 * hidden + j % hidden;
        wide h = u_h[j], c = wide(u_c[j]) + wide(tilt[j]) * h;
        wide a[4] = {wide(slope_i[j]) * c, wide(slope_f[j]) * c, wide(slope_g[j]) * c, wide(slope_o[j]) * h};
        for (int k = 0; k < 4; k++) u_a[at + k * hidden] = scalar(v_a ? a[k] + wide(v_a[at + k * hidden]) : a[k]);
        u_c[j] = scalar(c), u_c_before[j] = scalar(wide(u_c_before[j]) + wide(carry[j]) * c);
    }
}

// One step back of a cell with one state and `gates` (at most 3) slopes: u_a = v_a + slope u_h for each gate; u_h_before += carry u_h.
// v_a and carry may be null.
extern "C" __global__ void state_step_back(const scalar* carry, const scalar* slope_0, const scalar* slope_1, const scalar* slope_2, const scalar* u_h, const scalar* v_a, scalar* u_h_before, scalar* u_a, long long n, long long hidden, long long gates) {
    const scalar* slopes[3] = {slope_0, slope_1, slope_2};
    for (long long j = my_index(); j < n * hidden; j += all_threads()) {
        long long at = j / hidden * gates * hidden + j % hidden;
        wide h = u_h[j];
#pragma unroll
        for (int k = 0; k < 3; k++)
            if (k < gates) u_a[at + k * hidden] = scalar(wide(slopes[k][j]) * h + (v_a ? wide(v_a[at + k * hidden]) : wide(0)));
        if (carry) u_h_before[j] = scalar(wide(u_h_before[j]) + wide(carry[j]) * h);
    }
}

// n = tanh(gx_n + r q), q = a_n + b_n, h' = (1 - z) n + z h; the gates r, z, n, q are kept at gates + k * stride. bias or null.
extern "C" __global__ void gru_step(const scalar* a, const scalar* gx, const scalar* bias, const scalar* h, scalar* gates, scalar* h_new, long long n, long long hidden, long long stride) {
    for (long long j = my_index(); j < n * hidden; j += all_threads()) {
        long long i = j % hidden, at = j / hidden * 3 * hidden + i;
        wide b[3] = {0, 0, 0};
        if (bias)
            for (int k = 0; k < 3; k++) b[k] = bias[k * hidden + i];
        wide r = sigmoid(wide(gx[at]) + (wide(a[at]) + b[0])), z = sigmoid(wide(gx[at + hidden]) + (wide(a[at + hidden]) + b[1]));
        wide q = wide(a[at + 2 * hidden]) + b[2], m = tanh(wide(gx[at + 2 * hidden]) + r * q);
        gates[j] = scalar(r), gates[j + stride] = scalar(z), gates[j + 2 * stride] = scalar(m), gates[j + 3 * stride] = scalar(q);
        h_new[j] = scalar((wide(h[j]) - m) * z + m);
    }
}

// Of all steps at once: dh/d(pre-activation of r, z), dh/dq, dh/d(pre-activation of n), at slopes + k * count.
extern "C" __global__ void gru_slopes(const scalar* gates, const scalar* before, scalar* slopes, long long count) {
    for (long long j = my_index(); j < count; j += all_threads()) {
        wide r = gates[j], z = gates[j + count], m = gates[j + 2 * count], q = gates[j + 3 * count], to_n = (1 - z) * (1 - m * m);
        slopes[j] = scalar(r * (1 - r) * q * to_n), slopes[j + count] = scalar(z * (1 - z) * (wide(before[j]) - m));
        slopes[j + 2 * count] = scalar(r * to_n), slopes[j + 3 * count] = scalar(to_n);
    }
}

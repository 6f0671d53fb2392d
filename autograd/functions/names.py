"""Public names that are loaded when first used, so that `import chainrule` stays cheap: each under the module it lives in.

`FUNCTIONS` become `chainrule.<name>`, `METHODS` become `Tensor.<name>`, `IN_PLACE` become `Tensor.<name>_`. A word `name=other`
publishes `other` of that module under `name`. Modules are relative to `chainrule.autograd`, those of `nn` to `chainrule`.
"""

FUNCTIONS = {
    "nn.functional": """adaptive_avg_pool1d avg_pool1d bilinear celu celu_ channel_shuffle conv1d
        conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity group_norm hardshrink layer_norm max_pool1d
        max_pool1d_with_indices max_pool2d max_pool3d native_channel_shuffle pairwise_distance pdist pixel_shuffle pixel_unshuffle
        prelu relu_ rms_norm selu selu_ threshold threshold_""",
    "nn.functional.native": """max_pool2d_with_indices_backward native_batch_norm native_dropout native_dropout_backward
        native_group_norm native_layer_norm""",
    "nn.functional.sampling": "grid_sampler grid_sampler_2d grid_sampler_3d",
    "functions.copies": """alias_copy as_strided_copy detach_copy diagonal_copy expand_copy narrow_copy permute_copy select_copy
        slice_copy split_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy unsqueeze_copy
        view_copy""",
    "functions.layout": "as_strided as_strided_scatter empty_permuted empty_strided resize_as_",
    "functions.rearranging": """constant_pad_nd diagflat diagonal_scatter fliplr flipud rot90 scalar_tensor select_scatter
        slice_scatter tril_indices triu_indices unravel_index""",
    "functions.repeating": "repeat_interleave tile",
    "functions.scattering": "index_reduce masked_scatter nonzero_static put scatter_reduce",
    "functions.shape": "concatenate=cat row_stack=vstack",
    "functions.splitting": """atleast_3d column_stack dsplit dstack hsplit split_with_sizes tensor_split unsafe_chunk unsafe_split
        unsafe_split_with_sizes vsplit""",
    "functions.arithmetic": "rsub",
    "functions.complex_numbers": """angle complex conj_physical is_conj is_neg resolve_conj resolve_neg imag polar view_as_complex
        view_as_real""",
    "functions.elementwise": """bitwise_left_shift bitwise_right_shift copysign deg2rad fmax fmin fill float_power frexp gcd heaviside
        is_nonzero is_same_size is_signed isneginf isposinf isreal lcm ldexp logaddexp2 nan_to_num nextafter
        rad2deg sgn zero_""",
    "functions.creation": "scalar_tensor",
    "functions.draws": "randint_like",
    "functions.random": "bernoulli binomial multinomial normal poisson",
    "functions.windows": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
    "ops": "greater greater_equal less less_equal not_equal",
    "printing": "set_printoptions",
    "vmap": "vmap",
    "functions.linalg": "adjoint cholesky_inverse cholesky_solve det inverse=inv slogdet",
    "functions.linalg_factor": """geqrf lu=lu_with_infos lu_solve=lu_solve_older lu_unpack orgqr=householder_product ormqr pca_lowrank
        svd_lowrank triangular_solve""",
    "functions.linalg_products": """addbmm addmv addr block_diag chain_matmul cholesky=older_cholesky cross kron logdet matrix_exp
        matrix_power pinverse qr=older_qr svd=older_svd trace vander=older_vander vdot""",
    "functions.distance": "cdist renorm",
    "functions.histogram": "bincount bucketize histc histogram histogramdd searchsorted",
    "functions.numeric": "cumulative_trapezoid diff gradient trapezoid trapz",
    "functions.order": "kthvalue median mode nanmedian nanquantile quantile",
    "functions.scan": "cummax cummin logcumsumexp",
    "functions.segments": "segment_reduce",
    "functions.sets": "argwhere isin unique unique_consecutive",
    "functions.sorting": "msort",
    "functions.statistics": "cartesian_prod combinations corrcoef cov nanmean nansum",
    "functions.stft": "istft stft",
    "functions.special": "igamma igammac logit mvlgamma polygamma sinc xlogy",
    "ops.bessel": "i0",
    "ops.error_function": "erf erfc",
    "ops.gamma": "digamma lgamma",
    "ops.normal": "erfinv",
}

METHODS = {
    "functions.copies": "narrow_copy",
    "functions.layout": """as_strided as_strided_ as_strided_scatter is_pinned new_empty_strided pin_memory record_stream
        resize_ resize_as_ squeeze_ storage_offset=storage_offset_of swapaxes_ swapdims_ t_ transpose_ unfold unsqueeze_""",
    "functions.rearranging": "diagflat diagonal_scatter fliplr flipud rot90 select_scatter slice_scatter sum_to_size",
    "functions.repeating": "repeat repeat_interleave tile",
    "functions.scattering": "index_reduce masked_scatter nonzero_static put scatter_reduce",
    "functions.splitting": """dsplit hsplit split_with_sizes tensor_split unsafe_chunk unsafe_split unsafe_split_with_sizes
        vsplit""",
    "functions.special": "igamma igammac logit mvlgamma polygamma=polygamma_of sinc xlogy",
    "ops.bessel": "i0",
    "ops.gamma": "digamma lgamma",
    "ops.normal": "erfinv",
    "functions.complex_numbers": "angle conj_physical is_conj is_neg resolve_conj resolve_neg view_as_complex view_as_real",
    "functions.elementwise": """__ilshift__=ilshift __irshift__=irshift __lshift__=bitwise_left_shift __rlshift__=rlshift
        __rrshift__=rrshift __rshift__=bitwise_right_shift bitwise_left_shift bitwise_right_shift copysign
        deg2rad fmax fmin float_power float_power_ frexp gcd heaviside is_nonzero is_same_size is_signed isneginf isposinf
        isreal lcm ldexp logaddexp2 nan_to_num nextafter rad2deg sgn""",
    "functions.random": """bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_
        uniform_""",
    "ops": "greater greater_equal less less_equal not_equal",
    "functions.linalg": "adjoint cholesky_inverse cholesky_solve det inverse=inv lstsq slogdet",
    "functions.linalg_factor": "geqrf lu=lu_with_infos lu_solve=lu_solve_older orgqr=householder_product ormqr triangular_solve",
    "functions.linalg_products": """addbmm addmv addr cholesky=older_cholesky cross kron logdet matrix_exp matrix_power pinverse
        qr=older_qr svd=older_svd trace vdot""",
    "functions.distance": "renorm",
    "functions.histogram": "bincount histc histogram",
    "functions.numeric": "diff",
    "functions.order": "kthvalue median mode nanmedian nanquantile quantile",
    "functions.scan": "cummax cummin logcumsumexp",
    "functions.sets": "argwhere unique unique_consecutive",
    "functions.sorting": "msort",
    "functions.statistics": "corrcoef cov nanmean nansum",
    "functions.stft": "istft stft",
    "ops.error_function": "erf erfc",
}

IN_PLACE: dict[str, str] = {
    "functions.scattering": "index_reduce masked_scatter put scatter_reduce",
    "functions.special": "igamma igammac logit mvlgamma polygamma=polygamma_of sinc xlogy",
    "ops.bessel": "i0",
    "ops.gamma": "digamma lgamma",
    "ops.normal": "erfinv",
    "functions.arithmetic": "frac true_divide=div",
    "functions.complex_numbers": "conj_physical",
    "functions.elementwise": """bitwise_left_shift bitwise_right_shift copysign deg2rad gcd heaviside lcm ldexp nan_to_num
        nextafter rad2deg sgn""",
    "ops": """absolute acos=arccos acosh=arccosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin=arcsin
        asinh=arcsinh atan=arctan atan2=arctan2 atanh=arctanh bitwise_and bitwise_not=invert bitwise_or
        bitwise_xor cosh eq=equal exp2 expm1 fix=trunc floor_divide fmod ge=greater_equal greater greater_equal
        gt=greater hypot le=less_equal less less_equal log10 log1p log2 logical_and logical_not logical_or
        logical_xor lt=less ne=not_equal negative not_equal sign sinh tan""",
    "functions.linalg_products": "addbmm addmv addr",
    "functions.distance": "renorm",
    "functions.product": "addmm baddbmm",
    "functions.reduction": "cumprod cumsum",
    "ops.error_function": "erf erfc",
}


def entries(table):
    """(public name, module, attribute) of every word of a table."""
    for module, words in table.items():
        root = "chainrule" if module.startswith("nn.") else "chainrule.autograd"
        for word in words.split():
            name, _, attribute = word.partition("=")
            yield name, f"{root}.{module}", attribute or name

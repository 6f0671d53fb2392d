"""Public names that are loaded when first used, so that `import chainrule` stays cheap: each under the module it lives in.

`FUNCTIONS` become `chainrule.<name>`, `METHODS` become `Tensor.<name>`, `IN_PLACE` become `Tensor.<name>_`. A word `name=other`
publishes `other` of that module under `name`. Modules are relative to `chainrule.autograd`.
"""

FUNCTIONS = {
    "functions.linalg": "adjoint cholesky_inverse cholesky_solve det inverse=inv slogdet",
    "functions.linalg_factor": "geqrf lu_solve=lu_solve_older lu_unpack orgqr=householder_product ormqr triangular_solve",
    "functions.linalg_products": """addbmm addmv addr block_diag chain_matmul cholesky=older_cholesky cross kron logdet matrix_exp
        matrix_power pinverse qr=older_qr svd=older_svd trace vander=older_vander vdot""",
    "functions.statistics": "cartesian_prod combinations corrcoef cov",
    "functions.stft": "istft stft",
    "ops": "imag",
    "ops.error_function": "erf erfc",
}

METHODS = {
    "functions.linalg": "adjoint cholesky_inverse cholesky_solve det inverse=inv lstsq slogdet",
    "functions.linalg_factor": "geqrf lu_solve=lu_solve_older orgqr=householder_product ormqr triangular_solve",
    "functions.linalg_products": """addbmm addmv addr cholesky=older_cholesky cross kron logdet matrix_exp matrix_power pinverse
        qr=older_qr svd=older_svd trace vdot""",
    "functions.statistics": "corrcoef cov",
    "functions.stft": "istft stft",
    "ops.error_function": "erf erfc",
}

IN_PLACE: dict[str, str] = {
    "functions.linalg_products": "addbmm addmv addr",
    "functions.product": "addmm baddbmm",
    "functions.reduction": "cumprod cumsum",
    "ops.error_function": "erf erfc",
}


def entries(table):
    """(public name, module, attribute) of every word of a table."""
    for module, words in table.items():
        for word in words.split():
            name, _, attribute = word.partition("=")
            yield name, f"chainrule.autograd.{module}", attribute or name

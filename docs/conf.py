"""Sphinx settings. Pages are Markdown; notebooks are shown with the outputs they were committed with."""

import chainrule

project = "chainrule"
author = "The chainrule authors"
copyright = "2026, The chainrule authors"
version = release = chainrule.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"chainrule {version}"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


def as_written(app, what, name, obj, options, lines):
    """Docstrings are plain text, with formulas and shapes that markup would garble: show them as they are."""
    if lines:
        lines[:] = [".. code-block:: none", "", *("   " + line for line in lines), ""]


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_written)

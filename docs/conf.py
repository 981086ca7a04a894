"""Sphinx settings."""

from __future__ import annotations

import re
import warnings

import gapkit

project = "gapkit"
author = "gapkit developers"
copyright = "2026, gapkit developers"
version = release = gapkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
html_theme = "furo"
html_title = f"gapkit {version}"
default_role = "py:obj"
nitpicky = False

autosummary_generate = True
autodoc_typehints = "none"
autodoc_default_options = {
    "members": True,
    "exclude-members": "set_predict_request, set_score_request, set_fit_request, set_partial_fit_request",
}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 100)]
intersphinx_mapping: dict[str, tuple[str, None]] = {}  # no network in the build

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "matplotlib_animations": False,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "reset_modules": (),
}


def _without_links_of_scikit_learn(app, what, name, obj, options, lines):
    """Inherited docstrings refer to pages of scikit-learn, which are not here."""
    lines[:] = [re.sub(r":(ref|term):`([^`<]+?)\s*(<[^`]*>)?`", r"``\2``", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", _without_links_of_scikit_learn)


warnings.filterwarnings("ignore", message="Matplotlib is currently using agg")

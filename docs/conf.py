"""Sphinx configuration; build with `sphinx-build -W -n -b html docs docs/_build`."""

import sys
from importlib.metadata import version as installed_version
from importlib.resources import files
from pathlib import Path
from typing import Any

project = "photoz_losses"
author = "the photoz_losses developers"
copyright = f"2026, {author}"
version = release = installed_version("photoz-losses")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_generated"]
default_role = "autolink"  # `name` in a docstring links to what is documented, else stays emphasis

html_theme = "furo"
html_title = "photoz_losses"
html_css_files = ["site.css"]
# MathJax lies beside the pages, which so need no network. It draws with SVG, since browsers refuse
# fonts to pages from file://; "full" has every extension inside and loads nothing later.
mathjax_path = "tex-svg-full.js"
html_static_path = [
    "_static",
    str(files("sphinx-mathjax-offline") / "static/mathjax" / mathjax_path),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib",),
    "capture_repr": (),  # what a page prints, it prints by print
    "notebook_extensions": set(),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 3600,  # a page says nothing of how long it took here
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "  # a sample is copied without them and its output
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3

# The docstring says types, shapes and units once; a signature shows names and defaults.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "extra_repr"}  # what a `repr` shows is no call
autodoc_inherit_docstrings = False  # else every `forward` repeats torch.nn.Module's
autosummary_generate = False  # the reference pages name what they show; no stub files
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Inventories of other projects would have to be downloaded at build time, so names that live
# in them can not be resolved; everything under photoz_losses must be.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|torchmetrics|numpy|np|scipy|astropy|speclite|matplotlib)(\..*)?"),
]


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "examples")]


def draw(app: Any) -> None:
    """Tables and pictures of the pages that show kept results."""
    import draw_benchmarks
    import draw_concepts
    import draw_conventions
    import draw_mistakes
    import draw_reliability
    from study import page

    generated = Path(app.srcdir) / "_generated"
    page.build(RESULTS / "ablation", generated / "study")
    draw_concepts.build(generated / "concepts")
    draw_mistakes.build(RESULTS, generated / "mistakes")
    draw_conventions.build(RESULTS, generated / "conventions")
    draw_benchmarks.build(RESULTS, generated / "benchmarks")
    draw_reliability.build(RESULTS, generated / "reliability")


def insert_sizes(app: Any, config: Any) -> None:
    """What {{ name }} stands for in a page."""
    import draw_conventions
    import draw_reliability

    pages = (draw_conventions, draw_reliability)
    texts = [page.substitutions(RESULTS) for page in pages]
    config.myst_substitutions = {name: text for each in texts for name, text in each.items()}


def setup(app: Any) -> None:
    app.connect("config-inited", insert_sizes, priority=1)  # before MyST reads them
    app.connect("builder-inited", draw)

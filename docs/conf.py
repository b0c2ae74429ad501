"""How the documentation is built: ``./dev docs``, into build/docs; needs no network."""

from importlib.metadata import version as version_of

project = "quart-ratelimit"
author = "The quart-ratelimit authors"
copyright = author  # Sphinx' name for it
version = release = version_of("quart-ratelimit")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False

myst_heading_anchors = 3
# Docstrings write `Name` for what is ours.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

html_static_path = ["_static"]
html_css_files = ["tables.css"]

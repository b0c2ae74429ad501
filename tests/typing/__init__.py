"""What type checkers know of the public API; checked by mypy and pyright, never run."""

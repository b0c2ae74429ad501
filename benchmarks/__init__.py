"""What is measured, and how: ``python -m benchmarks.decisions`` and its neighbours."""

"""These modules hold the limits that a developer declares."""

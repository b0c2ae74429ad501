"""These modules say who is counted."""

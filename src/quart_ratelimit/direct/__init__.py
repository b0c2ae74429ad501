"""These modules check the limits that code asks for itself, without rules."""

"""These modules check the limits that code charges itself, without rules."""

"""These modules make up the Quart extension."""

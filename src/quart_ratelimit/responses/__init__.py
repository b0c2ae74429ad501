"""These modules write what a response shows its client about limits."""

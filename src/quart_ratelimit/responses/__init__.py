"""These modules write what a response tells its client about limits."""

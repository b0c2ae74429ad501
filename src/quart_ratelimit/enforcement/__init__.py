"""These modules apply the rules to one request."""

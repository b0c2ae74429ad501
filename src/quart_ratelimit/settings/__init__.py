"""These modules read what the app configured."""

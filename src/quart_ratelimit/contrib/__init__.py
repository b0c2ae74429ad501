"""Bridges to what others keep: each room needs an optional extra of its own."""

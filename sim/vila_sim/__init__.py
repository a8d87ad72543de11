"""Simulated furnished flats for language-guided robots."""

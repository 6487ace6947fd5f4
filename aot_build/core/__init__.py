"""The nouns that the rooms exchange: frozen dataclasses, no I/O."""

"""The operations themselves, a module for each family: what they promise and what they refuse."""

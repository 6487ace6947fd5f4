"""The plug into setuptools: nothing outside this folder knows that setuptools exists."""

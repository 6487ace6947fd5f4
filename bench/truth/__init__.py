"""What bench/truth.py is made of: a project, what is done to it, the tools that build it."""

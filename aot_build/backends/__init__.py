"""What turns a variant into an action, and performs it in a worker: one module a backend."""

raise ImportError("not on this machine")

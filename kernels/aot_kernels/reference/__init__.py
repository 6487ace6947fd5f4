"""What every operation computes, in plain torch and float64: to compare with, not to run."""

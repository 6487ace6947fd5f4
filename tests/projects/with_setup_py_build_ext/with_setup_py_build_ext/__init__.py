"""An extension module and kernels in one wheel."""

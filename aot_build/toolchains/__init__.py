"""Find compilers, and digest them: a toolchain is an input like any other."""

#include "grid.h"

int blocks(int n, int block) { return (n + block - 1) / block; }

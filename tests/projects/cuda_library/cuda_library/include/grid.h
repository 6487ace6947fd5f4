#pragma once

int blocks(int n, int block);

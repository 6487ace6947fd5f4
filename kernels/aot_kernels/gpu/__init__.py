"""Launchers for GPUs. They need torch, and Triton where nothing else can load a kernel."""

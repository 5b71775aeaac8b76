"""CUDA GPUs: CuPy arrays. The only room that imports cupy, and only once a CUDA device was asked for."""

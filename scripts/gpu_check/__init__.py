"""What only a CUDA device can show, in stages of under nine minutes each: see ``__main__``. Standard library only."""
